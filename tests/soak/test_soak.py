"""A thousand clients for ``TIDEGATE_SOAK_S`` seconds: nothing leaks and every promise holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import messages as wire
from tests.support.proxy import ROOT, ProxyProcess, ProxySettings
from tests.support.wire import connect, eventually

if TYPE_CHECKING:
    from tests.support.proxy import StartProxy
    from tests.support.servers import PostgresServer

SECONDS = float(os.environ.get("TIDEGATE_SOAK_S", "20"))
CLIENTS = int(os.environ.get("TIDEGATE_SOAK_CLIENTS", "1000"))
PROCESSES = 2
BUDGET = 20
PER_CLIENT_BYTES = 60_000
"""Memory a connected client may cost the proxy at the height of it."""
SETTLED_GROWTH_BYTES = 24 << 20
"""Memory that may stay after all have left: allocators keep some of what they once needed."""


def _crowd(proxy: ProxyProcess, seed: int) -> subprocess.Popen[str]:
    size = str(CLIENTS // PROCESSES)
    command = [sys.executable, "-m", "tests.soak", proxy.host, str(proxy.port), size, str(seed)]
    return subprocess.Popen(
        [*command, str(SECONDS)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _watch(proxy: ProxyProcess, crowds: list[subprocess.Popen[str]]) -> tuple[int, int]:
    """Watch until the crowds are done; gives the most server connections and memory seen."""
    most = peak = 0
    deadline = time.monotonic() + SECONDS + 100
    while any(crowd.poll() is None for crowd in crowds):
        assert time.monotonic() < deadline, "the crowd hangs"
        most = max(most, len(proxy.server.backends()))
        assert most <= BUDGET, f"{most} server connections on a budget of {BUDGET}"
        peak = max(peak, proxy.memory_bytes())
        assert proxy.http_status("/livez") == 200
        time.sleep(0.2)
    return most, peak


@pytest.mark.soak
def test_soak(quiet_server: PostgresServer, start_proxy: StartProxy) -> None:
    server = quiet_server
    auth = [
        {"user": name, "client_auth": "trust", "credential": f"static:{name}-secret"}
        for name in ("app", "other")
    ]
    settings = ProxySettings(
        server,
        auth=auth,
        group={"max_connections": BUDGET, "connection_borrow_timeout_s": 60.0},
        proxy={"debug_logging": False, "login_timeout_s": 60.0},
    )
    proxy = start_proxy(settings)
    with connect(proxy.host, proxy.port) as first:
        first.query("SELECT 1")
    eventually(lambda: proxy.descriptors() < 60, "settled")
    memory, descriptors = proxy.memory_bytes(), proxy.descriptors()
    seed = int(time.time())
    crowds = [_crowd(proxy, seed + number) for number in range(PROCESSES)]
    most, peak = _watch(proxy, crowds)
    tallies = []
    for crowd in crowds:
        output, complaints = crowd.communicate()
        assert crowd.returncode == 0, complaints
        tallies.append(json.loads(output))
    total = {
        key: sum(tally[key] for tally in tallies) for key in ("clients", "queries", "vanished")
    }
    print(f"seed {seed}: {total}, {most} server connections, {peak >> 20} MiB at most")
    violations = [line for tally in tallies for line in tally["violations"]]
    assert not violations, f"seed {seed}: {len(violations)} violations, first {violations[:5]}"
    assert total["queries"] > CLIENTS * SECONDS / 20, "the crowd hardly got anywhere"
    assert peak - memory < CLIENTS * PER_CLIENT_BYTES + SETTLED_GROWTH_BYTES
    _assert_settled(proxy, memory, descriptors)


def _assert_settled(proxy: ProxyProcess, memory: int, descriptors: int) -> None:
    """After the storm: nobody holds anything, and the next client finds a clean connection."""
    server = proxy.server
    eventually(
        lambda: proxy.descriptors() <= descriptors + BUDGET, "rid of the crowd's sockets", 30
    )
    eventually(lambda: not server.backends(state="active", usename="app"), "idle", 30)
    eventually(lambda: not server.backends(state="idle in transaction"), "out of transactions", 30)
    assert len(server.backends()) <= BUDGET
    growth = proxy.memory_bytes() - memory
    assert growth < SETTLED_GROWTH_BYTES, f"{growth >> 20} MiB stay"
    with connect(proxy.host, proxy.port) as last:
        assert last.value("SHOW timezone") == "UTC"
        assert last.value("SELECT count(*) FROM pg_listening_channels()") == "0"
        assert wire.states(last.query("SELECT * FROM own")) == ["42P01"]
