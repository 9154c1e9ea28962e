"""PostgreSQL's own programs through the proxy: psql and pgbench."""

from __future__ import annotations

import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.proxy import ProxyProcess, ProxySettings
from tests.support.servers import STRICT, PostgresServer, program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Place
    from tests.support.proxy import StartProxy

CLIENTS = 64
POOL = 10


def _program(name: str, server: PostgresServer) -> Path:
    found = program(name, server)
    if found is None:
        assert not STRICT, f"no {name} on this machine"
        pytest.skip(f"NOT TESTED: no {name} on this machine")
    return found


def psql(server: PostgresServer, place: Place, *arguments: str, stdin: str = "") -> tuple[int, str]:
    """Run psql; gives its exit code and all it printed."""
    command = [str(_program("psql", server)), "-X", "-A", "-t", *arguments, place.conninfo()]
    run = subprocess.run(
        command,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return run.returncode, run.stdout


def test_psql_queries(server: PostgresServer, place: Place) -> None:
    assert psql(server, place, "-c", "SELECT 1", "-c", "SELECT 'two'") == (0, "1\ntwo\n")
    code, output = psql(server, place, "-c", "\\d pg_class", "-c", "\\l", "-c", "\\conninfo")
    assert code == 0
    assert "relname" in output


def test_psql_script(server: PostgresServer, place: Place) -> None:
    lines = (
        "\\set ON_ERROR_STOP on",
        "CREATE TEMP TABLE scratch (x int);",
        "\\copy scratch from stdin",
        "1",
        "2",
        "\\.",
        "BEGIN; SAVEPOINT a; INSERT INTO scratch VALUES (3); ROLLBACK TO a; COMMIT;",
        "SELECT sum(x) FROM scratch;",
        "\\copy scratch to stdout",
        "SELECT 7 AS seven \\gset",
        "SELECT :seven;",
        "SELECT $1::int + 1 \\bind 41 \\g",
    )
    code, output = psql(server, place, "-q", stdin="\n".join(lines) + "\n")
    assert (code, output) == (0, "3\n1\n2\n7\n42\n")


def test_psql_errors(server: PostgresServer, place: Place) -> None:
    code, output = psql(server, place, "-c", "SELECT 1 +")
    assert code == 1
    assert "syntax error at end of input" in output
    assert "LINE 1: SELECT 1 +\n                  ^" in output


@pytest.fixture
def ten(server: PostgresServer, start_proxy: StartProxy) -> Iterator[ProxyProcess]:
    """A proxy with a pool of ten over pgbench's tables."""
    command = [str(_program("pgbench", server)), "-i", "-q", "-s", "2"]
    command.append(server.conninfo("other"))
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    yield start_proxy(ProxySettings(server, group={"max_connections": POOL}))
    server.admin(
        "DROP TABLE pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers",
        database="other",
    )


class Watch:
    """Counts the proxy's server connections on the server until told to stop."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.most = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._done.wait(0.1):
            self.most = max(self.most, len(self.server.backends(datname="other")))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()


@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
@pytest.mark.parametrize("workload", ["select-only", "tpcb-like"])
def test_pgbench(server: PostgresServer, ten: ProxyProcess, protocol: str, workload: str) -> None:
    command = [str(_program("pgbench", server)), "-n", "-M", protocol, "-b", workload]
    command += ["-c", str(CLIENTS), "-j", "2", "-T", "2", ten.conninfo("other")]
    with Watch(server) as watch:
        run = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "number of failed transactions: 0 (0.000%)" in run.stdout, run.stdout
    assert "error" not in run.stderr
    assert 1 <= watch.most <= POOL
