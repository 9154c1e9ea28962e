"""A snapshot with a different number in every place."""

from __future__ import annotations

from proxy.metrics.counters import EndpointCounters, PoolCounters
from proxy.metrics.snapshot import EndpointSnapshot, PoolSnapshot, Snapshot, TargetSnapshot


def endpoint_counters() -> EndpointCounters:
    counters = EndpointCounters()
    counters.clients = 11
    counters.clients_tls = 7
    counters.clients_no_tls = 4
    counters.clients_received = 105
    counters.clients_closed = 94
    counters.setup_succeeded = 96
    counters.setup_failed_auth = 6
    counters.setup_failed_other = 3
    counters.closed_by_reason = {"client_left": 90, "idle": 4}
    return counters


def pool_counters() -> PoolCounters:
    counters = PoolCounters()
    counters.requests = 1001
    counters.requests_tls = 501
    counters.borrow_timeouts = 2
    counters.setup_succeeded = 21
    counters.setup_failed = 5
    counters.queries = 2002
    counters.queries_tls = 1002
    counters.cancels = 8
    counters.pins_by_reason = {"temporary_table": 3, "listen": 1}
    counters.closed_by_reason = {"lifetime": 9}
    for seconds in (0.00004, 0.0002, 0.2, 500.0):
        counters.borrow_latency.observe(seconds)
    for seconds in (0.001, 0.001):
        counters.query_latency.observe(seconds)
    counters.database_latency.observe(0.0009)
    return counters


def pool(database: str = "shop", user: str = "app", proxy: str = "orders") -> PoolSnapshot:
    return PoolSnapshot(
        proxy=proxy,
        target="db:5432",
        database=database,
        user=user,
        counters=pool_counters(),
        open=12,
        tls=10,
        idle=2,
        borrowed=9,
        in_transaction=6,
        pinned=1,
        waiting=13,
        connecting=3,
    )


def snapshot(*pools: PoolSnapshot) -> Snapshot:
    return Snapshot(
        endpoints=(EndpointSnapshot("orders", "main", "read_write", endpoint_counters()),),
        pools=pools or (pool(),),
        targets=(TargetSnapshot("orders", "db:5432", "read_write", 20, True),),
        ready=True,
        build={"version": "1.2.3", "python": "3.13"},
        log_records_dropped=17,
    )
