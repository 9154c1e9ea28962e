"""Cost per transaction: the same load through every peer, in turns, round after round."""

from __future__ import annotations

import contextlib
import functools
import re
import statistics
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import database, driver, peers
from benchmarks.figures import ratio, spread
from benchmarks.peers import POOL_SIZE
from benchmarks.pgbench import Load, PgbenchFailed, Sample, run
from benchmarks.sysbench import SysbenchFailed
from tests.support.certificates import make_certificates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LEADING = re.compile("tidegate(-[0-9]+-workers)?|pgbouncer|mysqlrouter")
"""Whom goals compare, by name; they run side by side in every round."""
PROTOCOLS = ("simple", "extended", "prepared")
_SCRIPTS = Path(__file__).parent / "scripts"
_OVERHEAD_S = 0.5
"""Seconds a run takes on top of its load: logins, processes."""


@dataclass(frozen=True, slots=True)
class Case:
    """A load, and where TLS is."""

    load: Load
    server_tls: bool = False
    goal: bool = False
    """Whether a goal hangs on it: it gets all rounds, other cases half of them."""

    @property
    def title(self) -> str:
        """What tables and plots call it."""
        tls = {(0, 0): "plain", (1, 0): "TLS to client", (1, 1): "TLS on both sides"}
        where = tls.get((int(self.load.tls), int(self.server_tls)), "TLS to server")
        script = Path(self.load.script).stem
        unit = "" if self.load.unit == "transaction" else f", per {self.load.unit}"
        return f"{script}, {self.load.protocol}, {self.load.clients} clients, {where}{unit}"


@dataclass(slots=True)
class Outcome:
    """A case's samples, by peer, in the order of the rounds."""

    title: str
    samples: dict[str, dict[int, Sample]] = field(default_factory=dict)
    """By peer, then by the number of the round."""
    failures: dict[str, str] = field(default_factory=dict)

    def row(self, name: str, reference: str) -> dict[str, object]:
        """Sum a peer up, in ratios to the reference peer over the rounds in which both ran."""
        rounds = self.samples[name]
        samples = list(rounds.values())
        others = self.samples.get(reference, {})
        both = [number for number in rounds if number in others and others[number].cpu_us > 0]
        row: dict[str, object] = {
            "peer": name,
            "cpu_us": asdict(spread([sample.cpu_us for sample in samples])),
            "user_share": statistics.median(sample.user_share for sample in samples),
            "transactions_per_s": statistics.median(s.transactions_per_s for s in samples),
            "p50_us": statistics.median(sample.p50_us for sample in samples),
            "p99_us": statistics.median(sample.p99_us for sample in samples),
            "p999_us": statistics.median(sample.p999_us for sample in samples),
            "rounds": len(samples),
            "samples": [asdict(sample) for sample in samples],
        }
        if both:
            theirs = [others[number] for number in both]
            mine = [rounds[number] for number in both]
            row["cpu_ratio"] = asdict(ratio([s.cpu_us for s in mine], [s.cpu_us for s in theirs]))
        return row


def _select(
    protocol: str, clients: int, duration_s: int, *, tls: bool = False, server_tls: bool = False
) -> Case:
    load = Load(
        script="select-only", protocol=protocol, clients=clients, tls=tls, duration_s=duration_s
    )
    return Case(load, server_tls, goal=clients in (16, 64) and not server_tls)


def cases(*, quick: bool, duration_s: int) -> list[Case]:
    """Return what is run: three cases quickly, or everything."""
    if quick:
        return [_select(protocol, 16, duration_s) for protocol in PROTOCOLS]
    found = [_select(p, n, duration_s) for p in PROTOCOLS for n in (1, 16, 64, 256)]
    for server_tls in (False, True):
        found += [
            _select(protocol, 16, duration_s, tls=True, server_tls=server_tls)
            for protocol in ("simple", "prepared")
        ]
    for protocol in PROTOCOLS:
        load = Load(script="tpcb-like", protocol=protocol, clients=16, duration_s=duration_s)
        found.append(Case(load))
    rows = str(_SCRIPTS / "rows-1mb.sql")
    heavy = ((rows, "simple", 4), *((kind, "psycopg", 4) for kind in driver.UNITS))
    for script, protocol, clients in heavy:
        load = Load(script=script, protocol=protocol, clients=clients, duration_s=duration_s)
        found.append(Case(load))
    return found


def scale_cases(duration_s: int) -> list[Case]:
    """Return the cases that are run with one, two and four workers."""
    return [
        _select(protocol, clients, duration_s)
        for protocol in ("simple", "prepared")
        for clients in (16, 64)
    ]


def turns(rounds: int, goal: bool, name: str) -> int:
    """Return how many of a run's rounds the peer of a name takes part in.

    All of them where a goal hangs on the case and the peer is one of the two it compares; half as
    many where only one is so; a quarter of them otherwise.
    """
    return max(1, rounds >> (2 - goal - bool(LEADING.fullmatch(name))))


def length_s(chosen: Sequence[Case], rounds: int, names: Sequence[str]) -> float:
    """Estimate the seconds that a run of the peers of these names takes."""
    return sum(
        (case.load.whole_s + _OVERHEAD_S) * turns(rounds, case.goal, name)
        for case in chosen
        for name in names
    )


@contextlib.contextmanager
def lineup(
    chosen: Sequence[peers.Peer], setup: peers.Setup, base: Path, *, direct: bool
) -> Iterator[list[peers.Running]]:
    """Start every peer that can take part; print why another cannot."""
    with contextlib.ExitStack() as stack:
        started = [peers.Running("direct", setup.server_port, None)] if direct else []
        for peer in chosen:
            try:
                started.append(stack.enter_context(peers.running(peer, setup, base)))
            except peers.Absent as reason:
                print(f"  without {peer.name}: {reason}", flush=True)
        yield started


def measure(chosen: Sequence[Case], rivals: Sequence[peers.Peer], rounds: int) -> list[Outcome]:
    """Run the cases; cases with the same TLS share started peers."""
    with (
        database.database() as (server, login),
        tempfile.TemporaryDirectory(prefix="tgbench", dir="/tmp") as folder,
    ):
        Path(folder).chmod(0o755)
        certificates = make_certificates(Path(folder) / "tls")
        outcomes = []
        for tls in sorted({(case.load.tls, case.server_tls) for case in chosen}):
            setup = peers.Setup(
                server_port=server.port,
                user=database.USER,
                password=database.PASSWORD,
                pool_size=POOL_SIZE,
                certificates=certificates,
                client_tls=tls[0],
                server_tls=tls[1],
            )
            with lineup(rivals, setup, Path(folder), direct=True) as started:
                mine = [case for case in chosen if (case.load.tls, case.server_tls) == tls]
                outcomes += [
                    play(
                        case.title,
                        [one for one in started if case.load.clients <= one.most_clients],
                        functools.partial(run, case.load, login),
                        rounds,
                        goal=case.goal,
                    )
                    for case in mine
                ]
    return outcomes


def play(
    title: str,
    started: Sequence[peers.Running],
    take: Callable[[peers.Running], Sample],
    rounds: int,
    *,
    goal: bool = True,
) -> Outcome:
    """Run one case: every round goes through all peers, each round from another one on."""
    outcome = Outcome(title)
    for number in range(rounds):
        able = [
            peer
            for peer in started
            if number < turns(rounds, goal, peer.name) and peer.name not in outcome.failures
        ]
        turn = number % max(len(able), 1)
        for peer in [*able[turn:], *able[:turn]]:
            try:
                sample = take(peer)
            except (PgbenchFailed, SysbenchFailed) as error:
                outcome.failures[peer.name] = str(error)
                outcome.samples.pop(peer.name, None)
                print(f"  {title}: {peer.name} failed: {error}", flush=True)
                continue
            outcome.samples.setdefault(peer.name, {})[number] = sample
    for name, rounds_of in outcome.samples.items():
        cpu = spread([sample.cpu_us for sample in rounds_of.values()])
        print(f"  {title}: {name} {cpu.median:.1f} us ({cpu.low:.1f}-{cpu.high:.1f})", flush=True)
    return outcome
