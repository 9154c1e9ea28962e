"""Logging in to the demonstration's database, directly or through the proxy, with asyncpg."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

DATABASE = "orders"

FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
"""What using a connection may raise when the server or the way to it fails."""

NOT_YET = (OSError, asyncpg.CannotConnectNowError)
"""What connecting raises while a server is starting."""


class Connection(Protocol):
    """The part of ``asyncpg.Connection`` that is used here."""

    async def fetchrow(self, query: str, *arguments: object) -> Mapping[str, int] | None:
        """Run a query with the extended protocol and return its first row."""
        ...

    async def execute(self, query: str, *arguments: object) -> str:
        """Run statements; without arguments with the simple protocol."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[object]:
        """BEGIN, and COMMIT or ROLLBACK at the end of the block."""
        ...

    def is_closed(self) -> bool:
        """Say whether the connection is gone."""
        ...

    def terminate(self) -> None:
        """Drop the connection at once, without a Terminate message."""
        ...

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's
        """Say goodbye and close."""
        ...


@dataclass(frozen=True, slots=True)
class Login:
    """Where on 127.0.0.1 and as whom to connect."""

    port: int
    user: str
    password: str = field(repr=False)
    database: str = DATABASE

    async def connect(self, *, timeout_s: float = 30.0) -> Connection:
        """Open a connection. Raises one of ``FAILURES``."""
        connection = await asyncpg.connect(
            host="127.0.0.1",
            port=self.port,
            user=self.user,
            password=self.password,
            database=self.database,
            ssl=False,
            timeout=timeout_s,
        )
        return cast("Connection", connection)
