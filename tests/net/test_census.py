"""Numbers of a snapshot, counted off a stand whose every connection does something else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from proxy.config.model import EndpointConfig
from proxy.metrics.counters import EndpointCounters, PoolCounters
from proxy.metrics.snapshot import EndpointSnapshot, PoolSnapshot, TargetSnapshot
from proxy.net import census
from proxy.pool.pool import Pool
from tests.support import messages as wire
from tests.support.stand import Stand


def gateway_of(stand: Stand, *pools: Pool) -> Any:  # noqa: ANN401
    """Give what the census reads of a gateway."""
    return SimpleNamespace(
        config=SimpleNamespace(name="main"),
        dialer=SimpleNamespace(name="db:5432"),
        pools={pool.key: pool for pool in (stand.pool, *pools)},
        servers={server.link for server in stand.servers if not server.wire.lost},
        target=stand.target,
        available=True,
    )


def test_every_number_of_a_pool() -> None:
    stand = Stand(maximum=9)
    for sql in ("BEGIN", "BEGIN", "BEGIN", "LISTEN c", "LISTEN c", "SELECT pg_sleep(9)"):
        stand.client().send(wire.query(sql))
    stand.run()
    for client in stand.clients[:2]:
        client.send(wire.query("COMMIT") + wire.TERMINATE)
    stand.run()
    for server in stand.servers[:5]:
        server.link.tls = True
    stand.connect = False
    for _ in range(4):
        stand.client().send(wire.query("BEGIN"))
    stand.run()
    # Six connections: two were idle and are in transactions again, as is the third; two are
    # pinned, one works. Two more clients wait, and a connection is being opened for each.
    counted = {
        "open": 6,
        "tls": 5,
        "idle": 0,
        "borrowed": 6,
        "in_transaction": 3,
        "pinned": 2,
        "waiting": 2,
        "connecting": 2,
    }
    other = Pool(stand.target, ("db", "other", ()), PoolCounters(), 0, stand.shared)
    other.waiters.extend(client.link for client in stand.clients[:3])
    rows = census.pools(gateway_of(stand, other))
    same = {"proxy": "main", "target": "db:5432", "database": "db"}
    nothing = dict.fromkeys(counted, 0) | {"waiting": 3}
    assert rows == (
        PoolSnapshot(user="user", counters=stand.pool.counters, **same, **counted),  # type: ignore[arg-type]
        PoolSnapshot(user="other", counters=other.counters, **same, **nothing),  # type: ignore[arg-type]
    )


def test_idle_and_closing_connections_are_open() -> None:
    stand = Stand(maximum=2)
    clients = [stand.client(), stand.client()]
    for client in clients:
        client.send(wire.query("BEGIN"))
    stand.run()
    for client in clients:
        client.send(wire.query("COMMIT"))
    stand.run()
    stand.servers[0].frozen = True
    assert stand.pool.remove_idle(stand.servers[0].link)
    stand.servers[0].link.retire("test")
    (row,) = census.pools(gateway_of(stand))
    assert (row.open, row.idle, row.borrowed) == (2, 1, 0)


def test_endpoints_are_named_or_go_by_their_address() -> None:
    counters = [EndpointCounters(), EndpointCounters()]
    configs = [
        EndpointConfig(listen="127.0.0.1:1", name="front"),
        EndpointConfig(listen="127.0.0.1:2", role="read_only"),
    ]
    gateway = gateway_of(Stand())
    listeners: list[Any] = [
        SimpleNamespace(gateway=gateway, endpoint=config, counters=counted)
        for config, counted in zip(configs, counters, strict=True)
    ]
    rows = census.endpoints(listeners)
    assert rows == (
        EndpointSnapshot("main", "front", "read_write", counters[0]),
        EndpointSnapshot("main", "127.0.0.1:2", "read_only", counters[1]),
    )
    assert rows[0].counters is counters[0], "the live object, not a copy"


def test_target() -> None:
    gateway = gateway_of(Stand(maximum=7))
    gateway.available = False
    assert census.target(gateway) == TargetSnapshot("main", "db:5432", "read_write", 7, False)
