"""One run of pgbench, with the proxy's CPU counted in the middle of it.

The run logs every transaction with the time it ended. CPU is read after all clients have connected
and before any leaves, and divided by the transactions that ended in between: logins are not in it.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.accounting import Usage, usage
from benchmarks.figures import percentile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.peers import Running

_EDGE_S = 0.4
"""Seconds left out at the end, when the first clients may already be leaving."""


class PgbenchFailed(Exception):
    """pgbench ended with an error; the message is the end of what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What pgbench is told to do."""

    script: str
    """``select-only``, ``tpcb-like``, or the path of a script of ours."""
    protocol: str
    """``simple``, ``extended`` or ``prepared``."""
    clients: int
    tls: bool = False
    duration_s: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one run gave."""

    transactions: int
    """Those that ended while CPU was counted."""
    transactions_per_s: float
    cpu_us: float
    """Microseconds of CPU of the proxy per transaction; 0 without a proxy."""
    user_share: float
    """Of those, in user space (0 to 1)."""
    p50_us: float
    p99_us: float
    p999_us: float


@dataclass(frozen=True, slots=True)
class Server:
    """How pgbench logs in."""

    program: Path
    user: str
    password: str
    database: str


def transactions_between(lines: Iterable[str], begin_s: float, end_s: float) -> list[float]:
    """Return the latencies, in microseconds and sorted, of a log's transactions in a time span.

    A line is: client, transaction, latency (us), script, second and microsecond of its end.
    """
    found = []
    for line in lines:
        fields = line.split()
        if len(fields) >= 6 and fields[2].isdigit():
            ended_s = int(fields[4]) + int(fields[5]) / 1e6
            if begin_s <= ended_s < end_s:
                found.append(float(fields[2]))
    found.sort()
    return found


def summarise(latencies_us: list[float], span_s: float, used: Usage | None) -> Sample:
    """Make a sample of the transactions of a span and of the CPU used in it."""
    count = len(latencies_us)
    ticks = (used.user_s + used.system_s) if used else 0.0
    return Sample(
        transactions=count,
        transactions_per_s=count / span_s,
        cpu_us=used.cpu_s / count * 1e6 if used and count else 0.0,
        user_share=used.user_s / ticks if used and ticks else 0.0,
        p50_us=percentile(latencies_us, 0.5),
        p99_us=percentile(latencies_us, 0.99),
        p999_us=percentile(latencies_us, 0.999),
    )


def command(load: Load, server: Server, port: int, prefix: str) -> list[str]:
    """Return the command line of a run."""
    own = "/" in load.script
    return [
        str(server.program), "-h", "127.0.0.1", "-p", str(port), "-U", server.user, "-n",
        "-f" if own else "-b", load.script, "-M", load.protocol,
        "-c", str(load.clients), "-j", str(min(2, load.clients)), "-T", str(load.duration_s),
        "-l", "--log-prefix", prefix, server.database,
    ]  # fmt: skip


def _connected(log: Path) -> bool:
    return any(path.stat().st_size > 0 for path in log.glob("run*"))


def run(load: Load, server: Server, peer: Running) -> Sample:
    """Run pgbench against a peer. Raises ``PgbenchFailed``."""
    environment = {
        "PGPASSWORD": server.password,
        "PGSSLMODE": "require" if load.tls else "disable",
        "PGGSSENCMODE": "disable",
        "PATH": "/usr/bin:/bin",
    }
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        line = command(load, server, peer.port, f"{folder}/run")
        output = Path(folder) / "output"
        with output.open("wb") as sink:
            process = subprocess.Popen(line, stdout=sink, stderr=sink, env=environment, cwd=folder)
        try:
            begin_s, end_s, used = _count(load, peer, Path(folder), process)
            process.wait(load.duration_s + 60)
        finally:
            process.kill()
            process.wait()
        if process.returncode != 0:
            raise PgbenchFailed(f"{peer.name}: {output.read_text()[-400:]}")
        lines = (one for path in Path(folder).glob("run*") for one in path.open())
        latencies = transactions_between(lines, begin_s, end_s)
    return summarise(latencies, end_s - begin_s, used if peer.session else None)


def _count(
    load: Load, peer: Running, folder: Path, process: subprocess.Popen[bytes]
) -> tuple[float, float, Usage]:
    """Wait until the run is under way, then count CPU to shortly before its end."""
    deadline = time.monotonic() + 20
    while not _connected(folder) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(_EDGE_S)
    begin_s, before = time.time(), usage(peer.session)
    time.sleep(max(load.duration_s - 3 * _EDGE_S, 0.5))
    end_s, after = time.time(), usage(peer.session)
    return begin_s, end_s, after.since(before)
