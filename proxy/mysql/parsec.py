"""What both sides of MariaDB's ``parsec`` plugin compute (MariaDB 11.6 and later).

    server: its scramble ── client: an empty packet ── server: the ext-salt ──
    ── client: a scramble of its own, and a signature of both scrambles

The ext-salt is ``P`` (for PBKDF2 with HMAC-SHA-512), a byte that says how often the 1024 iterations
are doubled, and the salt. What is derived is Ed25519's secret key. Source: MariaDB's
"Authentication Plugin - PARSEC" and its ``server_parsec.cc``, which take 3 doublings at most.
"""

from __future__ import annotations

import hashlib
from typing import Final

from proxy.errors import ProtocolError
from proxy.mysql.ed25519 import SIGNATURE_BYTES, SigningKey

SCRAMBLE_BYTES: Final = 32
SALT_BYTES: Final = 18
_KEY_DERIVATION: Final = b"P"
_MOST_DOUBLINGS: Final = 3
_LEAST_ITERATIONS: Final = 1024
_KEY_BYTES: Final = 32


def ext_salt(salt: bytes) -> bytes:
    """Encode an ext-salt with as many iterations as MariaDB's own accounts have."""
    return _KEY_DERIVATION + b"\0" + salt


def derive(password: bytes, ext_salt: bytes) -> SigningKey:
    """Derive the key of a password: half a millisecond for every 1024 iterations.

    Raises ``ProtocolError`` for an ext-salt that is none.
    """
    if len(ext_salt) != 2 + SALT_BYTES or ext_salt[:1] != _KEY_DERIVATION:
        raise ProtocolError("malformed ext-salt")
    if ext_salt[1] > _MOST_DOUBLINGS:
        raise ProtocolError("ext-salt with too many iterations")
    iterations = _LEAST_ITERATIONS << ext_salt[1]
    return SigningKey(hashlib.pbkdf2_hmac("sha512", password, ext_salt[2:], iterations, _KEY_BYTES))


def answer(key: SigningKey, server_scramble: bytes, client_scramble: bytes) -> bytes:
    """Answer a server's scramble."""
    return client_scramble + key.sign(server_scramble + client_scramble)


def is_answer(key: SigningKey, server_scramble: bytes, response: bytes) -> bool:
    """Whether a client's answer to a scramble was made with a key."""
    if len(response) != SCRAMBLE_BYTES + SIGNATURE_BYTES:
        return False
    client_scramble, signature = response[:SCRAMBLE_BYTES], response[SCRAMBLE_BYTES:]
    return key.has_signed(server_scramble + client_scramble, signature)
