"""The configuration file as frozen dataclasses.

One field here is one key of the file. The field's docstring (the string below it) is the text of
``docs/configuration.md``; its default is the default; ``setting(...)`` adds the accepted values
and whether a reload applies a change to a running proxy. Names are RDS Proxy's where it has one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MARIADB: Final = "write mysql, which is MariaDB's protocol as well"
METHODS: Final = {
    "postgresql": ("scram-sha-256", "md5", "password", "trust"),
    "mysql": (
        "caching_sha2_password",
        "mysql_native_password",
        "client_ed25519",
        "parsec",
        "sha256_password",
        "password",
        "trust",
    ),
}
"""What ``client_auth`` can be, by engine."""


def setting(
    default: object = ...,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    planned: Mapping[str, str] = MappingProxyType({}),
    filled: bool = False,
    secret: bool = False,
    reload: bool = True,
    default_factory: Callable[[], object] | None = None,
) -> Any:  # noqa: ANN401 - it stands for a value of the annotated type
    """Declare one configuration key: its default, accepted values and whether reload applies it.

    ``planned`` maps values that this version does not have to what to tell who asks for one.
    ``filled`` refuses an empty string. ``secret`` keeps the value out of every message. For a list
    of tables ``reload`` says whether entries may come and go; each entry's keys speak for
    themselves.
    """
    metadata = {
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "planned": planned,
        "filled": filled,
        "secret": secret,
        "reload": reload,
    }
    if default_factory is not None:
        return field(default_factory=default_factory, metadata=metadata, repr=not secret)
    if default is ...:
        return field(metadata=metadata, repr=not secret)
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessConfig:
    """``[process]``: settings of the whole process."""

    workers: int = setting(1, minimum=0, maximum=256, reload=False)
    """Relay processes; 0 is one per core. With more than one, a supervisor shares clients and
    server connections among them."""

    admin_listen: str = setting("127.0.0.1:9127", reload=False)
    """``host:port`` of the admin HTTP server (/metrics, /livez, /readyz); "" turns it off."""

    log_format: str = setting("text", choices=("text", "json"))
    """Format of the log on standard error."""

    shutdown_grace_s: float = setting(30.0, minimum=0, maximum=3600)
    """Seconds that transactions get to finish after SIGTERM."""

    allow_public_bind: bool = setting(False, reload=False)
    """Listen on wildcard and public addresses and serve clients whose address is public."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """``[[proxy.NAME.endpoint]]``: an address clients connect to."""

    listen: str = setting(filled=True, reload=False)
    """``host:port``, ``[ipv6]:port`` or ``unix:/path/of/socket``. Private addresses only."""

    role: str = setting("read_write", choices=("read_write", "read_only"), reload=False)
    """Target role, as in RDS Proxy: ``read_write`` or ``read_only``."""

    name: str = setting("", reload=False)
    """Name in metrics and logs; the listen address when empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthConfig:
    """``[[proxy.NAME.auth]]``: who may log in and with what. The first match wins."""

    user: str = setting(filled=True)
    """Database user name, or ``*`` for any."""

    client_auth: str = setting(
        "",
        choices=("", *dict.fromkeys(method for methods in METHODS.values() for method in methods)),
        planned={"iam": "logins with IAM tokens are not in this version"},
    )
    """How clients prove who they are: ``scram-sha-256`` and ``md5`` are PostgreSQL's,
    ``caching_sha2_password``, ``mysql_native_password``, ``sha256_password``, ``client_ed25519``
    and ``parsec`` MySQL's and MariaDB's. ``password`` needs TLS; ``trust`` needs a loopback or Unix
    socket client unless ``allow_trust_from_network`` is set. When empty, it is ``scram-sha-256`` or
    what the MySQL server itself begins with."""

    credential: str = setting("", secret=True)
    """Where the user's password is, as ``scheme:rest``: ``static:secret``, ``env:NAME``,
    ``file:/path``, or a scheme that a plug-in registers. Also used to log in to the target. A SCRAM
    verifier (``SCRAM-SHA-256$...``) is accepted too."""

    allow_trust_from_network: bool = setting(False)
    """Accept ``trust`` clients that are neither on loopback nor on a Unix socket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetConfig:
    """``[[proxy.NAME.target]]``: one database server."""

    host: str = setting(filled=True, reload=False)
    """Host name, address, or a Unix socket (starting with ``/``): its directory for PostgreSQL,
    its own path for MySQL."""

    port: int = setting(0, minimum=0, maximum=65535, reload=False)
    """TCP port (also names PostgreSQL's Unix socket, as in libpq); 0 is the engine's own, 5432 or
    3306."""

    tls: str = setting(
        "prefer", choices=("disable", "prefer", "require", "verify-ca", "verify-full"), reload=False
    )
    """TLS towards the server, with libpq's meanings of ``sslmode``."""

    tls_ca: str = setting("", reload=False)
    """PEM file of authorities for ``verify-ca`` and ``verify-full``; the system's when empty."""

    connect_timeout_s: float = setting(10.0, minimum=0.1, maximum=300, reload=False)
    """Seconds to open and log in a server connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetGroupConfig:
    """``[proxy.NAME.target_group]``: the pool."""

    pool_mode: str = setting("transaction", choices=("transaction", "session"), reload=False)
    """``transaction`` lends a server connection for a transaction, ``session`` for a session."""

    max_connections: int = setting(0, minimum=0, maximum=100000)
    """Server connections per target, all databases and users together; 0 leaves it to
    ``max_connections_percent``."""

    max_connections_percent: int = setting(100, minimum=1, maximum=100)
    """Share of what the server allows (its ``max_connections`` less reserved slots); used when
    ``max_connections`` is 0."""

    max_idle_connections_percent: int = setting(50, minimum=0, maximum=100)
    """Idle server connections kept, as a share of the maximum; more are closed after a while."""

    min_connections: int = setting(0, minimum=0, maximum=10000)
    """Server connections kept open for each (database, user) in use, within the maximum."""

    connection_borrow_timeout_s: float = setting(120.0, minimum=0.001, maximum=300)
    """Seconds a client waits for a server connection before it gets an error."""

    connection_max_lifetime_s: float = setting(86400.0, minimum=1)
    """Seconds after which a server connection is replaced once idle (with 10% jitter)."""

    init_query: str = setting("")
    """SQL run on each new server connection, such as ``SET x = 1; SET y = 2``."""

    session_pinning_filters: tuple[str, ...] = setting((), choices=("EXCLUDE_VARIABLE_SETS",))
    """Accepted for RDS Proxy's sake: settings are carried over here, and never pin."""

    max_prepared_statements: int = setting(200, minimum=1, maximum=100000, reload=False)
    """Prepared statements kept on one server connection; the least recently used is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyConfig:
    """``[proxy.NAME]``: one proxy; its endpoints, auth entries, pool and target are below."""

    name: str
    """The table's name in the file, of letters, digits, ``_`` and ``-``; not a key."""

    engine: str = setting(
        "postgresql",
        choices=("postgresql", "mysql"),
        planned={"mariadb": _MARIADB},
        reload=False,
    )
    """Protocol that clients and targets speak; ``mysql`` is MariaDB's, too."""

    require_tls: bool = setting(False)
    """Turn away TCP clients that do not use TLS."""

    tls_cert: str = setting("", reload=False)
    """PEM file with the certificate chain shown to clients; re-read when the file changes."""

    tls_key: str = setting("", reload=False)
    """PEM file with its private key; re-read when the file changes. With neither, TLS is not
    offered."""

    idle_client_timeout_s: float = setting(1800.0, minimum=1, maximum=28800)
    """Seconds without a query after which a client is disconnected."""

    idle_transaction_timeout_s: float = setting(60.0, minimum=0)
    """Seconds a client may hold a transaction without sending anything; then it is rolled back and
    the client disconnected (25P03). 0 turns it off."""

    query_timeout_s: float = setting(0.0, minimum=0)
    """Seconds a query may run before the proxy cancels it; 0 turns it off."""

    login_timeout_s: float = setting(15.0, minimum=0.1, maximum=300)
    """Seconds a client has to log in."""

    max_client_connections: int = setting(15000, minimum=1, maximum=1000000)
    """Clients served at once; more are refused with 53300."""

    debug_logging: bool = setting(False)
    """Log every borrow, return, pin and its reason."""

    endpoint: tuple[EndpointConfig, ...] = setting(default_factory=tuple, reload=False)
    """Endpoints; at least one."""

    auth: tuple[AuthConfig, ...] = setting(default_factory=tuple)
    """Auth entries; at least one."""

    target_group: TargetGroupConfig = setting(default_factory=TargetGroupConfig)  # noqa: RUF009
    """The pool's settings."""

    target: tuple[TargetConfig, ...] = setting(default_factory=tuple, reload=False)
    """Database servers. This version uses exactly one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole file."""

    process: ProcessConfig = setting(default_factory=ProcessConfig)  # noqa: RUF009
    """Settings of the whole process."""

    proxy: dict[str, ProxyConfig] = setting(default_factory=dict, reload=False)  # noqa: RUF009
    """Proxies by name; at least one."""
