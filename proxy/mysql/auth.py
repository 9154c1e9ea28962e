"""Answers to the challenges of authentication plugins, and what they are checked against.

Sources: the source documentation's "Authentication Methods", MariaDB's "Connection Phase".

A server that stores passwords as ``caching_sha2_password`` answers from its cache what the
scramble proves, and otherwise has the client send the password itself. We know the password, so
every login with the right scramble is one from the cache.
"""

from __future__ import annotations

import hashlib
from hmac import compare_digest
from typing import Final

CACHING_SHA2: Final = "caching_sha2_password"
NATIVE: Final = "mysql_native_password"
CLEAR: Final = "mysql_clear_password"
SHA256: Final = "sha256_password"
ED25519: Final = "client_ed25519"
PARSEC: Final = "parsec"
SIGNING: Final = (ED25519, PARSEC)
"""Plugins of MariaDB's whose clients sign a challenge."""

SHA2_SCRAMBLE_BYTES: Final = 32
_NONCE_BYTES: Final = 20
_SIGNED_NONCE_BYTES: Final = 32

# What caching_sha2_password and sha256_password say to each other.
FAST_AUTH_SUCCESS: Final = b"\x03"
PERFORM_FULL_AUTHENTICATION: Final = b"\x04"
REQUEST_PUBLIC_KEY: Final = b"\x02"
SHA256_REQUEST_PUBLIC_KEY: Final = b"\x01"


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _sha1(data: bytes) -> bytes:
    return hashlib.sha1(data).digest()  # noqa: S324 - the protocol says so


def native_scramble(password: bytes, nonce: bytes) -> bytes:
    """Answer a challenge of ``mysql_native_password``; an empty password with nothing."""
    if not password:
        return b""
    once = _sha1(password)
    return _xor(once, _sha1(nonce + _sha1(once)))


def sha2_scramble(password: bytes, nonce: bytes) -> bytes:
    """Answer a challenge of ``caching_sha2_password``; an empty password with nothing."""
    if not password:
        return b""
    once = hashlib.sha256(password).digest()
    return _xor(once, hashlib.sha256(hashlib.sha256(once).digest() + nonce).digest())


def obscured(password: bytes, nonce: bytes) -> bytes:
    """What is encrypted with a server's RSA key: the password and a NUL, with the nonce over it."""
    secret = password + b"\0"
    nonce = nonce[:_NONCE_BYTES]
    repeated = nonce * (len(secret) // len(nonce) + 1)
    return _xor(secret, repeated[: len(secret)])


def check(plugin: str, password: bytes, nonce: bytes, response: bytes) -> bool:
    """Whether a client's response is that of a password, which must not be empty.

    For ``sha256_password``, the response is what the client had encrypted. Signatures are left to
    ``signing_keys``.
    """
    if plugin == CLEAR:
        return compare_digest(response.removesuffix(b"\0"), password)
    if plugin == SHA256:
        return compare_digest(response, obscured(password, nonce))
    scramble = native_scramble if plugin == NATIVE else sha2_scramble
    return compare_digest(response, scramble(password, nonce))


def nonce_bytes(plugin: str) -> int:
    """Length of the challenge of a plugin."""
    return _SIGNED_NONCE_BYTES if plugin in SIGNING else _NONCE_BYTES


def printable_nonce(random: bytes) -> bytes:
    """Make a nonce of random bytes: 7 bits each, no NUL and no ``$``, as servers do."""
    return bytes(byte & 0x7F if byte & 0x7F not in (0, 0x24) else 0x21 for byte in random)
