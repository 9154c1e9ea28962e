"""What an engine (PostgreSQL, MySQL) provides to the generic part of the proxy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from proxy.errors import ProxyError
    from proxy.wire.steps import Conversation, TlsFacts
    from proxy.wire.stream import ClientStream, ServerStream


@dataclass(slots=True)
class Arrival:
    """How a client reached us, and how far it has come."""

    tls_available: bool
    tls_required: bool
    direct_tls: bool
    """Its first byte begins a TLS handshake."""
    local: bool
    """It is on this machine: loopback or a Unix socket."""
    host: str = "localhost"
    """Its address."""
    number: int = 0
    """Number of the session to be."""
    sequence: int = 0
    """Number of the next packet, where an engine counts them; ``accept`` keeps it."""


@dataclass(frozen=True, slots=True)
class Login:
    """A client that has authenticated."""

    user: str
    database: str
    pool_key: tuple[tuple[str, str], ...]
    """Start-up parameters that only sessions with the same ones can share connections with."""
    settings: dict[str, str]
    """Settings the session starts with."""
    tls: TlsFacts | None
    secret_bytes: int
    """Length of the cancel secret that this client understands."""
    recovered: Any = None
    """What authenticating revealed that helps to log in to the server (engine-specific)."""
    facts: Any = None
    """What else the engine must know of the client."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """A request to cancel what another connection runs."""

    number: int
    secret: bytes
    user: str = ""
    """User whose sessions may be cancelled without the secret."""
    whole: bool = False
    """The session is to end, too."""


@dataclass(frozen=True, slots=True)
class Kill:
    """A client asks to end another session, or what it runs (``ClientStream.errand``)."""

    number: int
    query_only: bool


@dataclass(frozen=True, slots=True)
class LogInAgain:
    """A client begins a new session on its connection (``ClientStream.errand``)."""

    message: bytes
    facts: Any
    """``Login.facts`` of the session that ends."""


@dataclass(frozen=True, slots=True)
class Move:
    """A session that has chosen another database joins its pool (``ClientStream.errand``)."""

    database: str


@dataclass(frozen=True, slots=True)
class VacateDatabases:
    """A client has sent what needs databases without connections (``ClientStream.errand``)."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """How to log in to a server."""

    user: str
    database: str
    parameters: dict[str, str]
    tls_mode: str
    unix_socket: bool
    secret: Any
    """Engine-specific, made by ``Dialect.server_secret``."""


@dataclass(frozen=True, slots=True)
class ServerSession:
    """A server connection that has logged in."""

    reported: dict[str, str]
    process_id: int
    cancel_request: bytes
    """What asks for a cancel of what this connection runs, see ``Dialect.cancel``."""
    tls: TlsFacts | None
    capabilities: int = 0
    """Options in force, for an engine that agrees on them at login."""
    profile: Any = None
    """What clients must be told of the target before anything is known of them."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server says of itself."""

    usable_connections: int
    """Connections it allows, less the slots it reserves; 0 if it was not asked."""
    baseline: dict[str, str] = field(default_factory=dict)
    """Settings that ``init_query`` made."""


class Dialect(Protocol):
    """One engine. All conversations are sans-I/O."""

    default_port: int
    speaks_first: bool
    """Whether the server says something before its client does."""
    cancels_by_login: bool
    """Whether ``cancel`` has to log in."""
    state_spans_databases: bool
    """Whether the pools of one user with the same parameters have one ``shared_state``."""

    def socket_path(self, host: str, port: int) -> str:
        """Give the path of a server's Unix socket; ``host`` begins with a slash."""
        ...

    def accept(self, arrival: Arrival) -> Conversation[Login | Cancel]:
        """Be the server of a client that logs in; ``Fetch`` asks for its ``client_secret``."""
        ...

    def log_in_again(self, arrival: Arrival, errand: LogInAgain) -> Conversation[Login]:
        """Be the server of a client that logs in anew on its connection.

        ``Fetch`` asks for its ``client_secret``.
        """
        ...

    def client_secret(self, method: str, secret: str | None, derived: dict[str, Any]) -> Any:
        """Turn a credential into what ``accept`` checks a client against.

        ``None`` stands for an unknown user, an empty ``method`` for the engine's own default. What
        is costly to derive is kept in ``derived``.
        """
        ...

    def server_secret(self, secret: str, derived: dict[str, Any], recovered: Any) -> Any:
        """Turn a credential into what ``log_in`` answers a server with."""
        ...

    def log_in(self, plan: ServerPlan) -> Conversation[ServerSession]:
        """Be the client of a server."""
        ...

    def warm_up(
        self, shared: Any, session: ServerSession, init_query: str, now: float, *, limits: bool
    ) -> Conversation[ServerFacts]:
        """Ask a new server connection for its ``limits``, if wanted, and run ``init_query``.

        ``shared`` is what the pool's sessions share; ``now`` is monotonic, in seconds.
        """
        ...

    def cancel(self, request: bytes, plan: ServerPlan | None, *, tls: bool) -> Conversation[None]:
        """Cancel what another connection runs; ends once the server has taken note.

        ``request`` is a session's ``cancel_request``, ``tls`` whether it used TLS. ``plan`` is how
        to log in, where that must be (``cancels_by_login``) and the secret can be had.
        """
        ...

    def learn_target(self, plan: ServerPlan | None) -> Conversation[Any]:
        """Ask a server for its ``profile``, logging in if there is a plan how."""
        ...

    def shared_state(self, *, max_prepared_statements: int) -> Any:
        """Make what all sessions and server connections of one pool share.

        It has ``forget_greetings()``.
        """
        ...

    def client_stream(
        self, shared: Any, login: Login, number: int, secret: bytes, *, session_pooling: bool
    ) -> ClientStream:
        """Make the stream of a client that has logged in."""
        ...

    def greeting(self, shared: Any, stream: ClientStream) -> bytes | None:
        """What to greet the client with; ``None`` if a server must be asked first."""
        ...

    def server_stream(
        self, shared: Any, session: ServerSession, facts: ServerFacts
    ) -> ServerStream:
        """Make the stream of a server connection that has logged in."""
        ...

    def reply(self, error: ProxyError, arrival: Arrival) -> bytes:
        """Encode an error for a client that has not logged in."""
        ...


@runtime_checkable
class MovingDialect(Protocol):
    """An engine whose idle server connections can move to another process."""

    def pack(self, stream: ServerStream) -> dict[str, Any]:
        """Say, as JSON can, what another process must know of an idle connection."""
        ...

    def unpack(self, shared: Any, facts: dict[str, Any]) -> ServerStream:
        """Make the stream of such a connection; its first ``recover`` discards what it holds."""
        ...
