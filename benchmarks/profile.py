"""Where the proxy's time goes: a flame graph, the kernel's share, and syscalls per transaction."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import database, peers
from benchmarks.peers import POOL_SIZE
from benchmarks.pgbench import Load, Sample, Server, run
from benchmarks.report import RESULTS
from tests.support.certificates import make_certificates

if TYPE_CHECKING:
    from collections.abc import Sequence

_SECONDS = 4
_STRACE_LINE = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$")
_PERF_LINE = re.compile(r"^\s*\d[\d.]*%")


def syscalls(table: str) -> dict[str, int]:
    """Read ``strace -c``'s table: calls by name, without its total."""
    found = {}
    for line in table.splitlines():
        match = _STRACE_LINE.match(line)
        if match and match[2] != "total":
            found[match[2]] = int(match[1])
    return found


def _find(name: str) -> str | None:
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


def _beside_load(
    command: Sequence[str], load: Load, login: Server, peer: peers.Running
) -> tuple[Sample, str]:
    """Run a tool in the middle of a load; return the load's sample and what the tool said."""
    said: list[str] = []

    def tool() -> None:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        said.append(done.stdout + done.stderr)

    thread = threading.Timer(1.0, tool)
    thread.start()
    sample = run(load, login, peer)
    thread.join()
    return sample, "".join(said)


def _perf(load: Load, login: Server, peer: peers.Running, folder: Path) -> list[str]:
    perf = _find("perf")
    if perf is None:
        return ["no perf on this machine"]
    data = str(folder / "perf.data")
    command = [perf, "record", "-q", "-F", "499", "-p", str(peer.session), "-o", data]
    _beside_load([*command, "--", "sleep", str(_SECONDS)], load, login, peer)
    lines = []
    for columns in ("dso", "dso,symbol"):
        report = [perf, "report", "-i", data, "--stdio", "-q", "--sort", columns]
        text = subprocess.run(report, capture_output=True, text=True, timeout=60).stdout
        found = [line.rstrip(" -") for line in text.splitlines() if _PERF_LINE.match(line)]
        lines += [*found[:30], ""]
    return lines


def _strace(load: Load, login: Server, peer: peers.Running, folder: Path) -> list[str]:
    strace = _find("strace")
    if strace is None:
        return ["no strace on this machine"]
    table = folder / "strace"
    command = [strace, "-c", "-f", "-o", str(table), "-p", str(peer.session)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        # Attached from before the load to after it: calls and transactions are of the same time.
        time.sleep(0.5)
        sample = run(load, login, peer)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
    count = sample.transactions_per_s * load.duration_s
    calls = sorted(syscalls(table.read_text()).items(), key=lambda item: -item[1])
    return [f"{name:<16}{number / count:6.2f} per transaction" for name, number in calls[:8]]


def _flame(load: Load, login: Server, peer: peers.Running, name: str) -> list[str]:
    spy = _find("py-spy")
    if spy is None:
        return ["no py-spy: pip install 'tidegate[bench]'"]
    path = RESULTS / f"flame-{name}.svg"
    command = [spy, "record", "--native", "-r", "250", "-d", str(_SECONDS)]
    _, said = _beside_load([*command, "-o", str(path), "-p", str(peer.session)], load, login, peer)
    return [f"flame graph: {path.name}" if path.exists() else said[-500:]]


def profile(protocols: Sequence[str], rivals: Sequence[peers.Peer]) -> Path:
    """Profile each peer under each protocol; return the report's path."""
    RESULTS.mkdir(exist_ok=True)
    lines = []
    with (
        database.database() as (server, login),
        tempfile.TemporaryDirectory(prefix="tgbench", dir="/tmp") as name,
    ):
        folder = Path(name)
        folder.chmod(0o755)
        setup = peers.Setup(
            server_port=server.port,
            user=database.USER,
            password=database.PASSWORD,
            pool_size=POOL_SIZE,
            certificates=make_certificates(folder / "tls"),
        )
        for rival in rivals:
            with peers.running(rival, setup, folder) as peer:
                for protocol in protocols:
                    load = Load(
                        script="select-only", protocol=protocol, clients=16, duration_s=_SECONDS + 3
                    )
                    lines += [f"=== {rival.name}, {protocol}, 16 clients ==="]
                    lines += _strace(load, login, peer, folder) + _perf(load, login, peer, folder)
                    if not rival.binary:
                        lines += _flame(load, login, peer, f"{rival.name}-{protocol}")
    path = RESULTS / "profile.txt"
    path.write_text("\n".join(lines) + "\n")
    return path
