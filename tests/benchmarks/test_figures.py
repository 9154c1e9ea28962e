"""Percentiles and ratios."""

from __future__ import annotations

import pytest

from benchmarks.figures import Spread, percentile, ratio, spread


def test_percentile() -> None:
    values = [float(n) for n in range(1, 101)]
    assert percentile(values, 0.5) == 51
    assert percentile(values, 0.99) == 100
    assert percentile(values, 1.0) == 100
    assert percentile([], 0.5) == 0
    assert percentile([7.0], 0.99) == 7


def test_spread() -> None:
    assert spread([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)


def test_ratio_is_taken_round_by_round() -> None:
    # The second round was disturbed for both: the ratio of medians would not be 0.5.
    assert ratio([1.0, 10.0, 2.0], [2.0, 20.0, 4.0]) == Spread(0.5, 0.5, 0.5)
    assert ratio([1.0, 5.0], [2.0, 0.0]) == Spread(0.5, 0.5, 0.5)


def test_ratio_wants_the_same_rounds() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratio([1.0, 2.0], [1.0])
