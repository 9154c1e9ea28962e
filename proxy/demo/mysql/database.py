"""Logging in to the demonstration's MySQL, directly or through the proxy, with aiomysql."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiomysql

from proxy.demo.engine import DATABASE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

FAILURES = (aiomysql.Error, OSError, TimeoutError)
"""What using a connection may raise when the server or the way to it fails."""

OBSERVERS_LOCK = "tidegate-demo"
"""Name of the lock that the observer holds, so that whoever else asks for it has to wait."""

OBSERVERS_INIT = f"SET SESSION max_error_count = 0, @held = GET_LOCK('{OBSERVERS_LOCK}', 0)"
"""What the observer begins with. Without the first setting aiomysql would print, at each sample,
the warning that MySQL 9's process list is deprecated."""


class MysqlConnection:
    """An aiomysql connection with asyncpg's manners; placeholders are ``%s``."""

    def __init__(self, connection: aiomysql.Connection) -> None:
        self._connection = connection

    async def fetch(self, query: str, *arguments: object) -> Sequence[Mapping[str, int]]:
        """Run a query and return its rows."""
        rows: Sequence[Mapping[str, int]] = await (await self._run(query, arguments)).fetchall()
        return rows

    async def fetchrow(self, query: str, *arguments: object) -> Mapping[str, int] | None:
        """Run a query and return its first row."""
        row: Mapping[str, int] | None = await (await self._run(query, arguments)).fetchone()
        return row

    async def execute(self, query: str, *arguments: object) -> None:
        """Run a statement."""
        await self._run(query, arguments)

    async def _run(self, query: str, arguments: tuple[object, ...]) -> aiomysql.DictCursor:
        cursor = await self._connection.cursor(aiomysql.DictCursor)
        await cursor.execute(query, arguments or None)
        return cursor

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """BEGIN, and COMMIT or ROLLBACK at the end of the block."""
        await self._connection.begin()
        try:
            yield
        except BaseException:
            if not self.is_closed():
                await self._connection.rollback()
            raise
        await self._connection.commit()

    def is_closed(self) -> bool:
        """Say whether the connection is gone."""
        return bool(self._connection.closed)

    def terminate(self) -> None:
        """Drop the connection at once, without COM_QUIT."""
        self._connection.close()

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's
        """Say goodbye and close."""
        async with asyncio.timeout(timeout):
            await self._connection.ensure_closed()


@dataclass(frozen=True, slots=True)
class MysqlLogin:
    """Where on 127.0.0.1 and as whom to connect."""

    port: int
    user: str
    password: str = field(repr=False)
    database: str | None = DATABASE
    init_command: str | None = None
    """SQL to run after the login."""

    async def connect(self, *, timeout_s: float = 30.0) -> MysqlConnection:
        """Open a connection in autocommit mode. Raises one of ``FAILURES``."""
        async with asyncio.timeout(timeout_s):
            connection = await aiomysql.connect(
                host="127.0.0.1",
                port=self.port,
                user=self.user,
                password=self.password,
                db=self.database,
                charset="utf8mb4",
                autocommit=True,
                init_command=self.init_command,
            )
        return MysqlConnection(connection)
