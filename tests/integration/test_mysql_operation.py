"""The MySQL engine at work: KILL, cancels, several workers, servers and secrets that change."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pymysql
import pytest

from tests.integration.test_mysql_logins import arguments
from tests.integration.test_workers import pids
from tests.support import mysql_messages as wire
from tests.support.mysql_proxy import mysql_proxy_settings
from tests.support.mysql_wire import Closed, MysqlClient
from tests.support.proxy import ProxyProcess, running_proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.mysql_servers import MysqlServer

SLOW = "SELECT SLEEP(20)"


@pytest.fixture(scope="module")
def proxy(
    mysql_server: MysqlServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxyProcess]:
    """A proxy with a pool of four."""
    made = mysql_proxy_settings(mysql_server, {"max_connections": 4})
    with running_proxy(made, tmp_path_factory.mktemp("mysql-operation")) as running:
        yield running


def in_thread(work: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    """Run something beside the test; what it raises is kept."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, raised


def wait_for_query(server: MysqlServer, text: str) -> None:
    """Wait until the server runs a query."""
    deadline = time.monotonic() + 10
    question = "SELECT info FROM information_schema.processlist WHERE user = 'app'"
    while (text,) not in server.admin(question):
        assert time.monotonic() < deadline, f"{text} does not run"
        time.sleep(0.02)


def wait_for_end(server: MysqlServer, text: str) -> None:
    """Wait until the server does not run a query any more."""
    deadline = time.monotonic() + 5
    question = "SELECT info FROM information_schema.processlist WHERE user = 'app'"
    while (text,) in server.admin(question):
        assert time.monotonic() < deadline, f"{text} runs on"
        time.sleep(0.02)


@pytest.mark.parametrize("whole", [False, True], ids=["KILL QUERY", "KILL"])
def test_kill(proxy: ProxyProcess, mysql_server: MysqlServer, whole: bool) -> None:
    query = f"SELECT SLEEP(20), {int(whole)}"
    with pymysql.connect(**arguments(proxy)) as other:
        victim = pymysql.connect(**arguments(proxy))
        thread, raised = in_thread(lambda: victim.cursor().execute(query))
        wait_for_query(mysql_server, query)
        began = time.monotonic()
        with other.cursor() as cursor:
            cursor.execute(f"KILL {'' if whole else 'QUERY '}{victim.thread_id()}")
        thread.join(15)
        assert time.monotonic() - began < 5
        if whole:
            [error] = raised
            assert error.args[0] in (1317, 2013, 1158)
            with pytest.raises(pymysql.Error):
                victim.cursor().execute("SELECT 1")
        else:
            # MySQL's SLEEP ends without an error when it is interrupted.
            assert all(error.args[0] == 1317 for error in raised)
            with victim.cursor() as cursor:
                assert cursor.execute("SELECT 1") == 1
            victim.close()
        with other.cursor() as cursor:
            cursor.execute("SELECT 1")


def test_kill_of_what_is_not_there_or_not_ones_own(proxy: ProxyProcess) -> None:
    with (
        pymysql.connect(**arguments(proxy)) as one,
        MysqlClient(proxy.host, proxy.port) as other,
        one.cursor() as cursor,
    ):
        with pytest.raises(pymysql.Error, match=r"1094.*Unknown thread id: 1073741823"):
            cursor.execute("KILL 1073741823")
        with pytest.raises(pymysql.Error, match=r"1094.*Unknown thread id: 2147483647"):
            cursor.execute("KILL QUERY 2147483647")
        other.login("app", "app-secret")
        replies = other.query(f"KILL {one.thread_id() + 5000}")
        assert replies[0].errno == 1094
        assert other.rows("SELECT 1") == [("1",)]
        # Many at once are all answered.
        packets = wire.packets(bytes([wire.QUERY]) + b"KILL QUERY 2147483647") * 3000
        other.socket.sendall(packets)
        for _ in range(3000):
            assert other.read().errno == 1094
        assert other.rows("SELECT 2") == [("2",)]


def test_killing_oneself(proxy: ProxyProcess, mysql_server: MysqlServer) -> None:
    told = []
    for port in (proxy.port, mysql_server.port):
        with MysqlClient(proxy.host, port) as client:
            client.login("app", "app-secret")
            assert client.greeting is not None
            [reply] = client.query(f"KILL {client.greeting.connection_id}")
            told.append((reply.sequence, reply.payload))
            with pytest.raises((Closed, ConnectionError)):
                client.read()
    assert told[0] == told[1]


def test_an_abandoned_query_is_killed(proxy: ProxyProcess, mysql_server: MysqlServer) -> None:
    with MysqlClient(proxy.host, proxy.port) as client:
        client.login("app", "app-secret")
        client.send(bytes([wire.QUERY]) + SLOW.encode())
        wait_for_query(mysql_server, SLOW)
    wait_for_end(mysql_server, SLOW)


def test_sessions_of_several_workers(mysql_server: MysqlServer, tmp_path: Path) -> None:
    """KILL reaches a session of another process; idle connections go where they are needed."""
    made = mysql_proxy_settings(mysql_server, {"max_connections": 4})
    made.process = {"workers": 2}
    with running_proxy(made, tmp_path) as proxy:
        proxy.wait_for(lambda: len(pids(proxy)) == 2, "served by both workers")
        clients = [pymysql.connect(**arguments(proxy)) for _ in range(8)]
        victim, *others = clients
        for client in clients:
            with client.cursor() as cursor:
                cursor.execute("SELECT CONNECTION_ID()")
                assert cursor.fetchone() == (client.thread_id(),)
        far = [client for client in others if (client.thread_id() - victim.thread_id()) % 2]
        assert far
        query = "SELECT SLEEP(20), 'far'"
        thread, raised = in_thread(lambda: victim.cursor().execute(query))
        wait_for_query(mysql_server, query)
        began = time.monotonic()
        with far[0].cursor() as cursor:
            cursor.execute(f"KILL {victim.thread_id()}")
        thread.join(15)
        assert time.monotonic() - began < 5
        [error] = raised
        assert error.args[0] in (1317, 2013, 1158)
        for client in far:
            client.begin()
            client.cursor().execute("SELECT 1")
        for client in others:
            client.close()


def test_a_target_that_is_away_and_comes_back(fault_mysql: MysqlServer, tmp_path: Path) -> None:
    made = mysql_proxy_settings(fault_mysql, {"max_connections": 2})
    assert fault_mysql.local is not None
    fault_mysql.local.stop()
    with running_proxy(made, tmp_path) as proxy:
        with MysqlClient(proxy.host, proxy.port) as client:
            # There is no greeting to be had yet.
            refusal = client.read()
            assert refusal.errno == 1429
            assert refusal.payload[3:4] != b"#"
            assert b"could not connect to database server" in refusal.payload
        fault_mysql.local.start(fault_mysql.answers)
        with pymysql.connect(**arguments(proxy)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        fault_mysql.restart()
        with pymysql.connect(**arguments(proxy)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")


def test_a_password_that_changes(fault_mysql: MysqlServer, tmp_path: Path) -> None:
    """The secret is fetched again once the server has refused it."""
    secret = tmp_path / "secret"
    secret.write_text("first")
    made = mysql_proxy_settings(fault_mysql, {"max_connections": 2})
    made.auth.append({"user": "rotated", "credential": f"file:{secret}"})
    fault_mysql.admin("CREATE USER rotated IDENTIFIED BY 'first'")
    with running_proxy(made, tmp_path) as proxy:
        given = {"host": proxy.host, "port": proxy.port, "user": "rotated"}
        pymysql.connect(**given, password="first").close()
        fault_mysql.admin("ALTER USER rotated IDENTIFIED BY 'second'")
        secret.write_text("second")
        deadline = time.monotonic() + 20
        while True:
            try:
                pymysql.connect(**given, password="second").close()
                break
            except pymysql.Error:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        with pytest.raises(pymysql.Error, match="1045"):
            pymysql.connect(**given, password="first")
    fault_mysql.admin("DROP USER rotated")


def test_unix_sockets_on_both_sides(fault_mysql: MysqlServer) -> None:
    [(_, path)] = fault_mysql.admin("SHOW VARIABLES LIKE 'socket'")
    made = mysql_proxy_settings(fault_mysql, {"max_connections": 2})
    made.target = {"host": path, "tls": "require"}
    with tempfile.TemporaryDirectory(prefix="tgm", dir="/tmp") as folder:
        made.unix_socket = f"{folder}/my.sock"
        with (
            running_proxy(made, Path(folder)),
            pymysql.connect(
                unix_socket=made.unix_socket, user="app", password="app-secret"
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT CURRENT_USER()")
            assert cursor.fetchone() == ("app@%",)


def test_a_burst_of_logins_does_not_lock_the_proxys_host_out(
    fault_mysql: MysqlServer, tmp_path: Path
) -> None:
    """Servers block hosts whose visitors leave during the handshake (``max_connect_errors``)."""
    fault_mysql.admin("SET GLOBAL max_connect_errors = 2")
    made = mysql_proxy_settings(fault_mysql, {"max_connections": 2})
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with running_proxy(made, folder) as proxy, MysqlClient(proxy.host, proxy.port) as client:
            assert client.read().payload[0] == 10
    with running_proxy(made, tmp_path) as proxy, MysqlClient(proxy.host, proxy.port) as client:
        client.login("app", "app-secret")


def test_what_a_dead_worker_left_running_is_killed(
    mysql_server: MysqlServer, tmp_path: Path
) -> None:
    made = mysql_proxy_settings(mysql_server, {"max_connections": 4})
    made.process = {"workers": 2}
    with running_proxy(made, tmp_path) as proxy:
        proxy.wait_for(lambda: len(pids(proxy)) == 2, "served by both workers")
        client = MysqlClient(proxy.host, proxy.port)
        client.login("app", "app-secret")
        query = "SELECT SLEEP(20), 'orphan'"
        client.send(bytes([wire.QUERY]) + query.encode())
        wait_for_query(mysql_server, query)
        assert client.greeting is not None
        os.kill(pids(proxy)[client.greeting.connection_id % 2], signal.SIGKILL)
        with pytest.raises((Closed, ConnectionError)):
            client.read()
        client.close()
        wait_for_end(mysql_server, query)
        with pymysql.connect(**arguments(proxy)) as connection:
            connection.cursor().execute("SELECT 1")


def test_a_query_that_takes_too_long_is_cancelled(
    mysql_server: MysqlServer, tmp_path: Path
) -> None:
    made = mysql_proxy_settings(mysql_server, {"max_connections": 2})
    made.proxy |= {"query_timeout_s": 0.5}
    with (
        running_proxy(made, tmp_path) as proxy,
        pymysql.connect(**arguments(proxy)) as connection,
        connection.cursor() as cursor,
    ):
        began = time.monotonic()
        # MySQL's SLEEP, alone, ends with 1 when it is interrupted; MariaDB says 1317.
        with contextlib.suppress(pymysql.Error):
            assert cursor.execute("SELECT SLEEP(20)") == 1
        assert time.monotonic() - began < 5
        assert cursor.execute("SELECT 1") == 1


def test_a_transaction_held_idle_is_ended(mysql_server: MysqlServer, tmp_path: Path) -> None:
    made = mysql_proxy_settings(mysql_server, {"max_connections": 1})
    made.proxy |= {"idle_transaction_timeout_s": 0.5}
    with running_proxy(made, tmp_path) as proxy, MysqlClient(proxy.host, proxy.port) as holder:
        holder.login("app", "app-secret")
        assert not holder.query("BEGIN")[-1].error
        with pymysql.connect(**arguments(proxy)) as other:
            other.cursor().execute("SELECT 1")
        farewell = holder.read()
        assert (farewell.sequence, farewell.errno) == (0, 1205)
        with pytest.raises(Closed):
            holder.read()


def test_a_query_that_waits_for_a_connection_can_be_killed(
    mysql_server: MysqlServer, tmp_path: Path
) -> None:
    made = mysql_proxy_settings(mysql_server, {"max_connections": 1})
    with running_proxy(made, tmp_path) as proxy, contextlib.ExitStack() as stack:
        holder, waiter, killer = (
            stack.enter_context(MysqlClient(proxy.host, proxy.port)) for _ in range(3)
        )
        for client in (holder, waiter, killer):
            client.login("app", "app-secret", "app")
        holder.query("BEGIN")
        waiter.send(bytes([wire.QUERY]) + b"SELECT 1")
        waiting = "tidegate_clients_waiting"
        proxy.wait_for(lambda: proxy.metric(waiting) == 1, "waiting")
        assert waiter.greeting is not None
        [reply] = killer.query(f"KILL QUERY {waiter.greeting.connection_id}")
        assert not reply.error
        refusal = waiter.read()
        assert (refusal.sequence, refusal.errno) == (1, 1317)
        holder.query("COMMIT")
        assert waiter.rows("SELECT 2") == [("2",)]
        # The second time the whole session goes.
        holder.query("BEGIN")
        waiter.send(bytes([wire.QUERY]) + b"SELECT 1")
        proxy.wait_for(lambda: proxy.metric(waiting) == 1, "waiting")
        [reply] = killer.query(f"KILL {waiter.greeting.connection_id}")
        assert not reply.error
        refusal = waiter.read()
        assert (refusal.sequence, refusal.errno) == (1, 1317)
        with pytest.raises(Closed):
            waiter.read()
        holder.query("COMMIT")
        assert killer.rows("SELECT 3") == [("3",)]
