"""One run of pgbench, with the proxy's CPU counted in the middle of it.

The run logs every transaction with the time it ended. CPU is read after all clients have connected
and before any leaves, and divided by the transactions that ended in between: logins are not in it.
What pgbench cannot do (COPY, pipelines) is done by ``benchmarks.driver``, which logs alike.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import driver
from benchmarks.accounting import Usage, usage
from benchmarks.build import ROOT
from benchmarks.figures import percentile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.peers import Running

_EDGE_S = 0.4
"""Seconds left out at the end, when the first clients may already be leaving."""
_LOGIN_S = 0.025
"""Allowed for each login: a direct connection needs a new server process and SCRAM's rounds."""


_LEAST_S = 0.5
"""Seconds of counting that a sample is worth having for."""


class PgbenchFailed(Exception):
    """pgbench ended with an error; the message is the end of what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What pgbench is told to do."""

    script: str
    """``select-only``, ``tpcb-like``, the path of a script of ours, or a kind of the driver's."""
    protocol: str
    """``simple``, ``extended`` or ``prepared``."""
    clients: int
    tls: bool = False
    duration_s: int = 4
    """Seconds of load after all clients have logged in."""
    rate: int = 0
    """Transactions a second of all clients together; 0 is as many as go."""

    @property
    def whole_s(self) -> int:
        """Seconds that the generator is told: it counts the logins' time as its own."""
        return self.duration_s + math.ceil(self.clients * _LOGIN_S)

    @property
    def unit(self) -> str:
        """What CPU and rate are per: a transaction, or a part of one."""
        if self.script in driver.UNITS:
            return "query" if self.script == "pipeline" else "MB"
        return "MB" if "1mb" in self.script else "transaction"

    @property
    def units(self) -> int:
        """How many of them a transaction has."""
        return driver.UNITS.get(self.script, 1)


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


def summarise(
    latencies_us: list[float], span_s: float, used: Usage | None, units: int = 1
) -> Sample:
    """Make a sample of the transactions of a span, of ``units`` each, and of the CPU used in it."""
    count = len(latencies_us) * units
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
    if load.script in driver.UNITS:
        made = [sys.executable, "-m", "benchmarks.driver", load.script, str(load.clients)]
        return [*made, str(load.whole_s), prefix]
    own = "/" in load.script
    return [
        str(server.program), "-h", "127.0.0.1", "-p", str(port), "-U", server.user, "-n",
        "-f" if own else "-b", load.script, "-M", load.protocol,
        "-c", str(load.clients), "-j", str(min(2, load.clients)), "-T", str(load.whole_s),
        *(("-R", str(load.rate)) if load.rate else ()),
        "-l", "--log-prefix", prefix, server.database,
    ]  # fmt: skip


def _connected(log: Path) -> bool:
    return any(path.stat().st_size > 0 for path in log.glob("run*"))


def run(load: Load, server: Server, peer: Running) -> Sample:
    """Run pgbench against a peer. Raises ``PgbenchFailed``."""
    environment = {
        "PGPASSWORD": server.password,
        "PGHOST": "127.0.0.1",
        "PGPORT": str(peer.port),
        "PGUSER": server.user,
        "PGDATABASE": server.database,
        "PGSSLMODE": "require" if load.tls else "disable",
        "PGGSSENCMODE": "disable",
        "PATH": "/usr/bin:/bin",
    }
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        line = command(load, server, peer.port, f"{folder}/run")
        output = Path(folder) / "output"
        with output.open("wb") as sink:
            process = subprocess.Popen(line, stdout=sink, stderr=sink, env=environment, cwd=ROOT)
        until_s = time.monotonic() + load.whole_s - _EDGE_S
        try:
            begin_s, end_s, used = _count(until_s, peer, Path(folder), process)
            process.wait(60)
        except subprocess.TimeoutExpired:
            raise PgbenchFailed(f"{peer.name}: did not end") from None
        finally:
            process.kill()
            process.wait()
        if process.returncode != 0:
            raise PgbenchFailed(f"{peer.name}: {output.read_text()[-400:].strip()}")
        lines = (one for path in Path(folder).glob("run*") for one in path.open())
        latencies = transactions_between(lines, begin_s, end_s)
    if not latencies or end_s - begin_s < _LEAST_S:
        raise PgbenchFailed(f"{peer.name}: clients were still logging in at the end of the run")
    return summarise(latencies, end_s - begin_s, used if peer.session else None, load.units)


def _count(
    until_s: float, peer: Running, folder: Path, process: subprocess.Popen[bytes]
) -> tuple[float, float, Usage]:
    """Wait until the run is under way, then count CPU to shortly before its end."""
    while not _connected(folder) and process.poll() is None and time.monotonic() < until_s:
        time.sleep(0.02)
    time.sleep(_EDGE_S)
    begin_s, before = time.time(), usage(peer.session)
    while process.poll() is None and time.monotonic() < until_s:
        time.sleep(0.02)
    end_s, after = time.time(), usage(peer.session)
    return begin_s, end_s, after.since(before)
