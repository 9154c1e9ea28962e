"""Cost per transaction: the same load through every peer, in turns, round after round."""

from __future__ import annotations

import contextlib
import functools
import statistics
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import database, peers
from benchmarks.figures import ratio, spread
from benchmarks.pgbench import Load, PgbenchFailed, Sample, run
from benchmarks.sysbench import SysbenchFailed
from tests.support.certificates import make_certificates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

POOL_SIZE = 20
PROTOCOLS = ("simple", "extended", "prepared")
_SCRIPTS = Path(__file__).parent / "scripts"
_OVERHEAD_S = 1.5
"""Seconds a run takes on top of its load: logins, processes."""


@dataclass(frozen=True, slots=True)
class Case:
    """A load, and where TLS is."""

    load: Load
    server_tls: bool = False

    @property
    def title(self) -> str:
        """What tables and plots call it."""
        tls = {(0, 0): "plain", (1, 0): "TLS to client", (1, 1): "TLS on both sides"}
        where = tls.get((int(self.load.tls), int(self.server_tls)), "TLS to server")
        script = Path(self.load.script).stem
        return f"{script}, {self.load.protocol}, {self.load.clients} clients, {where}"


@dataclass(slots=True)
class Outcome:
    """A case's samples, by peer, in the order of the rounds."""

    title: str
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def row(self, name: str, reference: str) -> dict[str, object]:
        """Sum a peer up, in ratios to the reference peer where both ran every round."""
        samples = self.samples[name]
        cpu = [sample.cpu_us for sample in samples]
        row: dict[str, object] = {
            "peer": name,
            "cpu_us": asdict(spread(cpu)),
            "user_share": statistics.median(sample.user_share for sample in samples),
            "transactions_per_s": statistics.median(s.transactions_per_s for s in samples),
            "p50_us": statistics.median(sample.p50_us for sample in samples),
            "p99_us": statistics.median(sample.p99_us for sample in samples),
            "p999_us": statistics.median(sample.p999_us for sample in samples),
            "samples": [asdict(sample) for sample in samples],
        }
        others = self.samples.get(reference, [])
        if len(others) == len(samples) and all(s.cpu_us > 0 for s in others):
            row["cpu_ratio"] = asdict(ratio(cpu, [sample.cpu_us for sample in others]))
        return row


def cases(*, quick: bool, duration_s: int) -> list[Case]:
    """Return what is run: three cases quickly, or everything."""
    if quick:
        return [Case(Load(script="select-only", protocol=p, clients=16, duration_s=duration_s))
                for p in PROTOCOLS]  # fmt: skip
    found = []
    for protocol in PROTOCOLS:
        for clients in (1, 16, 64, 256):
            load = Load(
                script="select-only", protocol=protocol, clients=clients, duration_s=duration_s
            )
            found.append(Case(load))
    for protocol in PROTOCOLS:
        load = Load(script="tpcb-like", protocol=protocol, clients=16, duration_s=duration_s)
        found.append(Case(load))
    rows = Load(
        script=str(_SCRIPTS / "rows-1mb.sql"), protocol="simple", clients=4, duration_s=duration_s
    )
    found.append(Case(rows))
    for server_tls in (False, True):
        for protocol in ("simple", "prepared"):
            load = Load(
                script="select-only", protocol=protocol, clients=16, tls=True, duration_s=duration_s
            )
            found.append(Case(load, server_tls))
    return found


def scale_cases(duration_s: int) -> list[Case]:
    """Return the cases that are run with one, two and four workers."""
    return [
        Case(Load(script="select-only", protocol=p, clients=clients, duration_s=duration_s))
        for p in ("simple", "prepared")
        for clients in (16, 64)
    ]


def length_s(chosen: Sequence[Case], rounds: int, count: int) -> float:
    """Estimate the seconds that a run of ``count`` peers takes."""
    return sum((case.load.duration_s + _OVERHEAD_S) * rounds * count for case in chosen)


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
                    play(case.title, started, functools.partial(run, case.load, login), rounds)
                    for case in mine
                ]
    return outcomes


def play(
    title: str,
    started: Sequence[peers.Running],
    take: Callable[[peers.Running], Sample],
    rounds: int,
) -> Outcome:
    """Run one case: every round goes through all peers, each round from another one on."""
    outcome = Outcome(title)
    for number in range(rounds):
        turn = number % len(started)
        for peer in [*started[turn:], *started[:turn]]:
            if peer.name in outcome.failures:
                continue
            try:
                sample = take(peer)
            except (PgbenchFailed, SysbenchFailed) as error:
                outcome.failures[peer.name] = str(error)
                outcome.samples.pop(peer.name, None)
                print(f"  {peer.name} failed: {error}", flush=True)
                continue
            outcome.samples.setdefault(peer.name, []).append(sample)
    for name, samples in outcome.samples.items():
        cpu = spread([sample.cpu_us for sample in samples])
        print(f"  {title}: {name} {cpu.median:.1f} us ({cpu.low:.1f}-{cpu.high:.1f})", flush=True)
    return outcome
