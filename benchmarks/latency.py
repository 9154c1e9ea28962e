"""What a proxy adds to latency: at a fixed rate that nobody is short of, and at full speed.

At full speed each client waits for its answer before it asks again, so latency is throughput the
other way round. At a fixed rate pgbench starts transactions on a schedule and counts from when each
was due, so one that is late is late in the figures, too.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from benchmarks import relay
from benchmarks.pgbench import Load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks import peers
    from benchmarks.pgbench import Sample
    from benchmarks.relay import Outcome

RATE = 2000
"""Transactions a second."""
CLIENTS = 16
_STRETCH = 2
"""One in a thousand is asked for, so a run lasts this many times what others do."""
_PERCENTILES = ("p50_us", "p99_us", "p999_us")


def cases(duration_s: int, *, quick: bool) -> list[relay.Case]:
    """Return what is run: quickly, the fixed rate alone."""
    return [
        relay.Case(
            Load(
                script="select-only",
                protocol=protocol,
                clients=CLIENTS,
                duration_s=duration_s * _STRETCH,
                rate=rate,
            ),
            everybody=True,
        )
        for protocol in ("simple", "prepared")
        for rate in ((RATE,) if quick else (RATE, 0))
    ]


def teams(rivals: Sequence[peers.Peer]) -> list[peers.Peer]:
    """Return who is compared, beside the database itself: those that goals compare."""
    return [peer for peer in rivals if relay.LEADING.fullmatch(peer.name)]


def added(mine: dict[int, Sample], direct: dict[int, Sample], key: str) -> float | None:
    """Return the median of what each round has on top of the direct connections in it."""
    differences = [
        getattr(sample, key) - getattr(direct[number], key)
        for number, sample in mine.items()
        if number in direct
    ]
    return statistics.median(differences) if differences else None


def rows(outcome: Outcome) -> list[dict[str, Any]]:
    """Return a case's table: latency, and what was added, in microseconds."""
    direct = outcome.samples.get("direct", {})
    found = []
    for name, samples in outcome.samples.items():
        row: dict[str, Any] = {"peer": name}
        for key in _PERCENTILES:
            row[key] = statistics.median(getattr(sample, key) for sample in samples.values())
        for key in _PERCENTILES:
            more = None if name == "direct" else added(samples, direct, key)
            row[f"added_{key}"] = "-" if more is None else f"{more:+,.0f}"
        row["transactions_per_s"] = statistics.median(
            sample.transactions_per_s for sample in samples.values()
        )
        found.append(row)
    return found


def measure(
    chosen: Sequence[relay.Case], rivals: Sequence[peers.Peer], rounds: int
) -> list[dict[str, Any]]:
    """Run the cases; return a result for each."""
    outcomes = relay.measure(chosen, teams(rivals), rounds)
    return [{"title": outcome.title, "peers": rows(outcome)} for outcome in outcomes]
