"""The status page: a snapshot as plain values, ready for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.metrics.counters import BUCKET_BOUNDS_S

if TYPE_CHECKING:
    from proxy.metrics.counters import Histogram
    from proxy.metrics.snapshot import EndpointSnapshot, PoolSnapshot, Snapshot, TargetSnapshot

# The counters are named one by one because, compiled, they cannot be listed by reflection.
ENDPOINT_COUNTERS = (
    "clients",
    "clients_tls",
    "clients_no_tls",
    "clients_received",
    "clients_closed",
    "setup_succeeded",
    "setup_failed_auth",
    "setup_failed_other",
)
POOL_GAUGES = (
    "open",
    "tls",
    "idle",
    "borrowed",
    "in_transaction",
    "pinned",
    "waiting",
    "connecting",
)
POOL_COUNTERS = (
    "requests",
    "requests_tls",
    "borrow_timeouts",
    "setup_succeeded",
    "setup_failed",
    "queries",
    "queries_tls",
    "cancels",
)
QUANTILES = {"p50_s": 0.5, "p95_s": 0.95, "p99_s": 0.99}


def quantile(histogram: Histogram, share: float) -> float | None:
    """Give the bound below which this share of the durations lies, in seconds.

    ``None`` without durations, and when it lies above the highest bound.
    """
    for bound, count in zip(BUCKET_BOUNDS_S, histogram.cumulative(), strict=False):
        if count and count >= share * histogram.count:
            return bound
    return None


def status(snapshot: Snapshot) -> dict[str, Any]:
    """Describe a snapshot; everything in it is JSON's."""
    reasons = snapshot.unready_reasons()
    return {
        "ready": not reasons,
        "unready_reasons": reasons,
        "draining": snapshot.draining,
        "build": snapshot.build,
        "log_records_dropped": snapshot.log_records_dropped,
        "endpoints": [_endpoint(endpoint) for endpoint in snapshot.endpoints],
        "targets": [_target(target) for target in snapshot.targets],
        "pools": [_pool(pool) for pool in snapshot.pools],
    }


def _endpoint(endpoint: EndpointSnapshot) -> dict[str, Any]:
    return {
        "proxy": endpoint.proxy,
        "endpoint": endpoint.endpoint,
        "role": endpoint.role,
        **{name: getattr(endpoint.counters, name) for name in ENDPOINT_COUNTERS},
        "closed_by_reason": dict(endpoint.counters.closed_by_reason),
    }


def _target(target: TargetSnapshot) -> dict[str, Any]:
    return {
        "proxy": target.proxy,
        "target": target.target,
        "role": target.role,
        "max_allowed": target.max_allowed,
        "available": target.available,
    }


def _pool(pool: PoolSnapshot) -> dict[str, Any]:
    counters = pool.counters
    return {
        "proxy": pool.proxy,
        "target": pool.target,
        "database": pool.database,
        "user": pool.user,
        **{name: getattr(pool, name) for name in POOL_GAUGES},
        **{name: getattr(counters, name) for name in POOL_COUNTERS},
        "pins_by_reason": dict(counters.pins_by_reason),
        "closed_by_reason": dict(counters.closed_by_reason),
        "borrow_latency": _histogram(counters.borrow_latency),
        "query_latency": _histogram(counters.query_latency),
        "database_latency": _histogram(counters.database_latency),
    }


def _histogram(histogram: Histogram) -> dict[str, Any]:
    quantiles = {name: quantile(histogram, share) for name, share in QUANTILES.items()}
    return {"count": histogram.count, "total_s": round(histogram.total_s, 6), **quantiles}
