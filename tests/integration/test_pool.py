"""The pool's promises: the budget, the order of waiters, fairness, errors, idle connections."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import messages as wire
from tests.support.proxy import ProxyProcess, ProxySettings
from tests.support.servers import chosen_binaries, own_server
from tests.support.wire import WireClient, connect, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.proxy import StartProxy
    from tests.support.servers import PostgresServer


@contextlib.contextmanager
def clients(proxy: ProxyProcess, count: int, user: str = "app") -> Iterator[list[WireClient]]:
    """Give logged-in clients."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(connect(proxy.host, proxy.port, user, user)) for _ in range(count)
        ]


@pytest.fixture
def three(fault_server: PostgresServer, start_proxy: StartProxy) -> ProxyProcess:
    """A proxy with a pool of three."""
    eventually(lambda: not fault_server.backends(), "empty")
    return start_proxy(ProxySettings(fault_server, group={"max_connections": 3}))


def test_logins_take_no_more_than_the_budget(
    three: ProxyProcess, fault_server: PostgresServer
) -> None:
    with clients(three, 30) as many:
        for client in many:
            assert client.value("SELECT 1") == "1"
        assert len(fault_server.backends()) <= 3


def test_budget_is_never_exceeded(three: ProxyProcess, fault_server: PostgresServer) -> None:
    with clients(three, 12) as ours, clients(three, 12, "other") as theirs:
        for client in (*ours, *theirs):
            client.send(wire.query("SELECT pg_sleep(0.1)"))
        most = 0
        for client in (*ours, *theirs):
            most = max(most, len(fault_server.backends()))
            assert wire.states(client.read_until()) == []
        assert 1 <= most <= 3


def test_one_after_another_uses_one_connection(
    three: ProxyProcess, fault_server: PostgresServer
) -> None:
    with clients(three, 20) as many:
        pids = {client.value("SELECT pg_backend_pid()") for client in many for _ in range(3)}
    assert len(pids) == 1, "the connection used last is used next"


def test_waiters_are_served_in_order(single: ProxyProcess) -> None:
    with clients(single, 1) as (holder,), clients(single, 6) as waiters:
        holder.query("DROP TABLE IF EXISTS served; CREATE TABLE served (n serial, who int)")
        holder.query("BEGIN")
        for number, waiter in enumerate(waiters):
            waiter.send(wire.query(f"INSERT INTO served (who) VALUES ({number})"))
            assert waiter.silent(0.05)
        holder.query("COMMIT")
        for waiter in waiters:
            assert wire.states(waiter.read_until()) == []
        served = wire.rows(holder.query("SELECT who FROM served ORDER BY n"))
        assert served == [[b"%d" % number] for number in range(6)]
        holder.query("DROP TABLE served")


def test_waiter_that_left_is_not_served(single: ProxyProcess) -> None:
    with clients(single, 1) as (holder,), clients(single, 2) as (leaver, stayer):
        holder.query("DROP TABLE IF EXISTS served; CREATE TABLE served (who text)")
        holder.query("BEGIN")
        leaver.send(wire.query("INSERT INTO served VALUES ('leaver')"))
        assert leaver.silent(0.1)
        stayer.send(wire.query("INSERT INTO served VALUES ('stayer')"))
        assert stayer.silent(0.1)
        leaver.close()
        time.sleep(0.1)
        holder.query("COMMIT")
        assert wire.states(stayer.read_until()) == []
        assert wire.rows(holder.query("TABLE served")) == [[b"stayer"]]
        holder.query("DROP TABLE served")


def test_borrow_timeout(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    group = {"max_connections": 1, "connection_borrow_timeout_s": 0.5}
    proxy = start_proxy(ProxySettings(fault_server, group=group))
    with clients(proxy, 1) as (holder,), clients(proxy, 2) as (simple, extended):
        holder.query("BEGIN")
        began = time.monotonic()
        simple.send(wire.query("SELECT 1"))
        extended.send(wire.run("SELECT 1"), wire.SYNC)
        for waiter in (simple, extended):
            reply = waiter.read_until()
            assert wire.codes(reply) == "EZ"
            assert wire.states(reply) == ["53300"]
            assert reply[0].fields["S"] == "ERROR"
            assert reply[1].payload == b"I"
        assert 0.4 < time.monotonic() - began < 3
        holder.query("COMMIT")
        assert simple.value("SELECT 'served'") == "served"
        assert extended.value("SELECT 'served'") == "served"


def test_borrow_timeout_of_a_pipeline(
    fault_server: PostgresServer, start_proxy: StartProxy
) -> None:
    """Every Sync of the batch gets its ReadyForQuery; what follows the first is served or not, but
    the client and the proxy agree about where they are."""
    group = {"max_connections": 1, "connection_borrow_timeout_s": 0.5}
    proxy = start_proxy(ProxySettings(fault_server, group=group))
    with clients(proxy, 1) as (holder,), clients(proxy, 1) as (waiter,):
        holder.query("BEGIN")
        waiter.send(wire.run("SELECT 1"), wire.SYNC, wire.run("SELECT 2"), wire.SYNC)
        assert wire.states(waiter.read_until()) == ["53300"]
        holder.query("COMMIT")
        assert wire.states(waiter.read_until()) in ([], ["53300"])
        assert waiter.value("SELECT 'in step'") == "in step"


def test_idle_connections_move_to_another_database(
    three: ProxyProcess, fault_server: PostgresServer
) -> None:
    with clients(three, 3) as ours:
        for client in ours:
            client.send(wire.query("SELECT pg_sleep(0.2)"))
        for client in ours:
            client.read_until()
        assert len(fault_server.backends(datname="app")) == 3
        with clients(three, 2, "other") as theirs:
            for client in theirs:
                client.send(wire.query("SELECT pg_sleep(0.2)"))
            for client in theirs:
                assert wire.states(client.read_until()) == []
        assert len(fault_server.backends()) <= 3


def test_a_busy_database_does_not_starve_another(three: ProxyProcess) -> None:
    with clients(three, 12) as greedy, clients(three, 1, "other") as (modest,):
        for client in greedy:
            client.send(*[wire.query("SELECT pg_sleep(0.05)")] * 20)
        began = time.monotonic()
        for _ in range(3):
            assert modest.value("SELECT 'served'") == "served"
        # All of the greedy work takes 4 s; its turns come in between.
        assert time.monotonic() - began < 2.5
        for client in greedy:
            client.read_until("Z", 20)


def test_session_mode(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    group = {"max_connections": 2, "pool_mode": "session"}
    proxy = start_proxy(ProxySettings(fault_server, group=group))
    with clients(proxy, 2) as (one, two):
        one.query("CREATE TEMP TABLE mine (x int); SET timezone = 'Asia/Tokyo'")
        first, second = (c.value("SELECT pg_backend_pid()") for c in (one, two))
        assert first != second
        assert one.value("SELECT pg_backend_pid()") == first
        with WireClient(proxy.host, proxy.port) as third:
            third.login()
            third.send(
                wire.query("SELECT 'at last', to_regclass('mine'), current_setting('timezone')")
            )
            assert third.silent()
            one.quit()
            assert wire.rows(third.read_until()) == [[b"at last", None, b"UTC"]]


def test_initial_query(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    query = "SET work_mem = '9MB'; SET app.greeting = 'hello'"
    proxy = start_proxy(
        ProxySettings(fault_server, group={"max_connections": 1, "init_query": query})
    )
    with clients(proxy, 2) as (one, two):
        assert one.value("SHOW work_mem") == "9MB"
        one.query("SET work_mem = '5MB'")
        assert two.value("SHOW work_mem") == "9MB"
        assert two.value("SHOW app.greeting") == "hello"
        assert one.value("SHOW work_mem") == "5MB"


def test_initial_query_that_fails(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    proxy = start_proxy(ProxySettings(fault_server, group={"init_query": "SELECT nosuch"}))
    with WireClient(proxy.host, proxy.port) as client:
        assert "42703" in wire.states(client.login()) or "42703" in wire.states(client.drain())


def test_percentage_of_what_the_server_allows(start_proxy: StartProxy) -> None:
    limits = {"max_connections": "13", "superuser_reserved_connections": "3"}
    with own_server(chosen_binaries(), settings=limits) as small:
        group = {"max_connections": 0, "max_connections_percent": 50}
        proxy = start_proxy(ProxySettings(small, group=group))
        with clients(proxy, 12) as many:
            for client in many:
                client.send(wire.query("SELECT pg_sleep(0.2)"))
            most = 0
            for client in many:
                most = max(most, len(small.backends(usename="app")))
                assert wire.states(client.read_until()) == []
            assert most == 5
        proxy.stop()


@pytest.mark.timeout(180)
def test_fewer_idle_connections_after_a_burst(
    fault_server: PostgresServer, start_proxy: StartProxy
) -> None:
    group = {"max_connections": 8, "max_idle_connections_percent": 25}
    proxy = start_proxy(ProxySettings(fault_server, group=group))
    with clients(proxy, 8) as many:
        for client in many:
            client.send(wire.query("SELECT pg_sleep(0.3)"))
        for client in many:
            client.read_until()
        assert len(fault_server.backends(usename="app")) > 2
        eventually(lambda: len(fault_server.backends(usename="app")) <= 2, "trimmed", 100)
        assert many[0].value("SELECT 1") == "1"


def test_warm_minimum(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    proxy = start_proxy(
        ProxySettings(fault_server, group={"max_connections": 5, "min_connections": 3})
    )
    with clients(proxy, 1) as (client,):
        client.value("SELECT 1")
        eventually(lambda: len(fault_server.backends(usename="app")) == 3, "warm", 20)


def test_lifetime(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    group = {"max_connections": 1, "connection_max_lifetime_s": 1.0}
    proxy = start_proxy(ProxySettings(fault_server, group=group))
    with clients(proxy, 1) as (client,):
        first = client.value("SELECT pg_backend_pid()")
        client.query("BEGIN")
        time.sleep(1.5)
        assert client.value("SELECT pg_backend_pid()") == first, "never in a transaction"
        client.query("COMMIT")
        eventually(lambda: client.value("SELECT pg_backend_pid()") != first, "replaced")


def test_too_many_clients(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    proxy = start_proxy(ProxySettings(fault_server, proxy={"max_client_connections": 3}))
    with clients(proxy, 3) as three_of_them:
        with WireClient(proxy.host, proxy.port) as fourth:
            assert wire.states(fourth.login()) == ["53300"]
        three_of_them[0].quit()

        def admitted() -> bool:
            with WireClient(proxy.host, proxy.port) as again:
                return again.login()[-1].code == "Z"

        eventually(admitted, "admitted")


def test_idle_client_timeout(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    proxy = start_proxy(ProxySettings(fault_server, proxy={"idle_client_timeout_s": 1.0}))
    with clients(proxy, 2) as (idler, busy):
        began = time.monotonic()
        while time.monotonic() - began < 2.5:
            assert busy.value("SELECT 1") == "1"
            time.sleep(0.2)
        assert wire.states(idler.drain()) == ["57P05"]
