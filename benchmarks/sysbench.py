"""One run of sysbench against a MySQL peer, with the proxy's CPU counted in the middle of it."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.accounting import usage
from benchmarks.pgbench import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.fleet import Login
    from benchmarks.peers import Running

_TABLE = ("--tables=1", "--table-size=10000")
_HISTOGRAM = re.compile(r"^\s*([\d.]+) \|\**\s+(\d+)$", re.MULTILINE)
_RATE = re.compile(r"transactions:\s+(\d+)\s+\(([\d.]+) per sec\.\)")


class SysbenchFailed(Exception):
    """sysbench ended with an error; the message is the end of what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MysqlLoad:
    """What sysbench is told to do."""

    script: str
    prepared: bool
    clients: int
    duration_s: int

    @property
    def goal(self) -> bool:
        """Whether a goal hangs on it."""
        return self.script == "oltp_point_select" and self.clients > 1

    @property
    def title(self) -> str:
        """What tables and plots call it."""
        protocol = "prepared" if self.prepared else "text"
        return f"{self.script}, {protocol}, {self.clients} clients"


def percentile(histogram: Sequence[tuple[float, int]], share: float) -> float:
    """Return the value, of (value, count) pairs in order, that ``share`` do not exceed."""
    wanted = sum(count for _, count in histogram) * share
    seen = 0
    for value, count in histogram:
        seen += count
        if seen >= wanted:
            return value
    return 0.0


def read(output: str, span_s: float, cpu_s: float, user_share: float) -> Sample:
    """Make a sample of sysbench's output and the CPU counted during ``span_s`` of its run.

    sysbench does not tell when a transaction ended: the rate of the whole run stands for the span.
    Raises ``SysbenchFailed`` where the output has no result.
    """
    rate = _RATE.search(output)
    if rate is None or float(rate[2]) == 0:
        raise SysbenchFailed(output[-400:])
    per_second = float(rate[2])
    histogram = [(float(value), int(count)) for value, count in _HISTOGRAM.findall(output)]
    return Sample(
        transactions=int(rate[1]),
        transactions_per_s=per_second,
        cpu_us=cpu_s / (per_second * span_s) * 1e6,
        user_share=user_share,
        p50_us=percentile(histogram, 0.5) * 1e3,
        p99_us=percentile(histogram, 0.99) * 1e3,
        p999_us=percentile(histogram, 0.999) * 1e3,
    )


def command(login: Login, port: int, script: str, *options: str) -> list[str]:
    """Return sysbench's command line."""
    return [
        shutil.which("sysbench") or "sysbench", script, "--db-driver=mysql",
        "--mysql-host=127.0.0.1", f"--mysql-port={port}", f"--mysql-user={login.user}",
        f"--mysql-password={login.password}", f"--mysql-db={login.database}", *_TABLE, *options,
    ]  # fmt: skip


def prepare(login: Login, port: int) -> None:
    """Create the table. Raises ``SysbenchFailed``."""
    line = command(login, port, "oltp_point_select", "prepare")
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise SysbenchFailed((done.stdout + done.stderr)[-400:])


def run(load: MysqlLoad, login: Login, peer: Running) -> Sample:
    """Run sysbench against a peer. Raises ``SysbenchFailed``."""
    options = (
        f"--threads={load.clients}", f"--time={load.duration_s}", "--histogram=on",
        f"--db-ps-mode={'auto' if load.prepared else 'disable'}", "run",
    )  # fmt: skip
    line = command(login, peer.port, load.script, *options)
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        time.sleep(1.0)
        begin_s, before = time.monotonic(), usage(peer.session)
        time.sleep(max(load.duration_s - 1.5, 0.5))
        end_s, after = time.monotonic(), usage(peer.session)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    used = after.since(before)
    ticks = used.user_s + used.system_s
    if not peer.session:
        return read(output, end_s - begin_s, 0.0, 0.0)
    return read(output, end_s - begin_s, used.cpu_s, used.user_s / ticks if ticks else 0.0)
