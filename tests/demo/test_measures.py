"""Percentiles, the rate of late, and books that must balance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.demo.measures import BurstMeasures, Ledger, RecentRate, percentile
from tests.demo.samples import result


class TestPercentile:
    def test_nearest_rank(self) -> None:
        values = [15.0, 20.0, 35.0, 40.0, 50.0]
        assert [percentile(values, f) for f in (0, 0.05, 0.3, 0.4, 0.5, 1)] == [
            15.0,
            15.0,
            20.0,
            20.0,
            35.0,
            50.0,
        ]

    def test_nothing_measured(self) -> None:
        assert percentile([], 0.99) == 0.0

    @pytest.mark.parametrize("fraction", [-0.1, 1.1])
    def test_fraction_out_of_range(self, fraction: float) -> None:
        with pytest.raises(ValueError, match="between 0 and 1"):
            percentile([1.0], fraction)

    @given(
        st.lists(st.floats(allow_nan=False), min_size=1),
        st.floats(min_value=0, max_value=1, exclude_min=True),
    )
    def test_is_the_smallest_value_that_the_fraction_reaches(
        self, values: list[float], fraction: float
    ) -> None:
        answer = percentile(values, fraction)
        assert sum(value <= answer for value in values) >= fraction * len(values)
        assert sum(value < answer for value in values) < fraction * len(values)


class TestRecentRate:
    def test_counts_the_window_only(self) -> None:
        measures = BurstMeasures()
        rate = RecentRate(measures, window_s=1.0)
        assert rate.update(0.0) == (0.0, ())
        for second in range(1, 4):
            measures.latencies_s.extend([float(second)] * 10 * second)
            per_second, latencies = rate.update(float(second))
        assert per_second == pytest.approx(30.0)
        assert set(latencies) == {3.0}


class TestLedger:
    def test_balances(self) -> None:
        assert Ledger(orders=3, stock_taken=3).problem(3) is None

    @pytest.mark.parametrize(
        ("ledger", "words"),
        [
            (Ledger(orders=3, stock_taken=2), "3 orders took 2"),
            (Ledger(orders=4, stock_taken=4), "4 orders in the database, 3 confirmed"),
        ],
    )
    def test_names_what_does_not_add_up(self, ledger: Ledger, words: str) -> None:
        assert words in (ledger.problem(3) or "")
        assert not result(ledger=ledger).clean
