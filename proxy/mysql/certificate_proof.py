"""How a server of MariaDB's vouches for its certificate where no authority does (11.4 and later).

Clients that verify certificates, as MariaDB's do unless told otherwise, take one that they cannot
trace to an authority if the final OK of the login has in its message what only who knows their
password can make: a byte 1, and in hexadecimal SHA-256 of what the server stores of the password,
the greeting's nonce (a later one only of ``mysql_native_password``) and the certificate's SHA-256.
There is none for other plugins and for empty passwords. Source: MariaDB Connector/C's
``my_auth.c``; observed on MariaDB 11.8.9, which has it in every login, with TLS or without.
"""

from __future__ import annotations

import hashlib
from typing import Final

from proxy.mysql.capabilities import mariadb_version

_VERSION: Final = b"\x01"
_FIRST: Final = (11, 4)


def is_proven_by(server_version: str) -> bool:
    """Whether a server that greets with this version proves its certificate."""
    return mariadb_version(server_version) >= _FIRST


def proof(stored: bytes, nonce: bytes, fingerprint: bytes) -> bytes:
    """Make the message of the final OK; ``fingerprint`` is the certificate's SHA-256."""
    return _VERSION + hashlib.sha256(stored + nonce + fingerprint).hexdigest().upper().encode()
