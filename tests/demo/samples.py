"""Results and snapshots for the tests to look at."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from proxy.demo.measures import BurstMeasures, BurstResult, Ledger
from proxy.demo.view import Snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping


def result(
    *,
    started: int = 12,
    served: int = 12,
    errors: Mapping[str, int] | None = None,
    refused: int = 0,
    ledger: Ledger | None = None,
    peak: int = 4,
) -> BurstResult:
    measures = BurstMeasures(
        started=started, served=served, refused=refused, orders=7, errors=Counter(errors or {})
    )
    measures.latencies_s.extend([0.001, 0.002, 0.1])
    return BurstResult(
        measures=measures,
        duration_s=1.5,
        peak_connections=peak,
        budget=10,
        ledger=ledger or Ledger(orders=7, stock_taken=7),
    )


def snapshot(*, elapsed_s: float = 0.0, connected: int = 3) -> Snapshot:
    return Snapshot(
        title="a burst",
        elapsed_s=elapsed_s,
        duration_s=8.0,
        environments=4,
        connected=connected,
        connecting=1,
        running=1,
        frozen=2,
        open_connections=2,
        busy_connections=1,
        budget=10,
        waiting=5,
        transactions=1234,
        rate=617.0,
        p50_s=0.002,
        p99_s=0.04,
        errors=0,
    )
