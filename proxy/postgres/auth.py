"""Credentials, MD5 and channel binding: the pure functions of authentication but for SCRAM's."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from proxy.postgres.scram import ScramKeys, derive_keys, parse_verifier

_MD5_HASH: Final = re.compile(r"md5[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """A credential by its kind: exactly one field is set, none for an empty one."""

    password: bytes | None = field(default=None, repr=False)
    keys: ScramKeys | None = None
    """Of a stored verifier ``SCRAM-SHA-256$...``."""
    md5_hash: str | None = field(default=None, repr=False)
    """``md5`` and 32 hexadecimal digits, of password and user name, as PostgreSQL stores it."""


def read_secret(secret: str) -> StoredSecret:
    """Tell a password from a stored verifier and a stored MD5 hash, as PostgreSQL does."""
    if not secret:
        return StoredSecret()
    keys = parse_verifier(secret)
    if keys is not None:
        return StoredSecret(keys=keys)
    if _MD5_HASH.fullmatch(secret):
        return StoredSecret(md5_hash=secret)
    return StoredSecret(password=secret.encode("utf-8", "surrogateescape"))


# MD5: "md5" + md5(md5(password + user) + salt).


def md5_hash(password: bytes, user: str) -> str:
    """Hash a password as PostgreSQL stores it: ``md5`` and 32 hexadecimal digits."""
    name = user.encode("utf-8", "surrogateescape")
    return "md5" + hashlib.md5(password + name, usedforsecurity=False).hexdigest()


def md5_response(stored: str, salt: bytes) -> bytes:
    """Answer an AuthenticationMD5Password with this 4-byte salt."""
    digest = hashlib.md5(stored[3:].encode() + salt, usedforsecurity=False)
    return b"md5" + digest.hexdigest().encode()


def check_md5(stored: str, salt: bytes, response: bytes) -> bool:
    """Check a client's answer in constant time."""
    return hmac.compare_digest(md5_response(stored, salt), response)


# A password in clear.


def check_password(keys: ScramKeys, password: bytes) -> ScramKeys | None:
    """Check a password that came in clear; give the keys with the client key if it is right.

    It costs one key derivation for every user, so that it tells nothing about any of them.
    """
    derived = derive_keys(password, keys.salt, keys.iterations)
    return derived if hmac.compare_digest(derived.stored_key, keys.stored_key) else None


# Channel binding (RFC 5929 section 4, tls-server-end-point).

_MD5_WITH_RSA: Final = "1.2.840.113549.1.1.4"
_SHA1_WITH_RSA: Final = "1.2.840.113549.1.1.5"
_RSA_PSS: Final = "1.2.840.113549.1.1.10"
_SIGNATURE_HASHES: Final = {
    # "If the certificate's signatureAlgorithm uses MD5 or SHA-1, use SHA-256."
    _MD5_WITH_RSA: "sha256",
    _SHA1_WITH_RSA: "sha256",
    "1.2.840.10045.4.1": "sha256",
    "1.2.840.10040.4.3": "sha256",
    "1.2.840.113549.1.1.14": "sha224",
    "1.2.840.113549.1.1.11": "sha256",
    "1.2.840.113549.1.1.12": "sha384",
    "1.2.840.113549.1.1.13": "sha512",
    "1.2.840.10045.4.3.1": "sha224",
    "1.2.840.10045.4.3.2": "sha256",
    "1.2.840.10045.4.3.3": "sha384",
    "1.2.840.10045.4.3.4": "sha512",
    "2.16.840.1.101.3.4.3.1": "sha224",
    "2.16.840.1.101.3.4.3.2": "sha256",
}
_PSS_HASHES: Final = {
    "1.3.14.3.2.26": "sha256",
    "2.16.840.1.101.3.4.2.4": "sha224",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}


@lru_cache(maxsize=64)
def channel_binding(certificate: bytes) -> bytes | None:
    """Hash a server's certificate (DER) for ``tls-server-end-point``.

    ``None`` where the hash is not defined (Ed25519 and the like) or there is no certificate:
    channel binding is then not available.
    """
    try:
        name = _signature_hash(certificate)
    except (ValueError, IndexError):
        return None
    return None if name is None else hashlib.new(name, certificate).digest()


def _signature_hash(certificate: bytes) -> str | None:
    """Find the hash in ``Certificate ::= SEQUENCE { tbs, signatureAlgorithm, signature }``."""
    outer, _ = _take(certificate, 0x30)
    _, rest = _take(outer, 0x30)
    algorithm, _ = _take(rest, 0x30)
    identifier, parameters = _take(algorithm, 0x06)
    name = _identifier(identifier)
    if name != _RSA_PSS:
        return _SIGNATURE_HASHES.get(name)
    # RSASSA-PSS-params ::= SEQUENCE { [0] hashAlgorithm DEFAULT sha1, ... } (RFC 4055)
    fields, _ = _take(parameters, 0x30)
    if fields[:1] != b"\xa0":
        return "sha256"
    tagged, _ = _take(fields, 0xA0)
    hash_algorithm, _ = _take(tagged, 0x30)
    identifier, _ = _take(hash_algorithm, 0x06)
    return _PSS_HASHES.get(_identifier(identifier))


def _take(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """Take one DER value with this tag; give its content and what follows it."""
    if data[0] != tag:
        raise ValueError("unexpected DER tag")
    length, start = data[1], 2
    if length & 0x80:
        start = 2 + (length & 0x7F)
        length = int.from_bytes(data[2:start], "big")
    end = start + length
    if end > len(data):
        raise ValueError("DER value cut short")
    return data[start:end], data[end:]


def _identifier(content: bytes) -> str:
    """Decode an OBJECT IDENTIFIER."""
    parts = [content[0] // 40, content[0] % 40] if content[0] < 80 else [2, content[0] - 80]
    value = 0
    for byte in content[1:]:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            parts.append(value)
            value = 0
    return ".".join(map(str, parts))
