"""The demonstration as a whole, as its user runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.demo.engine import POSTGRESQL
from tests.demo.conftest import mysql_folder
from tests.support.local_mysql import MARIADB, MYSQL

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = (POSTGRESQL, MYSQL, MARIADB)
CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def traces() -> Iterator[Path]:
    """Yield a temporary directory for a demonstration; then check that nothing is left of it."""
    with tempfile.TemporaryDirectory(prefix="tidegate-test-") as name:
        directory = Path(name)
        directory.chmod(0o711)
        yield directory
        assert list(directory.iterdir()) == []
        assert _processes_mentioning(name) == []


def _processes_mentioning(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if text.encode() in command:
            found.append(command.decode(errors="replace"))
    return found


def start_demo(directory: Path, kind: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "TMPDIR": str(directory)}
    engine = POSTGRESQL
    if kind != POSTGRESQL:
        engine = "mysql"
        environment["TIDEGATE_DEMO_MYSQL_BIN"] = mysql_folder(kind)
    return subprocess.Popen(
        [sys.executable, "-m", "proxy", "demo", "--plain", "--engine", engine, *arguments],
        cwd=CHECKOUT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.usefixtures("demo_packages")
class TestDemonstration:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_small_burst_through_the_proxy(self, traces: Path, kind: str) -> None:
        with start_demo(traces, kind, "--environments", "30", "--seconds", "3") as demo:
            output, _ = demo.communicate(timeout=90)
        assert demo.returncode == 0, output
        served = re.search(r"Through Tidegate (\d+) of (\d+) environments were served", output)
        assert served is not None, output
        assert int(served[1]) == int(served[2]) >= 30
        peak = re.search(r"over at most (\d+) database connections \(budget 10\)", output)
        assert peak is not None, output
        assert 1 <= int(peak[1]) <= 10
        assert "with 0 errors" in output
        assert re.search(r"orders and stock agree +yes +yes", output), output

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize("kind", KINDS)
    def test_stops_cleanly_when_asked(
        self, traces: Path, kind: str, number: signal.Signals
    ) -> None:
        with start_demo(traces, kind, "--environments", "30", "--seconds", "30") as demo:
            assert demo.stdout is not None
            story = ""
            for line in demo.stdout:
                story += line
                if "tx/s" in line:
                    break
            demo.send_signal(number)
            rest, _ = demo.communicate(timeout=60)
        assert demo.returncode == 0, story + rest
        assert "Stopping" in rest
        assert "Traceback" not in rest

    def test_without_a_server_says_what_to_install(self, traces: Path) -> None:
        nothing = traces / "bin"
        nothing.mkdir()
        command = [sys.executable, "-m", "proxy", "demo", "--engine", "mysql"]
        environment = {**os.environ, "TIDEGATE_DEMO_MYSQL_BIN": str(nothing)}
        run = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True)
        nothing.rmdir()
        assert run.returncode == 1
        assert "there is no mysqld nor mariadbd in it" in run.stderr
        assert "Traceback" not in run.stderr
