"""Watches the database from the side, over a connection of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.demo.cluster import PRODUCTS, STOCK
from proxy.demo.measures import Ledger

if TYPE_CHECKING:
    from proxy.demo.database import Connection, Login

INTERVAL_S = 0.1

_COUNT = """
SELECT count(*) AS open, count(*) FILTER (WHERE state <> 'idle') AS busy
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""

_LEDGER = f"""
SELECT (SELECT count(*) FROM purchase) AS orders,
       (SELECT {PRODUCTS * STOCK} - sum(stock) FROM product) AS stock_taken
"""  # noqa: S608 - numbers of ours


class Sampler:
    """Samples ``pg_stat_activity``; its own connection is not counted."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.open = 0
        """Server connections open at the last sample."""
        self.busy = 0
        """Of those, not idle."""
        self.peak = 0
        """Most open at any sample since the last ``restart``."""

    @classmethod
    async def connect(cls, login: Login) -> Sampler:
        """Open the observer's connection directly at the database."""
        return cls(await login.connect())

    async def close(self) -> None:
        """Close the observer's connection."""
        await self._connection.close(timeout=5)

    def restart(self) -> None:
        """Forget the peak."""
        self.peak = 0

    async def sample(self) -> None:
        """Take one sample."""
        if row := await self._connection.fetchrow(_COUNT):
            self.open, self.busy = row["open"], row["busy"]
        self.peak = max(self.peak, self.open)

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            await self.sample()
            await asyncio.sleep(INTERVAL_S)

    async def ledger(self) -> Ledger:
        """Read what the burst left in the tables."""
        row = await self._connection.fetchrow(_LEDGER)
        if row is None:
            raise LookupError("the query of the ledger returned no row")
        return Ledger(orders=row["orders"], stock_taken=int(row["stock_taken"]))

    async def wait_until_alone(self, timeout_s: float) -> bool:
        """Wait until no other connection is left; return whether that came true in time."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        await self.sample()
        while self.open and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(INTERVAL_S)
            await self.sample()
        return self.open == 0
