"""What a burst counted, and the arithmetic on it."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def percentile(values: Sequence[float], fraction: float) -> float:
    """Return the nearest-rank percentile: the smallest value that ``fraction`` of them reach.

    ``fraction`` is between 0 and 1; the answer for no values is 0.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction must be between 0 and 1, not {fraction}")
    if not values:
        return 0.0
    rank = max(math.ceil(fraction * len(values)), 1)
    return sorted(values)[rank - 1]


def _no_latencies() -> array[float]:
    return array("d")


@dataclass(slots=True)
class BurstMeasures:
    """Counters of one burst, written by its environments and read by the view and the summary."""

    started: int = 0
    """Environments that were cold-started, replacements of dead ones included."""
    served: int = 0
    """Environments that finished at least one transaction."""
    killed: int = 0
    """Environments that vanished on purpose without closing their connection."""
    unfinished: int = 0
    """Environments still not done when the time allowed after the burst was over."""

    connecting: int = 0
    """Environments opening their connection now."""
    running: int = 0
    """Environments with a connection running their handler now."""
    frozen: int = 0
    """Environments with a connection frozen between two invocations now."""
    in_transaction: int = 0
    """Environments between the first and the last byte of a transaction now."""

    orders: int = 0
    """Orders whose COMMIT was answered."""
    refused: int = 0
    """Attempts to connect that failed."""
    failed: int = 0
    """Transactions that failed."""
    errors: Counter[str] = field(default_factory=Counter)
    """Every error met, refused connections included, by its text."""

    latencies_s: array[float] = field(default_factory=_no_latencies)
    """Seconds of every finished transaction, the wait for a connection included."""
    connect_latencies_s: array[float] = field(default_factory=_no_latencies)
    """Seconds of every successful connect and login."""

    @property
    def connected(self) -> int:
        """Environments that hold a connection now."""
        return self.running + self.frozen

    @property
    def transactions(self) -> int:
        """Transactions finished."""
        return len(self.latencies_s)

    @property
    def error_count(self) -> int:
        """Everything that went wrong."""
        return self.errors.total() + self.unfinished


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the database holds after a burst, read over a connection of its own."""

    orders: int
    """Rows in the table of orders."""
    stock_taken: int
    """How much lower the stock is than at the start: one for each order."""

    def problem(self, confirmed_orders: int) -> str | None:
        """Say what does not add up, given the number of orders that clients saw committed."""
        if self.orders != self.stock_taken:
            return f"{self.orders} orders took {self.stock_taken} from the stock"
        if self.orders != confirmed_orders:
            return f"{self.orders} orders in the database, {confirmed_orders} confirmed to clients"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstResult:
    """One finished burst."""

    measures: BurstMeasures
    duration_s: float
    """Seconds from the first cold start to the last answer."""
    peak_connections: int
    """Most server connections ever in a sample, the sampler's left out."""
    budget: int
    """Most server connections there could be."""
    ledger: Ledger

    @property
    def ledger_problem(self) -> str | None:
        """Say what does not add up between the clients and the database."""
        return self.ledger.problem(self.measures.orders)

    @property
    def clean(self) -> bool:
        """Whether nothing went wrong and the database holds exactly what clients were told."""
        return self.measures.error_count == 0 and self.ledger_problem is None


class RecentRate:
    """The transactions of the last second or so, for a live view."""

    def __init__(self, measures: BurstMeasures, window_s: float = 1.0) -> None:
        self._measures = measures
        self._window_s = window_s
        self._marks: list[tuple[float, int]] = []

    def update(self, now: float) -> tuple[float, Sequence[float]]:
        """Return transactions per second and their latencies in seconds over the window."""
        count = self._measures.transactions
        self._marks.append((now, count))
        while len(self._marks) > 2 and now - self._marks[1][0] >= self._window_s:
            self._marks.pop(0)
        since, before = self._marks[0]
        elapsed_s = now - since
        if elapsed_s <= 0:
            return 0.0, ()
        return (count - before) / elapsed_s, self._measures.latencies_s[before:count]
