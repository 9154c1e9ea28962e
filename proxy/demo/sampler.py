"""Watches the database from the side, over a connection of its own."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from proxy.demo.engine import PRODUCTS, STOCK
from proxy.demo.measures import Ledger

if TYPE_CHECKING:
    from proxy.demo.engine import Connection, Engine, Login

INTERVAL_S = 0.1

_LEDGER = f"""
SELECT (SELECT count(*) FROM purchase) AS orders,
       (SELECT {PRODUCTS * STOCK} - sum(stock) FROM product) AS stock_taken
"""  # noqa: S608 - numbers of ours


class Sampler:
    """Samples the server's list of connections; its own connection is not counted."""

    def __init__(self, connection: Connection, engine: Engine) -> None:
        self._connection = connection
        self._observer = engine.observer(connection)
        self._finished = asyncio.Event()
        self.open = 0
        """Server connections open at the last sample."""
        self.busy = 0
        """Of those, running a statement or in a transaction."""
        self.peak = 0
        """Most open at any sample since the last ``restart``."""

    @classmethod
    async def connect(cls, login: Login, engine: Engine) -> Sampler:
        """Open the observer's connection directly at the database."""
        return cls(await login.connect(), engine)

    async def close(self) -> None:
        """Close the observer's connection."""
        await self._connection.close(timeout=5)

    def restart(self) -> None:
        """Forget the peak, and that ``finish`` was called."""
        self.peak = 0
        self._finished.clear()

    def finish(self) -> None:
        """Let ``run`` end with the sample that it is taking.

        Cancelled in the middle of a query, a driver may give the whole connection up.
        """
        self._finished.set()

    async def sample(self) -> None:
        """Take one sample."""
        census = await self._observer.count()
        self.open, self.busy = census.open, census.busy
        self.peak = max(self.peak, self.open)

    async def run(self) -> None:
        """Sample until ``finish`` is called."""
        while not self._finished.is_set():
            await self.sample()
            with suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL_S):
                    await self._finished.wait()

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
