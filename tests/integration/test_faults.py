"""Servers that die, hang, refuse or talk nonsense."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import messages as wire
from tests.support.proxy import ProxyProcess, ProxySettings
from tests.support.wire import WireClient, connect, eventually

if TYPE_CHECKING:
    from tests.support.proxy import StartProxy
    from tests.support.servers import PostgresServer


@pytest.fixture
def front(fault_server: PostgresServer, start_proxy: StartProxy) -> ProxyProcess:
    """A proxy with a pool of two before a server that may be broken."""
    return start_proxy(ProxySettings(fault_server, group={"max_connections": 2}))


def kill(server: PostgresServer) -> None:
    """Terminate the proxy's server connections."""
    for pid in server.backends(usename="app"):
        server.admin("SELECT pg_terminate_backend(%s, 5000)", pid)


def test_backend_killed_while_idle_costs_nobody_anything(
    front: ProxyProcess, fault_server: PostgresServer
) -> None:
    with connect(front.host, front.port) as client:
        client.exchange(wire.parse("SELECT 'prepared'", "s1"), wire.SYNC)
        for _ in range(5):
            kill(fault_server)
            assert client.value("SELECT 'unharmed'") == "unharmed"
            kill(fault_server)
            reply = client.exchange(wire.bind(name="s1"), wire.execute(), wire.SYNC)
            assert wire.rows(reply) == [[b"prepared"]]


def test_backend_killed_in_a_transaction(front: ProxyProcess, fault_server: PostgresServer) -> None:
    with connect(front.host, front.port) as victim, connect(front.host, front.port) as other:
        victim.query("BEGIN")
        pid = int(victim.value("SELECT pg_backend_pid()"))
        assert other.value("SELECT 1") == "1"
        fault_server.admin("SELECT pg_terminate_backend(%s, 5000)", pid)
        with contextlib.suppress(OSError):
            victim.send(wire.query("SELECT 1"))
        said = victim.drain()
        assert wire.states(said) == ["57P01"]
        assert said[-1].fields["S"] == "FATAL"
        assert other.value("SELECT 'unharmed'") == "unharmed"


def test_backend_killed_while_it_works(front: ProxyProcess, fault_server: PostgresServer) -> None:
    with connect(front.host, front.port) as victim, connect(front.host, front.port) as other:
        victim.send(wire.query("SELECT pg_sleep(30)"))
        eventually(lambda: bool(fault_server.backends(wait_event="PgSleep")), "running")
        kill(fault_server)
        assert wire.states(victim.drain()) == ["57P01"]
        assert other.value("SELECT 'unharmed'") == "unharmed"


def test_backend_crashes(front: ProxyProcess, fault_server: PostgresServer) -> None:
    """SIGKILL of one backend makes the server throw out all and recover."""
    with connect(front.host, front.port) as client:
        (pid,) = fault_server.backends(usename="app")
        os.kill(pid, signal.SIGKILL)
        eventually(fault_server.answers, "recovered", 30)
        assert client.value("SELECT 'unharmed'") == "unharmed"


def test_server_restarts(front: ProxyProcess, fault_server: PostgresServer) -> None:
    with connect(front.host, front.port) as idle:
        assert idle.value("SELECT 1") == "1"
        fault_server.restart()
        assert idle.value("SELECT 'unharmed'") == "unharmed"


def test_server_is_down(front: ProxyProcess, fault_server: PostgresServer) -> None:
    assert fault_server.local is not None
    with connect(front.host, front.port) as client:
        fault_server.local.stop()
        try:
            client.send(wire.query("SELECT 1"))
            assert _refusal(client)[:2] in ("08", "57")
            with WireClient(front.host, front.port) as newcomer:
                last = newcomer.login()[-1]
                if last.code == "Z":
                    newcomer.send(wire.query("SELECT 1"))
                    state = _refusal(newcomer)
                else:
                    state = last.fields["C"]
                assert state[:2] in ("08", "57")
        finally:
            fault_server.local.start(fault_server.answers)
    eventually(lambda: _served(front), "serving again", 30)


def _refusal(client: WireClient) -> str:
    """Give the SQLSTATE of the error that comes next."""
    message = client.read()
    while message.code in "NS":
        message = client.read()
    return message.fields["C"]


def _served(proxy: ProxyProcess) -> bool:
    with WireClient(proxy.host, proxy.port) as client:
        return client.login()[-1].code == "Z" and client.value("SELECT 1") == "1"


def test_frozen_backend(front: ProxyProcess, fault_server: PostgresServer) -> None:
    """SIGSTOP: the kernel still takes bytes, nobody answers. Others are served meanwhile."""
    with connect(front.host, front.port) as victim, connect(front.host, front.port) as other:
        victim.query("BEGIN")
        pid = int(victim.value("SELECT pg_backend_pid()"))
        os.kill(pid, signal.SIGSTOP)
        try:
            victim.send(wire.query("SELECT 'thawed'"))
            assert other.value("SELECT 'served'") == "served"
            assert victim.silent(0.3)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert wire.rows(victim.read_until()) == [[b"thawed"]]


def test_client_leaves_a_frozen_backend(front: ProxyProcess, fault_server: PostgresServer) -> None:
    """Its place in the budget comes back even though ROLLBACK is never answered."""
    victim = connect(front.host, front.port)
    victim.query("BEGIN")
    pid = int(victim.value("SELECT pg_backend_pid()"))
    os.kill(pid, signal.SIGSTOP)
    try:
        victim.close()
        with connect(front.host, front.port) as one, connect(front.host, front.port) as two:
            one.query("BEGIN")
            two.socket.settimeout(30)
            assert two.value("SELECT 'served'") == "served"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def test_frozen_postmaster(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    """New connections hang; the login ends by ``connect_timeout_s``, standing ones go on."""
    assert fault_server.local is not None
    assert fault_server.local.process is not None
    settings = ProxySettings(
        fault_server, group={"max_connections": 2}, target={"connect_timeout_s": 1.0}
    )
    proxy = start_proxy(settings)
    with connect(proxy.host, proxy.port) as standing:
        standing.query("BEGIN")
        fault_server.local.process.send_signal(signal.SIGSTOP)
        try:
            with WireClient(proxy.host, proxy.port) as newcomer:
                began = time.monotonic()
                said = newcomer.login(database="other")
                assert wire.states(said)[0][:2] == "08"
                assert time.monotonic() - began < 10
            assert standing.value("SELECT 'unharmed'") == "unharmed"
        finally:
            fault_server.local.process.send_signal(signal.SIGCONT)
    eventually(lambda: _served(proxy), "serving again", 30)


def test_refused_logins_reach_the_client_verbatim(
    fault_server: PostgresServer, start_proxy: StartProxy
) -> None:
    """Too many connections for a role: text and SQLSTATE as the server gave them."""
    fault_server.admin("ALTER ROLE other CONNECTION LIMIT 0")
    try:
        with WireClient(fault_server.host, fault_server.port) as client:
            direct = client.login("other", "other")[-1].fields
        proxy = start_proxy(ProxySettings(fault_server))
        with WireClient(proxy.host, proxy.port) as client:
            assert client.login("other", "other")[-1].fields == direct
        assert direct["C"] == "53300"
    finally:
        fault_server.admin("ALTER ROLE other CONNECTION LIMIT -1")
    eventually(lambda: connects(proxy, "other"), "served once the server allows it", 20)


def connects(proxy: ProxyProcess, user: str) -> bool:
    """Say whether the user can log in."""
    with WireClient(proxy.host, proxy.port) as client:
        return client.login(user, user)[-1].code == "Z"


def test_servers_password_differs(fault_server: PostgresServer, start_proxy: StartProxy) -> None:
    """The client's password is right for the proxy; the server refuses the proxy's."""
    auth = [
        {"user": "app", "credential": "static:not-the-servers"},
    ]
    proxy = start_proxy(ProxySettings(fault_server, auth=auth))
    with WireClient(proxy.host, proxy.port) as client:
        said = client.login(password="not-the-servers")
        assert wire.states(said) == ["28P01"]
        assert said[-1].fields["M"] == 'password authentication failed for user "app"'


def test_server_refuses_some_and_serves_others(
    fault_server: PostgresServer, start_proxy: StartProxy
) -> None:
    """The server allows fewer connections than the budget: clients share what there is."""
    fault_server.admin("ALTER ROLE app CONNECTION LIMIT 2")
    try:
        proxy = start_proxy(ProxySettings(fault_server, group={"max_connections": 5}))
        with contextlib.ExitStack() as stack:
            many = [stack.enter_context(connect(proxy.host, proxy.port)) for _ in range(2)]
            for client in many * 3:
                client.send(wire.query("SELECT pg_sleep(0.05)"))
            for client in many * 3:
                assert wire.states(client.read_until()) == []
    finally:
        fault_server.admin("ALTER ROLE app CONNECTION LIMIT -1")


@pytest.mark.parametrize(
    "queued", [wire.query("SELECT 1") * 200_000, wire.query("SELECT pg_sleep(5)") * 5]
)
def test_client_leaves_a_queue_of_queries(
    fault_server: PostgresServer, start_proxy: StartProxy, queued: bytes
) -> None:
    """They do not run on: the only place in the budget is free again, and taken by nobody else."""
    front = start_proxy(ProxySettings(fault_server, group={"max_connections": 1}))
    victim = connect(front.host, front.port)
    (pid,) = fault_server.backends(usename="app")
    victim.socket.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        victim.socket.send(queued)
    eventually(lambda: bool(fault_server.backends(usename="app", state="active")), "running")
    victim.close()
    left_at = time.monotonic()
    with connect(front.host, front.port) as other:
        assert other.value("SELECT 'served'") == "served"
    assert time.monotonic() - left_at < 4
    assert pid not in fault_server.backends(usename="app")
