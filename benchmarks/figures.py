"""The arithmetic: percentiles, medians of rounds, spread and ratios between peers."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value that ``share`` (0 to 1) of sorted values do not exceed; 0 for none."""
    if not ordered:
        return 0.0
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


@dataclass(frozen=True, slots=True)
class Spread:
    """A median, and the least and the greatest value."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Summarise the rounds of a measurement; there must be one at least."""
    return Spread(statistics.median(values), min(values), max(values))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Compare round by round: what disturbs a round disturbs both sides of it.

    Rounds in which the other side measured nothing are left out; there must be one left.
    """
    return spread([mine / other for mine, other in zip(ours, theirs, strict=True) if other > 0])
