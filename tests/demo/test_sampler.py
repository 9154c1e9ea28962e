"""The observer: it counts others, never itself."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from proxy.demo.measures import Ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.demo.cluster import Cluster
    from proxy.demo.sampler import Sampler


@asynccontextmanager
async def sampling(cluster: Cluster) -> AsyncIterator[Sampler]:
    from proxy.demo.sampler import Sampler

    sampler = await Sampler.connect(cluster.superuser_login)
    try:
        assert await sampler.wait_until_alone(10)
        sampler.restart()
        yield sampler
    finally:
        await sampler.close()


async def test_counts_open_and_busy_connections_and_their_peak(demo_cluster: Cluster) -> None:
    async with sampling(demo_cluster) as sampler:
        assert (sampler.open, sampler.busy, sampler.peak) == (0, 0, 0)
        first = await demo_cluster.login.connect()
        second = await demo_cluster.login.connect()
        await second.execute("BEGIN")
        await sampler.sample()
        assert (sampler.open, sampler.busy, sampler.peak) == (2, 1, 2)
        assert not await sampler.wait_until_alone(0.2)
        await first.close()
        await second.close()
        assert await sampler.wait_until_alone(10)
        assert (sampler.open, sampler.peak) == (0, 2)
        sampler.restart()
        assert sampler.peak == 0


async def test_reads_the_ledger_and_reset_clears_it(demo_cluster: Cluster) -> None:
    await demo_cluster.reset()
    async with sampling(demo_cluster) as sampler:
        connection = await demo_cluster.login.connect()
        await connection.execute(
            "INSERT INTO purchase (product, environment) VALUES (1, 7), (2, 7);"
            "UPDATE product SET stock = stock - 3 WHERE id = 1"
        )
        await connection.close()
        assert await sampler.ledger() == Ledger(orders=2, stock_taken=3)
        await demo_cluster.reset()
        assert await sampler.ledger() == Ledger(orders=0, stock_taken=0)
