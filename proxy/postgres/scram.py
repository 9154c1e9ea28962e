"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, both sides (RFC 5802, RFC 7677, channel binding RFC 5929).

Each side is an object that is handed the other's messages in order and gives its own. The server
side knows only what PostgreSQL stores (``StoredKey``, ``ServerKey``); a client that proves itself
reveals its ``ClientKey``, which is as good as the password towards another server that stores the
same verifier.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Final

from proxy.errors import (
    ClientAuthError,
    ClientNotAdmitted,
    ClientProtocolError,
    FeatureNotSupported,
    ServerProtocolError,
)
from proxy.postgres.saslprep import saslprep

SCRAM_SHA_256: Final = "SCRAM-SHA-256"
SCRAM_SHA_256_PLUS: Final = "SCRAM-SHA-256-PLUS"
DEFAULT_ITERATIONS: Final = 4096
"""PostgreSQL's default ``scram_iterations``."""
MOST_ITERATIONS: Final = 1_000_000
"""Most iterations done for a server that asks for them (half a second of this process)."""
SALT_BYTES: Final = 16
NONCE_BYTES: Final = 18
"""Raw length of a nonce; 24 characters in base64, as PostgreSQL's."""
_KEY_BYTES: Final = 32
_BINDING_TYPE: Final = "tls-server-end-point"
_BINDING_HEADER: Final = b"p=tls-server-end-point,,"
_PRINTABLE: Final = re.compile(rb"[\x21-\x2b\x2d-\x7e]+")
_VERIFIER: Final = re.compile(r"SCRAM-SHA-256\$(\d{1,10}):([^$:]+)\$([^$:]+):([^$:]+)")


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _xor(left: bytes, right: bytes) -> bytes:
    mixed = int.from_bytes(left, "big") ^ int.from_bytes(right, "big")
    return mixed.to_bytes(len(left), "big")


def _unbase64(data: bytes) -> bytes | None:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What a password is turned into; without ``client_key`` only good for checking it."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)
    client_key: bytes | None = field(default=None, repr=False)

    def fits(self, salt: bytes, iterations: int) -> bool:
        """Whether these keys can log in where this salt and iteration count are asked for."""
        return self.client_key is not None and (self.salt, self.iterations) == (salt, iterations)


def derive_keys(password: bytes, salt: bytes, iterations: int = DEFAULT_ITERATIONS) -> ScramKeys:
    """Derive the keys of a password: costly, some milliseconds for each 4096 iterations."""
    salted = hashlib.pbkdf2_hmac("sha256", saslprep(password), salt, iterations)
    client_key = _hmac(salted, b"Client Key")
    return ScramKeys(salt, iterations, _hash(client_key), _hmac(salted, b"Server Key"), client_key)


def mock_keys(process_secret: bytes, user: str) -> ScramKeys:
    """Make up keys that nobody can match for a user who does not exist.

    Always the same for one user, as PostgreSQL's mock authentication: a salt that changed from one
    attempt to the next would tell that the user does not exist.
    """
    name = user.encode("utf-8", "surrogateescape")
    return ScramKeys(
        salt=_hmac(process_secret, b"salt" + name)[:SALT_BYTES],
        iterations=DEFAULT_ITERATIONS,
        stored_key=_hmac(process_secret, b"stored key" + name),
        server_key=_hmac(process_secret, b"server key" + name),
    )


def parse_verifier(text: str) -> ScramKeys | None:
    """Decode ``SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey``; ``None`` if it is not one."""
    match = _VERIFIER.fullmatch(text)
    if match is None:
        return None
    iterations = int(match[1])
    salt, stored_key, server_key = (_unbase64(match[n].encode()) for n in (2, 3, 4))
    if not salt or not stored_key or not server_key or iterations < 1:
        return None
    if len(stored_key) != _KEY_BYTES or len(server_key) != _KEY_BYTES:
        return None
    return ScramKeys(salt, iterations, stored_key, server_key)


def format_verifier(keys: ScramKeys) -> str:
    """Encode keys as PostgreSQL stores them in ``pg_authid.rolpassword``."""
    salt, stored_key, server_key = (
        base64.b64encode(part).decode() for part in (keys.salt, keys.stored_key, keys.server_key)
    )
    return f"{SCRAM_SHA_256}${keys.iterations}:{salt}${stored_key}:{server_key}"


class SaltedPasswords:
    """Keys derived from one credential's password, by (generation, salt, iterations).

    A server sends the same salt until the password changes there, so a pool derives once.
    """

    def __init__(self, limit: int = 16) -> None:
        self._limit = limit
        self._derived: OrderedDict[tuple[int, bytes, int], ScramKeys] = OrderedDict()

    def keys(self, password: bytes, salt: bytes, iterations: int, generation: int = 0) -> ScramKeys:
        """Give the keys, derived on first use; the least recently used are forgotten."""
        key = (generation, salt, iterations)
        found = self._derived.get(key)
        if found is None:
            found = derive_keys(password, salt, iterations)
            self._derived[key] = found
            if len(self._derived) > self._limit:
                self._derived.popitem(last=False)
        self._derived.move_to_end(key)
        return found


def _malformed(detail: str) -> ClientProtocolError:
    return ClientProtocolError("malformed SCRAM message", detail=detail)


class ScramServer:
    """We are the server: check a client against ``keys``.

    ``binding`` is the channel binding data of our certificate, ``None`` without TLS. With
    ``known=False`` every step is gone through and the proof never accepted.
    """

    def __init__(
        self, keys: ScramKeys, nonce: bytes, binding: bytes | None, *, user: str, known: bool = True
    ) -> None:
        self._keys = keys
        self._nonce = base64.b64encode(nonce)
        self._binding = binding
        self._user = user
        self._known = known
        self._flag = b"n"
        self._plus = False
        self._client_first_bare = b""
        self._server_first = b""
        self._full_nonce = b""

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """Mechanisms to offer, best first."""
        if self._binding is None:
            return (SCRAM_SHA_256,)
        return (SCRAM_SHA_256_PLUS, SCRAM_SHA_256)

    def first(self, mechanism: str, message: bytes) -> bytes:
        """Take the client's first message, give ours (RFC 5802 section 5).

        Raises ``ClientProtocolError``, ``ClientNotAdmitted``, ``FeatureNotSupported``.
        """
        if mechanism not in self.mechanisms:
            raise ClientProtocolError("client selected an invalid SASL authentication mechanism")
        self._plus = mechanism == SCRAM_SHA_256_PLUS
        flag, comma, rest = message.partition(b",")
        self._check_flag(flag)
        identity, second_comma, bare = rest.partition(b",")
        if not comma or not second_comma:
            raise _malformed("the GS2 header is cut short")
        if identity:
            raise FeatureNotSupported("client uses authorization identity, but it is not supported")
        if bare.startswith(b"m="):
            raise FeatureNotSupported("client requires an unsupported SCRAM extension")
        attributes = bare.split(b",")
        if len(attributes) < 2 or not attributes[0].startswith(b"n="):
            raise _malformed("attribute n expected")
        # PostgreSQL ignores this user name too: the start-up packet's counts.
        client_nonce = attributes[1][2:]
        if not attributes[1].startswith(b"r=") or not _PRINTABLE.fullmatch(client_nonce):
            raise _malformed("nonce expected")
        self._client_first_bare = bare
        self._full_nonce = client_nonce + self._nonce
        salt = base64.b64encode(self._keys.salt)
        self._server_first = b"r=%b,s=%b,i=%d" % (self._full_nonce, salt, self._keys.iterations)
        return self._server_first

    def _check_flag(self, flag: bytes) -> None:
        """Check the channel binding flag against the mechanism (RFC 5802 section 6)."""
        self._flag = flag
        if flag in (b"n", b"y"):
            if self._plus:
                raise _malformed("SCRAM-SHA-256-PLUS without channel binding data")
            if flag == b"y" and self._binding is not None:
                # The client saw no PLUS in the list, though it was there: someone took it out.
                raise ClientNotAdmitted("SCRAM channel binding negotiation error")
        elif flag.startswith(b"p="):
            if not self._plus:
                raise _malformed("channel binding data with SCRAM-SHA-256")
            if flag[2:] != _BINDING_TYPE.encode():
                raise ClientProtocolError("unsupported SCRAM channel-binding type")
        else:
            raise _malformed("unexpected channel-binding flag")

    def final(self, message: bytes) -> tuple[bytes, ScramKeys]:
        """Take the client's proof; give our signature, and the keys with the key it revealed.

        Raises ``ClientAuthError`` for a wrong proof, ``ClientProtocolError``,
        ``ClientNotAdmitted``.
        """
        without_proof, separator, encoded_proof = message.rpartition(b",p=")
        proof = _unbase64(encoded_proof)
        attributes = without_proof.split(b",")
        if not separator or proof is None or len(proof) != _KEY_BYTES or len(attributes) < 2:
            raise _malformed("proof expected")
        self._check_binding(attributes[0])
        if not hmac.compare_digest(attributes[1], b"r=" + self._full_nonce):
            raise ClientProtocolError("invalid SCRAM response", detail="nonce does not match")
        covered = b",".join((self._client_first_bare, self._server_first, without_proof))
        client_key = _xor(proof, _hmac(self._keys.stored_key, covered))
        proven = hmac.compare_digest(_hash(client_key), self._keys.stored_key)
        signature = _hmac(self._keys.server_key, covered)
        if not (proven and self._known):
            raise ClientAuthError(f'password authentication failed for user "{self._user}"')
        reply = b"v=" + base64.b64encode(signature)
        return reply, replace(self._keys, client_key=client_key)

    def _check_binding(self, attribute: bytes) -> None:
        expected = self._flag + b",,"
        if self._plus and self._binding is not None:
            expected = _BINDING_HEADER + self._binding
        given = _unbase64(attribute[2:])
        if not attribute.startswith(b"c=") or given is None:
            raise _malformed("channel binding attribute expected")
        if not hmac.compare_digest(given, expected):
            raise ClientNotAdmitted("SCRAM channel binding check failed")


class ScramClient:
    """We are the client: prove to a server that we have the keys, and check that it has too.

    ``binding`` is the channel binding data of the server's certificate; ``None`` without TLS.
    """

    def __init__(self, offered: list[str], nonce: bytes, binding: bytes | None) -> None:
        self.mechanism = SCRAM_SHA_256
        self._header = b"n,,"
        self._binding = b""
        if binding is not None and SCRAM_SHA_256_PLUS in offered:
            self.mechanism = SCRAM_SHA_256_PLUS
            self._header, self._binding = _BINDING_HEADER, binding
        elif binding is not None:
            # "The client supports channel binding but thinks the server does not."
            self._header = b"y,,"
        if self.mechanism not in offered:
            raise ServerProtocolError("server offers no SASL mechanism known here")
        self._nonce = base64.b64encode(nonce)
        self._bare = b"n=,r=" + self._nonce
        self._server_first = b""
        self._full_nonce = b""
        self._signature = b""

    def first(self) -> bytes:
        """Give the first message. The user name stays empty, as PostgreSQL ignores it."""
        return self._header + self._bare

    def challenge(self, message: bytes) -> tuple[bytes, int]:
        """Take the server's first message; give the salt and iteration count it asks for.

        Raises ``ServerProtocolError``.
        """
        fields = [part.split(b"=", 1) for part in message.split(b",")]
        names = [part[0] for part in fields[:3]]
        if names != [b"r", b"s", b"i"] or any(len(part) != 2 for part in fields):
            raise ServerProtocolError("server sent a malformed SCRAM message")
        nonce, encoded_salt, count = (part[1] for part in fields[:3])
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise ServerProtocolError("server sent an invalid SCRAM nonce")
        salt = _unbase64(encoded_salt)
        if not salt or not re.fullmatch(rb"[0-9]{1,7}", count):
            raise ServerProtocolError("server sent a malformed SCRAM message")
        iterations = int(count)
        if not 1 <= iterations <= MOST_ITERATIONS:
            raise ServerProtocolError(f"server asks for {iterations} SCRAM iterations")
        self._server_first = message
        self._full_nonce = nonce
        return salt, iterations

    def final(self, keys: ScramKeys) -> bytes:
        """Give the message with our proof; ``keys`` must hold the client key."""
        if keys.client_key is None:
            raise ValueError("a stored verifier alone proves nothing")
        binding = base64.b64encode(self._header + self._binding)
        without_proof = b"c=%b,r=%b" % (binding, self._full_nonce)
        covered = b",".join((self._bare, self._server_first, without_proof))
        self._signature = _hmac(keys.server_key, covered)
        proof = _xor(keys.client_key, _hmac(keys.stored_key, covered))
        return without_proof + b",p=" + base64.b64encode(proof)

    def verify(self, message: bytes) -> None:
        """Check the server's signature. Raises ``ServerProtocolError``: it may be an impostor."""
        given = _unbase64(message.split(b",")[0][2:])
        if not message.startswith(b"v=") or given is None:
            raise ServerProtocolError("server sent a malformed SCRAM message")
        if not self._signature or not hmac.compare_digest(given, self._signature):
            raise ServerProtocolError("server does not know the password: wrong SCRAM signature")
