"""A thousand clients for ``TIDEGATE_SOAK_S`` seconds: nothing leaks and every promise holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import messages as wire
from tests.support.mysql_proxy import mysql_proxy_settings
from tests.support.mysql_wire import MysqlClient, Refused
from tests.support.proxy import ROOT, ProxyProcess, ProxySettings
from tests.support.wire import connect, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.mysql_servers import MysqlServer
    from tests.support.proxy import StartProxy
    from tests.support.servers import PostgresServer

SECONDS = float(os.environ.get("TIDEGATE_SOAK_S", "20"))
CLIENTS = int(os.environ.get("TIDEGATE_SOAK_CLIENTS", "1000"))
PROCESSES = 2
BUDGET = 20
GROUP = {"max_connections": BUDGET, "connection_borrow_timeout_s": 60.0}
PROXY = {"debug_logging": False, "login_timeout_s": 60.0}
AUTH: list[dict[str, Any]] = [
    {"user": name, "client_auth": "trust", "credential": f"static:{name}-secret"}
    for name in ("app", "other")
]
PER_CLIENT_BYTES = 60_000
"""Memory a connected client may cost the proxy at the height of it."""
SETTLED_GROWTH_BYTES = 24 << 20
"""Memory that may stay after all have left: allocators keep some of what they once needed."""
OPEN = "tidegate_database_connections"


@pytest.mark.soak
def test_soak(quiet_server: PostgresServer, start_proxy: StartProxy) -> None:
    server = quiet_server
    proxy = start_proxy(ProxySettings(server, auth=AUTH, group=GROUP, proxy=PROXY))
    with connect(proxy.host, proxy.port) as first:
        first.query("SELECT 1")
    _storm(proxy, "postgres", lambda: len(server.backends()))
    eventually(lambda: not server.backends(state="active", usename="app"), "idle", 30)
    eventually(lambda: not server.backends(state="idle in transaction"), "out of transactions", 30)
    assert len(server.backends()) <= BUDGET
    with connect(proxy.host, proxy.port) as last:
        assert last.value("SHOW timezone") == "UTC"
        assert last.value("SELECT count(*) FROM pg_listening_channels()") == "0"
        assert wire.states(last.query("SELECT * FROM own")) == ["42P01"]


@pytest.mark.soak
def test_soak_mysql(mysql_server: MysqlServer, start_proxy: StartProxy) -> None:
    settings = mysql_proxy_settings(mysql_server, GROUP)
    settings.auth = AUTH
    settings.proxy = {**settings.proxy, **PROXY}
    proxy = start_proxy(settings)
    with MysqlClient(proxy.host, proxy.port) as first:
        first.login("app", "")
        zone = first.rows("SELECT @@time_zone")

    def count() -> int:
        # The server's own list has the logins as well that do nothing but deliver a KILL.
        return int(proxy.metric(OPEN))

    _storm(proxy, "mysql", count)
    left = "SELECT id FROM information_schema.processlist WHERE user IN ('app', 'other')"
    eventually(lambda: len(mysql_server.admin(left)) <= BUDGET, "rid of the logins that kill", 30)
    busy = f"{left} AND command <> 'Sleep'"
    eventually(lambda: not mysql_server.admin(busy), "idle", 30)
    with MysqlClient(proxy.host, proxy.port) as last:
        last.login("app", "", "app")
        assert last.rows("SELECT @@time_zone") == zone
        assert last.rows("SELECT @mark, @tx") == [(None, None)]
        with pytest.raises(Refused, match=r"own.*doesn't exist"):
            last.rows("SELECT * FROM own")


def _storm(proxy: ProxyProcess, engine: str, connections: Callable[[], int]) -> None:
    """Let the crowds loose, and see that everything is as before when they have gone."""
    eventually(lambda: proxy.descriptors() < 60, "settled")
    memory, descriptors = proxy.memory_bytes(), proxy.descriptors()
    seed = int(time.time())
    crowds = [_crowd(proxy, engine, seed + number) for number in range(PROCESSES)]
    most, peak = _watch(proxy, crowds, connections)
    tallies = []
    for crowd in crowds:
        output, complaints = crowd.communicate()
        assert crowd.returncode == 0, complaints
        tallies.append(json.loads(output))
    total = {
        key: sum(tally[key] for tally in tallies)
        for key in ("clients", "queries", "vanished", "cancels")
    }
    print(f"seed {seed}: {total}, {most} server connections, {peak >> 20} MiB at most")
    violations = [line for tally in tallies for line in tally["violations"]]
    assert not violations, f"seed {seed}: {len(violations)} violations, first {violations[:5]}"
    assert total["queries"] > CLIENTS * SECONDS / 20, "the crowd hardly got anywhere"
    assert peak - memory < CLIENTS * PER_CLIENT_BYTES + SETTLED_GROWTH_BYTES
    eventually(
        lambda: proxy.descriptors() <= descriptors + BUDGET, "rid of the crowd's sockets", 30
    )
    growth = proxy.memory_bytes() - memory
    assert growth < SETTLED_GROWTH_BYTES, f"{growth >> 20} MiB stay"


def _crowd(proxy: ProxyProcess, engine: str, seed: int) -> subprocess.Popen[str]:
    arguments = [engine, proxy.host, proxy.port, CLIENTS // PROCESSES, seed, SECONDS]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.soak", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _watch(
    proxy: ProxyProcess, crowds: list[subprocess.Popen[str]], connections: Callable[[], int]
) -> tuple[int, int]:
    """Watch until the crowds are done; gives the most server connections and memory seen."""
    most = peak = 0
    deadline = time.monotonic() + SECONDS + 100
    while any(crowd.poll() is None for crowd in crowds):
        assert time.monotonic() < deadline, "the crowd hangs"
        most = max(most, connections())
        assert most <= BUDGET, f"{most} server connections on a budget of {BUDGET}"
        peak = max(peak, proxy.memory_bytes())
        assert proxy.http_status("/livez") == 200
        time.sleep(0.2)
    return most, peak
