"""Pools with real links on transports that go nowhere; time is whatever the test says."""

from __future__ import annotations

from proxy.metrics.counters import EndpointCounters, PoolCounters
from proxy.pool.limits import Target
from proxy.pool.pool import Pool
from proxy.postgres.client_stream import PostgresClientStream
from proxy.postgres.pool_state import PoolState
from proxy.postgres.server_stream import PostgresServerStream
from proxy.session.client_link import ClientLink
from proxy.session.journal import Journal
from proxy.session.server_link import ServerLink
from tests.support.stand import FakeTransport

QUERY = b"Q\0\0\0\x0dSELECT 1\0"


class Place:
    """A target with a budget, and what it was asked to open."""

    def __init__(self, maximum: int) -> None:
        self.asked: list[Pool] = []
        self.target = Target(self.asked.append)
        self.target.maximum = maximum

    def pool(self, database: str = "app", minimum: int = 0) -> Pool:
        """Add a pool."""
        shared = PoolState(max_prepared_statements=10)
        pool = Pool(self.target, (database, "app", ()), PoolCounters(), minimum, shared)
        self.target.pools.append(pool)
        return pool

    def open_asked(self, now: float) -> list[ServerLink]:
        """Open every connection that was asked for."""
        links = []
        while self.asked:
            pool = self.asked.pop(0)
            links.append(server(pool, now))
            pool.opened(links[-1], now)
        return links


def server(pool: Pool, now: float = 0.0, lifetime_s: float = 1e9) -> ServerLink:
    """Make a server connection that belongs to a pool."""
    stream = PostgresServerStream(pool.shared, {}, pool.shared.settings.none)
    transport = FakeTransport()
    link = ServerLink(transport, stream, pool, Journal(), now, lifetime_s)
    transport.link = link
    return link


def fill(pool: Pool, count: int, now: float = 0.0) -> list[ServerLink]:
    """Put idle connections into a pool, one second apart."""
    links = []
    for number in range(count):
        pool.connecting += 1
        link = server(pool, now + number)
        pool.opened(link, now + number)
        links.append(link)
    return links


def client(pool: Pool, number: int = 1) -> ClientLink:
    """Make a client that has sent a query and has no server connection."""
    stream = PostgresClientStream(pool.shared, pool.shared.settings.none, b"")
    stream.session.reported = {}
    stream.held = QUERY
    link = ClientLink(
        FakeTransport(), stream, pool, EndpointCounters(), Journal(), number, b"key!", False
    )
    link.parked = True
    return link
