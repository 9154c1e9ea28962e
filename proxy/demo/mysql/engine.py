"""MySQL's part in the demonstration."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from proxy.demo.engine import APPLICATION_USER, MYSQL, Census, Engine, first_line
from proxy.demo.mysql.cluster import MysqlCluster
from proxy.demo.mysql.database import FAILURES, OBSERVERS_LOCK
from proxy.demo.mysql.server import find_server

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from proxy.demo.engine import Connection

_ORDER = "INSERT INTO purchase (product, environment) VALUES (%s, %s)"
_ORDERED = "SELECT environment FROM purchase WHERE id = LAST_INSERT_ID()"

_CONNECTIONS = """
SELECT process.id AS id, process.command <> 'Sleep' OR trx.trx_id IS NOT NULL AS busy
FROM information_schema.processlist AS process
LEFT JOIN information_schema.innodb_trx AS trx ON trx.trx_mysql_thread_id = process.id
WHERE process.user = %s AND COALESCE(process.info, '') NOT LIKE 'KILL QUERY %%'
"""


class MysqlObserver:
    """Reads the process list for the application's connections.

    To stop the query of a client that vanished, a proxy has to log in once more to send KILL QUERY
    (MySQL has no other way), beside its budget. Such a connection is not counted: it is told by
    that statement, which MariaDB may take two seconds to carry out, and else by being gone the next
    time; all others count from the second time that they are seen.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._seen: frozenset[int] | None = None

    async def count(self) -> Census:
        """Count the connections that were there last time, too; the first time, all."""
        rows = await self._connection.fetch(_CONNECTIONS, APPLICATION_USER)
        busy = {row["id"]: bool(row["busy"]) for row in rows}
        numbers = frozenset(busy)
        lasting = numbers if self._seen is None else numbers & self._seen
        self._seen = numbers
        return Census(open=len(lasting), busy=sum(busy[number] for number in lasting))


class MysqlEngine(Engine):
    """A MySQL or MariaDB of this machine or from Docker, with aiomysql."""

    name: ClassVar[str] = MYSQL
    failures: ClassVar[tuple[type[Exception], ...]] = FAILURES
    look: ClassVar[str] = "SELECT name, stock, %s AS environment FROM product WHERE id = %s"
    slow: ClassVar[str] = "SELECT %s AS environment, SLEEP(%s) AS slept"
    take: ClassVar[str] = "UPDATE product SET stock = stock - 1 WHERE id = %s"
    # Not SLEEP: killing one, MariaDB at times holds up all other SLEEPs for two seconds.
    linger: ClassVar[str] = f"SELECT GET_LOCK('{OBSERVERS_LOCK}', 3)"

    def cluster(self, directory: Path, *, superuser_password: str, password: str) -> MysqlCluster:
        """Return a server to start in a directory. Raises ``DemoError`` if there is none."""
        server = find_server(directory, superuser_password)
        return MysqlCluster(server, superuser_password=superuser_password, password=password)

    async def order(
        self, connection: Connection, product: int, environment: int
    ) -> Mapping[str, int] | None:
        """Insert an order and read it back by its insert id."""
        await connection.execute(_ORDER, product, environment)
        return await connection.fetchrow(_ORDERED)

    def observer(self, connection: Connection) -> MysqlObserver:
        """Return the observer that counts over this connection of the superuser's."""
        return MysqlObserver(connection)

    def describe(self, error: BaseException) -> str:
        """Return an error's number and first line."""
        match error.args:
            case (int(number), str(text), *_) if isinstance(error, FAILURES[0]):
                return f"{number} {(text.splitlines() or [''])[0]}"[:100]
        return first_line(error)[:100]
