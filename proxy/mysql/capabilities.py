"""What clients are offered and servers are asked for, and what is known of either side.

The greeting comes before anything is known of a client, and a client goes by what it offers. So it
offers what the target offers (``TargetProfile``), less what is not relayed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from proxy.mysql.constants import (
    CLIENT_CAPABILITY_EXTENSION,
    CLIENT_COMPRESS,
    CLIENT_CONNECT_ATTRS,
    CLIENT_CONNECT_WITH_DB,
    CLIENT_LONG_FLAG,
    CLIENT_LONG_PASSWORD,
    CLIENT_PLUGIN_AUTH,
    CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA,
    CLIENT_PROTOCOL_41,
    CLIENT_REMEMBER_OPTIONS,
    CLIENT_SECURE_CONNECTION,
    CLIENT_SSL,
    CLIENT_SSL_VERIFY_SERVER_CERT,
    CLIENT_TRANSACTIONS,
    CLIENT_ZSTD_COMPRESSION_ALGORITHM,
    MARIADB_CLIENT_CACHE_METADATA,
    MARIADB_CLIENT_COM_MULTI,
    MULTI_FACTOR_AUTHENTICATION,
    POOL_CAPABILITIES,
    TRANSLATED_CAPABILITIES,
)

if TYPE_CHECKING:
    from proxy.wire.steps import TlsFacts

_VERSION: Final = re.compile(r"(\d+)\.(\d+)")

FIRST_SESSION: Final = 1 << 30
"""Session numbers are no smaller: the thread ids of servers are."""

NOT_RELAYED: Final = (
    CLIENT_COMPRESS
    | CLIENT_SSL
    | CLIENT_ZSTD_COMPRESSION_ALGORITHM
    | MULTI_FACTOR_AUTHENTICATION
    | CLIENT_CAPABILITY_EXTENSION
    | CLIENT_SSL_VERIFY_SERVER_CERT
    | CLIENT_REMEMBER_OPTIONS
    | MARIADB_CLIENT_COM_MULTI
    | MARIADB_CLIENT_CACHE_METADATA
)
"""Offered to no client, whatever the target offers; CLIENT_SSL hangs on our certificate."""

LOGIN_CAPABILITIES: Final = (
    CLIENT_LONG_PASSWORD
    | CLIENT_LONG_FLAG
    | CLIENT_CONNECT_WITH_DB
    | CLIENT_PROTOCOL_41
    | CLIENT_TRANSACTIONS
    | CLIENT_SECURE_CONNECTION
    | CLIENT_PLUGIN_AUTH
    | CLIENT_CONNECT_ATTRS
    | CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
)
"""Asked of every server that has them; what they change ends with the login."""


@dataclass(frozen=True, slots=True)
class TargetProfile:
    """What servers of a target say in their greeting."""

    server_version: str
    capabilities: int
    """64 bits."""
    collation: int
    """Low byte of the id of the default collation."""
    plugin: str
    """Default authentication plugin."""

    @property
    def is_mariadb(self) -> bool:
        """Whether this is MariaDB."""
        return is_mariadb(self.server_version)


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """What a client's login settled; ``Login.facts``."""

    capabilities: int
    """Capabilities in force: both asked for by the client and offered to it."""
    sequence: int
    """Sequence id of the next packet to the client, which is its login's final OK."""
    collation: int
    """Id that it logged in with; 1 byte at login, 2 in COM_CHANGE_USER."""
    tls: TlsFacts | None = None
    proof: bytes = field(default=b"", repr=False)
    """What the final OK has in its message (``certificate_proof.py``)."""
    nonce: bytes = field(default=b"", repr=False)
    """The last one that the client was to scramble a password with."""
    again: bool = False
    """This was COM_CHANGE_USER, whose OK tells less."""


def is_mariadb(server_version: str) -> bool:
    """Whether a server that greets with this version is MariaDB."""
    return "mariadb" in server_version.lower()


def mariadb_version(server_version: str) -> tuple[int, int]:
    """Major and minor version of MariaDB, as far as it says so; zeros for another server."""
    found = _VERSION.match(server_version)
    if found is None or not is_mariadb(server_version):
        return (0, 0)
    return int(found[1]), int(found[2])


def offered(profile: TargetProfile, *, tls: bool) -> int:
    """Capabilities to greet clients with."""
    return profile.capabilities & ~NOT_RELAYED | (CLIENT_SSL if tls else 0)


def pool_capabilities(client: int) -> int:
    """Those of a client's capabilities in force that its server connections have as well."""
    return client & POOL_CAPABILITIES & ~NOT_RELAYED


def asked(server: int, pool: int, *, database: bool) -> int:
    """Capabilities to log in with at a server that offers ``server``, for a pool's sessions."""
    wanted = LOGIN_CAPABILITIES | TRANSLATED_CAPABILITIES | pool
    if not database:
        wanted &= ~CLIENT_CONNECT_WITH_DB
    return wanted & server
