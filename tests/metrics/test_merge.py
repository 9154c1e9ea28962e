from __future__ import annotations

import json

from proxy.admin.status import status
from proxy.metrics.merge import from_document, history, merge, to_document
from proxy.metrics.snapshot import Snapshot
from tests.metrics.sample import snapshot as sample


def test_documents_hold_everything() -> None:
    before = sample()
    after = from_document(json.loads(json.dumps(to_document(before))))
    assert status(after) == status(before)


def test_sums() -> None:
    once, twice = merge([sample()]), merge([sample(), sample(), Snapshot()])
    for one, two in zip(once.endpoints, twice.endpoints, strict=True):
        assert two.counters.clients == 2 * one.counters.clients
        assert two.counters.closed_by_reason == {
            reason: 2 * count for reason, count in one.counters.closed_by_reason.items()
        }
    for one_pool, two_pool in zip(once.pools, twice.pools, strict=True):
        assert two_pool.open == 2 * one_pool.open
        assert two_pool.counters.queries == 2 * one_pool.counters.queries
        buckets = one_pool.counters.query_latency.buckets
        assert two_pool.counters.query_latency.buckets == [2 * count for count in buckets]
        assert two_pool.counters.query_latency.count == 2 * one_pool.counters.query_latency.count


def test_merging_leaves_the_parts_as_they_are() -> None:
    part = sample()
    before = to_document(part)
    text = json.dumps(before)
    merge([part, part])
    assert json.dumps(to_document(part)) == text


def test_of_the_dead_only_counters_stay() -> None:
    left = history(sample())
    whole = merge([sample()])
    assert left.targets == ()
    for row, before in zip(left.endpoints, whole.endpoints, strict=True):
        assert row.counters.clients == row.counters.clients_tls == 0
        assert row.counters.clients_received == before.counters.clients_received
        closed = before.counters.clients_closed + before.counters.clients
        assert row.counters.clients_closed == closed
    for pool, pool_before in zip(left.pools, whole.pools, strict=True):
        assert pool.open == pool.waiting == 0
        assert pool.counters.queries == pool_before.counters.queries
