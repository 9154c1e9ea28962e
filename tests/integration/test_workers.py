"""Several relay workers behind one address: the budget, cancel, death, reload, drain, metrics."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from typing import TYPE_CHECKING

from tests.support import messages as wire
from tests.support.proxy import ProxyProcess, ProxySettings, auth_entries
from tests.support.wire import WireClient, cancel, connect, eventually

if TYPE_CHECKING:
    from tests.support.proxy import StartProxy
    from tests.support.servers import PostgresServer

BUDGET = 6


def pids(proxy: ProxyProcess) -> list[int]:
    """Give the process ids of the workers that have started last, in the order of their numbers."""
    found: dict[str, int] = {}
    for number, pid in re.findall(
        r"event=worker_started worker=\S+ number=(\d+) pid=(\d+)", proxy.log()
    ):
        found[number] = int(pid)
    return [found[number] for number in sorted(found)]


def start(
    server: PostgresServer, start_proxy: StartProxy, workers: int = 2, budget: int = BUDGET
) -> ProxyProcess:
    settings = ProxySettings(
        server,
        process={"workers": workers},
        group={"max_connections": budget},
        proxy={"debug_logging": False},
    )
    proxy = start_proxy(settings)
    proxy.wait_for(lambda: len(pids(proxy)) == workers, "all started")
    return proxy


def on_worker(proxy: ProxyProcess, workers: int, wanted: int, count: int) -> list[WireClient]:
    """Log clients in until so many of one worker are there; the others leave."""
    chosen: list[WireClient] = []
    others: list[WireClient] = []
    while len(chosen) < count:
        client = connect(proxy.host, proxy.port)
        (chosen if client.pid % workers == wanted else others).append(client)
    for client in others:
        client.close()
    return chosen


def close(clients: list[WireClient]) -> None:
    for client in clients:
        client.close()


def test_clients_are_spread_evenly(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    proxy = start(fault_server, start_proxy, workers=4)
    clients = [connect(proxy.host, proxy.port) for _ in range(16)]
    owners = [client.pid % 4 for client in clients]
    assert sorted(owners.count(worker) for worker in range(4)) == [4, 4, 4, 4]
    for client in clients:
        assert client.value("SELECT 1") == "1"
    close(clients)


class Watch:
    """Samples the connections that the server has, in a thread of its own."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.most = 0
        self.samples = 0

    def _look(self) -> None:
        while not self._end.wait(0.005):
            self.most = max(self.most, len(self._server.backends(usename="app")))
            self.samples += 1

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._end.set()
        self._thread.join()


def busy(clients: list[WireClient], seconds: float) -> None:
    """Have every client run short queries for a while, all at once."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for client in clients:
            client.send(wire.query("SELECT pg_sleep(0.01)"))
        for client in clients:
            assert wire.states(client.read_until()) == []


def test_one_busy_worker_gets_nearly_the_whole_budget(
    fault_server: PostgresServer, start_proxy: StartProxy
) -> None:
    """First one worker has all the load, then the other; never is the budget exceeded."""
    proxy = start(fault_server, start_proxy)
    first, second = on_worker(proxy, 2, 0, 12), on_worker(proxy, 2, 1, 12)
    with Watch(fault_server) as watch:
        for clients in (first, second):
            busy(clients, 0.7)
            for client in clients[:BUDGET]:
                client.query("BEGIN")
            assert len(fault_server.backends(usename="app")) == BUDGET
            for client in clients[:BUDGET]:
                client.query("COMMIT")
        busy([*first, *second], 1.0)
    assert watch.samples > 20
    assert watch.most <= BUDGET
    close([*first, *second])


def test_idle_connections_move(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    """A worker's idle connections go to the other one, clean, instead of being opened anew."""
    proxy = start(fault_server, start_proxy)
    first, second = on_worker(proxy, 2, 0, BUDGET), on_worker(proxy, 2, 1, BUDGET)
    for client in second[:2]:
        client.query("BEGIN")
    for client in second[:2]:
        client.query("COMMIT")
    for client in first:
        client.query("SET work_mem = '1234kB'")
        client.send(wire.parse("SELECT 1", "mine"), wire.SYNC)
        client.read_until()
        client.query("BEGIN")
    for client in first:
        client.query("COMMIT")
    before = set(fault_server.backends(usename="app"))
    for client in second:
        client.query("BEGIN")
        assert client.value("SHOW work_mem") == "4MB"
        assert client.value("SELECT count(*) FROM pg_prepared_statements") == "0"
    after = set(fault_server.backends(usename="app"))
    assert len(before) == len(after) == BUDGET
    assert len(before & after) >= BUDGET - 2
    for client in second:
        client.query("COMMIT")
    for client in first:
        assert client.value("SHOW work_mem") == "1234kB"
        client.send(wire.bind(name="mine"), wire.execute(), wire.SYNC)
        assert wire.rows(client.read_until()) == [[b"1"]]
    assert "moved to another worker" in proxy.log()
    close([*first, *second])


def test_waiting_clients_of_both_workers_share(
    fault_server: PostgresServer, start_proxy: StartProxy
) -> None:
    proxy = start(fault_server, start_proxy, budget=2)
    first, second = on_worker(proxy, 2, 0, 4), on_worker(proxy, 2, 1, 1)
    stop = threading.Event()

    def keep_busy(client: WireClient) -> None:
        while not stop.is_set():
            client.value("SELECT pg_sleep(0.01)")

    threads = [threading.Thread(target=keep_busy, args=(client,)) for client in first]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            began = time.monotonic()
            assert second[0].value("SELECT 1") == "1"
            assert time.monotonic() - began < 3
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    close([*first, *second])


def test_cancel_reaches_the_worker_that_owns_the_session(
    fault_server: PostgresServer, start_proxy: StartProxy
) -> None:
    proxy = start(fault_server, start_proxy)
    with connect(proxy.host, proxy.port) as client:
        for _ in range(4):  # The requests go to the workers by turns.
            client.send(wire.query("SELECT pg_sleep(30)"))
            eventually(lambda: len(fault_server.backends(wait_event="PgSleep")) == 1, "running")
            for _ in range(4):
                cancel(proxy.host, proxy.port, client.pid, bytes(len(client.key)))
            assert client.silent(0.1)
            cancel(proxy.host, proxy.port, client.pid, client.key)
            assert wire.states(client.read_until()) == ["57014"]


def test_a_killed_worker_is_replaced_and_others_do_not_notice(
    fault_server: PostgresServer, start_proxy: StartProxy
) -> None:
    proxy = start(fault_server, start_proxy)
    first, second = on_worker(proxy, 2, 0, 4), on_worker(proxy, 2, 1, 4)
    for client in first[:4]:
        client.query("BEGIN")
    first[3].send(wire.query("SELECT pg_sleep(60)"))
    for client in second[:2]:
        client.query("BEGIN")
    before = pids(proxy)
    with Watch(fault_server) as watch:
        os.kill(before[0], signal.SIGKILL)
        for client in second[:2]:
            assert client.value("SELECT 'unharmed'") == "unharmed"
            client.query("COMMIT")
        for client in first:
            client.drain()
        proxy.wait_for(lambda: pids(proxy)[0] != before[0], "replaced")
        # The slots of the dead are used again, by either worker.
        newcomers = [connect(proxy.host, proxy.port) for _ in range(BUDGET)]
        for client in newcomers:
            client.query("BEGIN")
        assert len(fault_server.backends(usename="app")) == BUDGET
    assert watch.most <= BUDGET
    assert pids(proxy)[1] == before[1]
    close([*newcomers, *first, *second])


def test_reload_reaches_every_worker(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    proxy = start(fault_server, start_proxy)
    proxy.settings.group["max_connections"] = 3
    proxy.settings.auth = auth_entries("app", "other")[1:]
    proxy.reload()
    for _ in range(4):
        with WireClient(proxy.host, proxy.port) as client:
            assert wire.states(client.login("app")) == ["28P01"]
    clients = [connect(proxy.host, proxy.port, "other", "app") for _ in range(4)]
    for client in clients[:3]:
        client.query("BEGIN")
    clients[3].send(wire.query("SELECT 1"))
    assert clients[3].silent(0.2)
    assert len(fault_server.backends(usename="other")) == 3
    close(clients)


def test_drain_ends_every_worker(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    proxy = start(fault_server, start_proxy)
    clients = [connect(proxy.host, proxy.port) for _ in range(4)]
    for client in clients[:2]:
        client.query("BEGIN")
    workers = pids(proxy)
    proxy.signal(signal.SIGTERM)
    for client in clients[2:]:
        assert wire.states(client.drain()) == ["57P01"]
    for client in clients[:2]:
        assert client.value("SELECT 'finished'") == "finished"
        client.send(wire.query("COMMIT"))
        assert wire.states(client.drain()) == ["57P01"]
    began = time.monotonic()
    proxy.process.wait(10)
    assert time.monotonic() - began < 3
    assert not fault_server.backends(usename="app")
    assert not [pid for pid in workers if os.path.exists(f"/proc/{pid}")]
    close(clients)


def test_workers_end_when_the_supervisor_is_killed(
    fault_server: PostgresServer, start_proxy: StartProxy
) -> None:
    proxy = start(fault_server, start_proxy)
    workers = pids(proxy)
    proxy.process.kill()
    proxy.process.wait()
    eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers), "gone", 10)
    proxy.process.returncode = 0  # What the fixture expects to find.


def test_one_scrape_shows_the_whole(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    proxy = start(fault_server, start_proxy)
    clients = [connect(proxy.host, proxy.port) for _ in range(4)]
    before = proxy.metric("tidegate_query_requests_total")
    for client in clients:
        client.query("BEGIN")
        client.query("COMMIT")
    assert proxy.metric("tidegate_query_requests_total") - before == 8
    assert proxy.metric("tidegate_client_connections") == 4
    assert proxy.metric("tidegate_max_database_connections_allowed") == BUDGET
    assert proxy.metric("tidegate_build_info", workers="2") == 1
    for name in ("supervisor", "1", "2"):
        assert proxy.metric("process_open_fds", worker=name) > 5
    # What a worker had counted stays in the sums when it dies.
    total = proxy.metric("tidegate_query_requests_total")
    os.kill(pids(proxy)[0], signal.SIGKILL)
    eventually(lambda: proxy.metric("tidegate_client_connections") == 2, "two left")
    assert proxy.metric("tidegate_query_requests_total") == total
    assert proxy.metric("tidegate_client_connections_received_total") == 4
    close(clients)


def test_every_line_of_the_log_says_whose_it_is(
    fault_server: PostgresServer, start_proxy: StartProxy
) -> None:
    proxy = start(fault_server, start_proxy)
    close([connect(proxy.host, proxy.port) for _ in range(8)])
    proxy.stop()
    lines = proxy.log().splitlines()
    assert all(" worker=" in line for line in lines)
    for name in ("started", "draining", "stopped"):
        assert (
            sum(f"event={name} " in line or line.endswith(f"event={name}") for line in lines) == 1
        )
