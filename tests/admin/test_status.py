"""The status page's content."""

from __future__ import annotations

import json

import pytest

from proxy.admin.status import quantile, status
from proxy.metrics.counters import Histogram
from proxy.metrics.snapshot import Snapshot
from tests.metrics import sample


def test_status_carries_every_number() -> None:
    page = json.loads(json.dumps(status(sample.snapshot())))
    assert page["ready"] is True
    assert page["build"]["version"] == "1.2.3"
    assert page["log_records_dropped"] == 17
    (endpoint,) = page["endpoints"]
    assert endpoint == {
        "proxy": "orders",
        "endpoint": "main",
        "role": "read_write",
        "clients": 11,
        "clients_tls": 7,
        "clients_no_tls": 4,
        "clients_received": 105,
        "clients_closed": 94,
        "setup_succeeded": 96,
        "setup_failed_auth": 6,
        "setup_failed_other": 3,
        "closed_by_reason": {"client_left": 90, "idle": 4},
    }
    (target,) = page["targets"]
    assert (target["target"], target["max_allowed"], target["available"]) == ("db:5432", 20, True)
    (pool,) = page["pools"]
    numbers = {name: value for name, value in pool.items() if isinstance(value, int)}
    assert numbers == {
        "open": 12,
        "tls": 10,
        "idle": 2,
        "borrowed": 9,
        "in_transaction": 6,
        "pinned": 1,
        "waiting": 13,
        "connecting": 3,
        "requests": 1001,
        "requests_tls": 501,
        "borrow_timeouts": 2,
        "setup_succeeded": 21,
        "setup_failed": 5,
        "queries": 2002,
        "queries_tls": 1002,
        "cancels": 8,
    }
    assert pool["pins_by_reason"] == {"temporary_table": 3, "listen": 1}
    assert pool["closed_by_reason"] == {"lifetime": 9}
    assert pool["borrow_latency"] == {
        "count": 4,
        "total_s": 500.20024,
        "p50_s": 0.00025,
        "p95_s": None,
        "p99_s": None,
    }
    assert pool["query_latency"]["count"] == 2
    assert pool["database_latency"]["count"] == 1


def test_status_says_why_it_is_not_ready() -> None:
    page = status(Snapshot(draining=True))
    assert page["ready"] is False
    assert page["unready_reasons"] == ["draining", "not listening yet"]


@pytest.mark.parametrize(("share", "bound"), [(0.5, 0.001), (0.9, 0.001), (0.91, 1.0), (1.0, 1.0)])
def test_quantile(share: float, bound: float) -> None:
    histogram = Histogram()
    for seconds in [0.0008] * 9 + [0.7]:
        histogram.observe(seconds)
    assert quantile(histogram, share) == bound


def test_quantile_of_nothing() -> None:
    assert quantile(Histogram(), 0.5) is None
