"""The observer: it counts others, never itself."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from proxy.demo.measures import Ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.demo.sampler import Sampler
    from tests.demo.conftest import Scene


@asynccontextmanager
async def sampling(scene: Scene) -> AsyncIterator[Sampler]:
    from proxy.demo.sampler import Sampler

    sampler = await Sampler.connect(scene.cluster.superuser_login, scene.engine)
    try:
        assert await sampler.wait_until_alone(10)
        sampler.restart()
        yield sampler
    finally:
        await sampler.close()


async def test_counts_open_and_busy_connections_and_their_peak(scene: Scene) -> None:
    from proxy.demo.sampler import INTERVAL_S

    async with sampling(scene) as sampler:
        assert (sampler.open, sampler.busy, sampler.peak) == (0, 0, 0)
        first = await scene.cluster.login.connect()
        second = await scene.cluster.login.connect()
        await second.execute("BEGIN")
        await second.execute("UPDATE product SET stock = 0 WHERE id = 1")
        # Who has just come may not be counted yet, and InnoDB tells of a transaction only after
        # its list was left unread for a tenth of a second.
        async with asyncio.timeout(10):
            while (sampler.open, sampler.busy) != (2, 1):
                await asyncio.sleep(INTERVAL_S)
                await sampler.sample()
        assert (sampler.open, sampler.busy, sampler.peak) == (2, 1, 2)
        assert not await sampler.wait_until_alone(0.2)
        await first.close()
        await second.close()
        assert await sampler.wait_until_alone(10)
        assert (sampler.open, sampler.peak) == (0, 2)
        sampler.restart()
        assert sampler.peak == 0


async def test_reads_the_ledger_and_reset_clears_it(scene: Scene) -> None:
    await scene.cluster.reset()
    async with sampling(scene) as sampler:
        connection = await scene.cluster.login.connect()
        await connection.execute(
            "INSERT INTO purchase (product, environment) VALUES (1, 7), (2, 7)"
        )
        await connection.execute("UPDATE product SET stock = stock - 3 WHERE id = 1")
        await connection.close()
        assert await sampler.ledger() == Ledger(orders=2, stock_taken=3)
        await scene.cluster.reset()
        assert await sampler.ledger() == Ledger(orders=0, stock_taken=0)


async def test_finishing_in_the_middle_of_a_sample_keeps_the_connection(scene: Scene) -> None:
    await scene.cluster.reset()
    async with sampling(scene) as sampler:
        async with asyncio.TaskGroup() as group:
            group.create_task(sampler.run())
            await asyncio.sleep(0)
            sampler.finish()
        assert await sampler.ledger() == Ledger(orders=0, stock_taken=0)
