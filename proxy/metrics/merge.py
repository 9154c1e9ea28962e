"""Snapshots of several processes: as documents to send, and added up to one.

Counters and histograms are added; so are gauges, which count disjoint things. What a worker that
has ended had counted must stay in the sums, or every counter would fall when a worker is replaced:
``history`` keeps its counters and none of its gauges.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from proxy.metrics.counters import EndpointCounters, Histogram, PoolCounters
from proxy.metrics.snapshot import EndpointSnapshot, PoolSnapshot, Snapshot, TargetSnapshot

if TYPE_CHECKING:
    from collections.abc import Iterable

# The counters are named one by one because, compiled, they cannot be listed by reflection.
ENDPOINT_GAUGES: Final = ("clients", "clients_tls", "clients_no_tls")
ENDPOINT_NUMBERS: Final = (
    *ENDPOINT_GAUGES,
    "clients_received",
    "clients_closed",
    "setup_succeeded",
    "setup_failed_auth",
    "setup_failed_other",
)
POOL_NUMBERS: Final = (
    "requests",
    "requests_tls",
    "borrow_timeouts",
    "setup_succeeded",
    "setup_failed",
    "queries",
    "queries_tls",
    "cancels",
)
POOL_HISTOGRAMS: Final = ("borrow_latency", "query_latency", "database_latency")
POOL_REASONS: Final = ("pins_by_reason", "closed_by_reason")
POOL_GAUGES: Final = (
    "open",
    "tls",
    "idle",
    "borrowed",
    "in_transaction",
    "pinned",
    "waiting",
    "connecting",
)

Document = dict[str, Any]
Counters = TypeVar("Counters", EndpointCounters, PoolCounters)


def to_document(snapshot: Snapshot) -> Document:
    """Give a snapshot as something that JSON can say."""
    return {
        "endpoints": [_endpoint_document(row) for row in snapshot.endpoints],
        "pools": [_pool_document(row) for row in snapshot.pools],
        "targets": [
            [row.proxy, row.target, row.role, row.max_allowed, row.available]
            for row in snapshot.targets
        ],
        "ready": snapshot.ready,
        "draining": snapshot.draining,
        "build": snapshot.build,
        "log_records_dropped": snapshot.log_records_dropped,
    }


def _endpoint_document(row: EndpointSnapshot) -> Document:
    counters = row.counters
    return {
        "key": [row.proxy, row.endpoint, row.role],
        "numbers": [getattr(counters, name) for name in ENDPOINT_NUMBERS],
        "closed_by_reason": counters.closed_by_reason,
    }


def _pool_document(row: PoolSnapshot) -> Document:
    histograms = [getattr(row.counters, name) for name in POOL_HISTOGRAMS]
    return {
        "key": [row.proxy, row.target, row.database, row.user],
        "gauges": [getattr(row, name) for name in POOL_GAUGES],
        "numbers": [getattr(row.counters, name) for name in POOL_NUMBERS],
        "histograms": [[h.buckets, h.count, h.total_s] for h in histograms],
        "reasons": [getattr(row.counters, name) for name in POOL_REASONS],
    }


def from_document(document: Document) -> Snapshot:
    """Make the snapshot that a document describes."""
    return Snapshot(
        endpoints=tuple(_endpoint(row) for row in document["endpoints"]),
        pools=tuple(_pool(row) for row in document["pools"]),
        targets=tuple(TargetSnapshot(*row) for row in document["targets"]),
        ready=document["ready"],
        draining=document["draining"],
        build=document["build"],
        log_records_dropped=document["log_records_dropped"],
    )


def _endpoint(row: Document) -> EndpointSnapshot:
    counters = EndpointCounters()
    for name, value in zip(ENDPOINT_NUMBERS, row["numbers"], strict=True):
        setattr(counters, name, value)
    counters.closed_by_reason = row["closed_by_reason"]
    proxy, endpoint, role = row["key"]
    return EndpointSnapshot(proxy, endpoint, role, counters)


def _pool(row: Document) -> PoolSnapshot:
    counters = PoolCounters()
    for name, value in zip(POOL_NUMBERS, row["numbers"], strict=True):
        setattr(counters, name, value)
    for name, (buckets, count, total_s) in zip(POOL_HISTOGRAMS, row["histograms"], strict=True):
        histogram: Histogram = getattr(counters, name)
        histogram.buckets, histogram.count, histogram.total_s = buckets, count, total_s
    for name, value in zip(POOL_REASONS, row["reasons"], strict=True):
        setattr(counters, name, value)
    proxy, target, database, user = row["key"]
    return PoolSnapshot(proxy, target, database, user, counters, *row["gauges"])


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Add snapshots up. A target can be used if any process can use it."""
    endpoints: dict[tuple[str, ...], EndpointSnapshot] = {}
    pools: dict[tuple[str, ...], PoolSnapshot] = {}
    targets: dict[tuple[str, ...], TargetSnapshot] = {}
    dropped = 0
    for snapshot in snapshots:
        dropped += snapshot.log_records_dropped
        for endpoint in snapshot.endpoints:
            key = (endpoint.proxy, endpoint.endpoint, endpoint.role)
            known = endpoints.setdefault(key, replace(endpoint, counters=EndpointCounters()))
            _add(known.counters, endpoint.counters, ENDPOINT_NUMBERS)
            _add_reasons(known.counters.closed_by_reason, endpoint.counters.closed_by_reason)
        for pool in snapshot.pools:
            _add_pool(pools, pool)
        for target in snapshot.targets:
            _add_target(targets, target)
    return Snapshot(
        endpoints=tuple(endpoints.values()),
        pools=tuple(pools.values()),
        targets=tuple(targets.values()),
        log_records_dropped=dropped,
    )


def _add_pool(pools: dict[tuple[str, ...], PoolSnapshot], pool: PoolSnapshot) -> None:
    key = (pool.proxy, pool.target, pool.database, pool.user)
    known = pools.get(key) or _empty(pool, PoolCounters())
    counters = known.counters
    _add(counters, pool.counters, POOL_NUMBERS)
    for name in POOL_HISTOGRAMS:
        _add_histogram(getattr(counters, name), getattr(pool.counters, name))
    for name in POOL_REASONS:
        _add_reasons(getattr(counters, name), getattr(pool.counters, name))
    sums = [getattr(known, name) + getattr(pool, name) for name in POOL_GAUGES]
    pools[key] = PoolSnapshot(*key, counters, *sums)


def _empty(pool: PoolSnapshot, counters: PoolCounters) -> PoolSnapshot:
    """The row of a pool without connections."""
    none = [0] * len(POOL_GAUGES)
    return PoolSnapshot(pool.proxy, pool.target, pool.database, pool.user, counters, *none)


def _add_target(targets: dict[tuple[str, ...], TargetSnapshot], target: TargetSnapshot) -> None:
    key = (target.proxy, target.target, target.role)
    known = targets.get(key)
    if known is None:
        targets[key] = target
        return
    targets[key] = replace(
        known,
        max_allowed=known.max_allowed + target.max_allowed,
        available=known.available or target.available,
    )


def _add(counters: Counters, more: Counters, names: tuple[str, ...]) -> None:
    for name in names:
        setattr(counters, name, getattr(counters, name) + getattr(more, name))


def _add_reasons(counted: dict[str, int], more: dict[str, int]) -> None:
    for reason, count in more.items():
        counted[reason] = counted.get(reason, 0) + count


def _add_histogram(histogram: Histogram, more: Histogram) -> None:
    histogram.buckets = [a + b for a, b in zip(histogram.buckets, more.buckets, strict=True)]
    histogram.count += more.count
    histogram.total_s += more.total_s


def history(snapshot: Snapshot) -> Snapshot:
    """What a process that has ended leaves to the sums: what it counted, and its clients closed."""
    endpoints = []
    for endpoint in merge([snapshot]).endpoints:
        counters = endpoint.counters
        counters.clients_closed += counters.clients
        for name in ENDPOINT_GAUGES:
            setattr(counters, name, 0)
        endpoints.append(endpoint)
    pools = [_empty(pool, pool.counters) for pool in merge([snapshot]).pools]
    return Snapshot(
        endpoints=tuple(endpoints),
        pools=tuple(pools),
        log_records_dropped=snapshot.log_records_dropped,
    )
