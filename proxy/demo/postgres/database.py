"""Logging in to the demonstration's PostgreSQL, directly or through the proxy, with asyncpg."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import asyncpg

from proxy.demo.engine import DATABASE

if TYPE_CHECKING:
    from proxy.demo.engine import Connection

FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
"""What using a connection may raise when the server or the way to it fails."""

NOT_YET = (OSError, asyncpg.CannotConnectNowError)
"""What connecting raises while a server is starting."""


@dataclass(frozen=True, slots=True)
class PostgresLogin:
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
