"""Histograms put each duration into the right bucket."""

from __future__ import annotations

import bisect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.metrics.counters import BUCKET_BOUNDS_S, EndpointCounters, Histogram, PoolCounters

DURATIONS = st.floats(0, 1000) | st.sampled_from(BUCKET_BOUNDS_S)


def test_bounds_span_a_round_trip_and_the_longest_default_wait() -> None:
    assert BUCKET_BOUNDS_S[0] == 0.00005
    assert BUCKET_BOUNDS_S[-1] == 120
    assert sorted(set(BUCKET_BOUNDS_S)) == BUCKET_BOUNDS_S


@pytest.mark.parametrize(("position", "bound"), list(enumerate(BUCKET_BOUNDS_S)))
def test_bounds_are_inclusive(position: int, bound: float) -> None:
    histogram = Histogram()
    histogram.observe(bound)
    histogram.observe(bound * 1.0001)
    assert histogram.buckets[position] == 1
    assert histogram.buckets[position + 1] == 1


@given(st.lists(DURATIONS))
def test_cumulative_counts_agree_with_sorting(durations: list[float]) -> None:
    histogram = Histogram()
    for duration in durations:
        histogram.observe(duration)
    ordered = sorted(durations)
    expected = [bisect.bisect_right(ordered, bound) for bound in BUCKET_BOUNDS_S]
    assert histogram.cumulative() == [*expected, len(durations)]
    assert histogram.count == len(durations)
    assert histogram.total_s == pytest.approx(sum(durations))


def test_a_clock_that_stepped_back_counts_as_no_time() -> None:
    histogram = Histogram()
    histogram.observe(-5.0)
    assert histogram.buckets[0] == 1
    assert histogram.total_s == 0


def test_counters_are_not_shared() -> None:
    one, other = PoolCounters(), PoolCounters()
    one.pins_by_reason["temporary_table"] = 1
    one.query_latency.observe(1.0)
    assert other.pins_by_reason == {}
    assert other.query_latency.count == 0
    first, second = EndpointCounters(), EndpointCounters()
    first.closed_by_reason["client_left"] = 1
    assert second.closed_by_reason == {}
