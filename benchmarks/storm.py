"""What a storm of logins does to transactions that are already running."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from benchmarks import fleet
from benchmarks.figures import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks import peers

RUNNING = 8
"""Clients that do transactions without a pause, before and during the storm."""
_CALM_S = 2.0
Span = tuple[float, float]
"""Beginning and end on the monotonic clock."""
_QUIET = fleet.Profile("running", 1, 1, 0.0, 0.0)
_STORM = fleet.Profile("storm", 1, 1, 0.0, 0.0)


def between(samples: Sequence[tuple[float, float]], begin_s: float, end_s: float) -> list[float]:
    """Return the latencies, sorted, of the (end, latency) pairs that ended in a span."""
    return sorted(latency_s for ended_s, latency_s in samples if begin_s <= ended_s < end_s)


def summarise(
    name: str, busy: Sequence[tuple[float, float]], calm: Span, storm: Span, failures: int
) -> dict[str, Any]:
    """Return a row on the (end, latency) pairs in calm and in the storm."""
    before, during = between(busy, *calm), between(busy, *storm)
    lasting_s = storm[1] - storm[0]
    return {
        "peer": name,
        "failures": failures,
        "storm_ms": lasting_s * 1e3,
        "calm_p50_us": percentile(before, 0.5) * 1e6,
        "calm_p99_us": percentile(before, 0.99) * 1e6,
        "storm_p50_us": percentile(during, 0.5) * 1e6,
        "storm_p99_us": percentile(during, 0.99) * 1e6,
        "storm_max_us": percentile(during, 1.0) * 1e6,
        "storm_transactions_per_s": len(during) / lasting_s,
    }


def strike(peer: peers.Running, login: fleet.Login, environments: int) -> dict[str, Any]:
    """Let environments cold-start at once through TLS while others do transactions."""

    def plan(begin_s: float, count: int, profile: fleet.Profile, *, busy: bool) -> fleet.Plan:
        return fleet.Plan(
            port=peer.port,
            login=login,
            profile=profile,
            environments=count // fleet.PROCESSES,
            tls=not busy,
            begin_s=begin_s,
            hold=busy,
            busy=busy,
        )

    calm = storm = (0.0, 0.0)
    failures = 0

    def while_running() -> None:
        nonlocal calm, storm, failures
        calm_begin_s = time.monotonic()
        time.sleep(_CALM_S)
        calm = (calm_begin_s, time.monotonic())
        begins: list[float] = []

        def one(_: int, begin_s: float) -> fleet.Plan:
            begins.append(begin_s)
            return plan(begin_s, environments, _STORM, busy=False)

        tally = fleet.unleash(one)
        failures = tally.errors.total()
        # Between the two, the generator's own processes start; that is neither.
        storm = (begins[0], begins[0] + max(tally.last_first_s, 0.1))

    held = fleet.unleash(
        lambda _, begin_s: plan(begin_s, RUNNING, _QUIET, busy=True), while_running
    )
    row = summarise(peer.name, held.busy_s, calm, storm, failures + held.errors.total())
    print(
        f"  running transactions: {peer.name} p99 {row['calm_p99_us']:,.0f} us in calm,"
        f" {row['storm_p99_us']:,.0f} us while {environments:,} log in",
        flush=True,
    )
    return row
