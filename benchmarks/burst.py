"""Lambda bursts: the same fleet cold-starts against every peer, in turns."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks import fleet, peers, storm
from benchmarks.accounting import usage
from benchmarks.figures import percentile
from benchmarks.peers import POOL_SIZE
from benchmarks.relay import lineup
from benchmarks.stage import STAGES, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_STORM = 1000


@dataclass(frozen=True, slots=True)
class Burst:
    """One kind of burst."""

    profile: fleet.Profile
    environments: int
    tls: bool

    @property
    def title(self) -> str:
        """What tables call it."""
        link = "TLS" if self.tls else "plain"
        return f"{self.profile.name}, {self.environments:,} environments, {link}"


def bursts(engine: str, *, quick: bool) -> list[Burst]:
    """Return what is run: against MySQL's peers the storms and the first of the other profiles."""
    at_once, *others = fleet.PROFILES
    if quick:
        return [Burst(at_once, 300, tls) for tls in (False, True)]
    storms = [Burst(at_once, count, True) for count in (100, 1000, 5000)]
    storms.append(Burst(at_once, 1000, False))
    return storms + [
        Burst(p, 1000, True) for p in (others if engine == "postgresql" else others[:1])
    ]


def turns(burst: Burst, rounds: int) -> int:
    """Return how often a burst is repeated: a goal hangs on those at once, up to 1,000."""
    return rounds if not burst.profile.starts_per_s and burst.environments <= 1000 else 1


def length_s(chosen: Sequence[Burst], rounds: int, count: int) -> float:
    """Estimate the seconds that bursts against ``count`` peers take."""
    total = 0.0
    for one in chosen:
        rate = one.profile.starts_per_s or 400.0
        lasting = one.profile.freeze_s * (one.profile.invocations - 1)
        total += (one.environments / rate + lasting + 3.0) * turns(one, rounds)
    return total * count


class Watch:
    """Counts the database's client connections ten times a second."""

    def __init__(self, stage: Stage) -> None:
        self._counting = stage.counting
        self._done = threading.Event()
        self.peak = 0

    def _run(self) -> None:
        with self._counting() as count:
            while not self._done.wait(0.1):
                self.peak = max(self.peak, count())

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch while the context lasts."""
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()


def summarise(name: str, tally: fleet.Tally, peak: int, cpu_s: float) -> dict[str, Any]:
    """Return what one burst against one peer gave."""
    first, later = sorted(tally.first_query_s), sorted(tally.transaction_s)
    return {
        "peer": name,
        "served": len(first),
        "failures": tally.errors.total(),
        "errors": dict(tally.errors.most_common(3)),
        "first_p50_ms": percentile(first, 0.5) * 1e3,
        "first_p99_ms": percentile(first, 0.99) * 1e3,
        "first_max_ms": percentile(first, 1.0) * 1e3,
        "last_first_ms": tally.last_first_s * 1e3,
        "logins_per_s": len(first) / tally.last_first_s if tally.last_first_s else 0.0,
        "later_p99_ms": percentile(later, 0.99) * 1e3,
        "peak_server_connections": peak,
        "cpu_us_per_environment": cpu_s / len(first) * 1e6 if first else 0.0,
    }


def strike(burst: Burst, peer: peers.Running, stage: Stage) -> dict[str, Any]:
    """Run one burst against one peer."""
    share = burst.environments // fleet.PROCESSES

    def plan(number: int, begin_s: float) -> fleet.Plan:
        return fleet.Plan(
            port=peer.port,
            login=stage.login,
            profile=burst.profile,
            environments=share,
            tls=burst.tls,
            begin_s=begin_s,
            step=fleet.PROCESSES,
            offset=number,
        )

    # Every burst begins cold, and the count is this peer's.
    stage.empty()
    watch = Watch(stage)
    before = usage(peer.session)
    with watch.watching():
        tally = fleet.unleash(plan)
    cpu_s = usage(peer.session).since(before).cpu_s if peer.session else 0.0
    # The proxy notices the dead and recovers its connections before the next peer has its turn.
    time.sleep(1.0)
    return summarise(peer.name, tally, watch.peak, cpu_s)


def medians(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sum up a peer's rounds: the median of each number, all errors."""
    numbers = [key for key, value in rows[0].items() if isinstance(value, int | float)]
    merged = {key: statistics.median(row[key] for row in rows) for key in numbers}
    return {"peer": rows[0]["peer"], **merged, "errors": rows[-1]["errors"], "rounds": list(rows)}


def measure(
    engine: str, chosen: Sequence[Burst], rivals: Sequence[peers.Peer], rounds: int
) -> list[dict[str, Any]]:
    """Run the bursts against an engine's peers and return their results."""
    with (
        STAGES[engine](POOL_SIZE, client_tls=True) as stage,
        lineup(rivals, stage.setup, stage.folder, direct=True) as started,
    ):
        results = [_play(b, started, stage, turns(b, rounds)) for b in chosen]
        title = f"running transactions while {_STORM:,} environments log in at once, TLS"
        able = [peer for peer in started if peer.session and peer.most_clients >= _STORM]
        rows = [storm.strike(peer, stage.login, _STORM) for peer in able]
        return [*results, {"title": title, "peers": rows}]


def _most(peer: peers.Running, stage: Stage) -> int:
    return peer.most_clients if peer.session else stage.most_clients


def _play(
    burst: Burst, started: Sequence[peers.Running], stage: Stage, rounds: int
) -> dict[str, Any]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for peer in started:
        if burst.environments > _most(peer, stage):
            print(f"  {burst.title}: without {peer.name}: it takes {_most(peer, stage):,} clients")
    started = [peer for peer in started if burst.environments <= _most(peer, stage)]
    for number in range(rounds):
        turn = number % len(started)
        for peer in [*started[turn:], *started[:turn]]:
            row = strike(burst, peer, stage)
            rows.setdefault(peer.name, []).append(row)
            print(
                f"  {burst.title}: {peer.name} served {row['served']}, last first query after"
                f" {row['last_first_ms']:.0f} ms, failures {row['failures']}",
                flush=True,
            )
    return {"title": burst.title, "peers": [medians(mine) for mine in rows.values()]}
