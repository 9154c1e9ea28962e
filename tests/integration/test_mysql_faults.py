"""Servers of MySQL and MariaDB that die, hang, refuse, break off or talk nonsense."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import mysql_messages as wire
from tests.support.impostor import Behaviour, Impostor, StartImpostor, Tap, reset_at_close
from tests.support.mysql_proxy import mysql_proxy_settings
from tests.support.mysql_wire import Closed, MysqlClient, Refused, connect
from tests.support.wire import eventually

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from tests.support.mysql_servers import MysqlServer
    from tests.support.proxy import ProxyProcess, StartProxy

ANSWER = "SELECT 'unharmed'"
UNHARMED = [("unharmed",)]
GONE = (1317, 1927, 1158, 1053)
"""Errors for what ended because its server connection did."""


@pytest.fixture
def front(fault_mysql: MysqlServer, start_proxy: StartProxy) -> ProxyProcess:
    """A proxy with a pool of two before a server that may be broken."""
    return start_proxy(mysql_proxy_settings(fault_mysql, {"max_connections": 2}))


def client_of(proxy: ProxyProcess, user: str = "app") -> MysqlClient:
    """Log in."""
    return connect(proxy.host, proxy.port, user, f"{user}-secret", user)


def kill(server: MysqlServer) -> None:
    """End the proxy's server connections, and wait until they have gone."""
    for number in server.backends():
        with contextlib.suppress(Refused):
            server.admin(f"KILL {number}")
    eventually(lambda: not server.backends(), "killed")


def farewell(client: MysqlClient) -> int:
    """Give the errno of the error that comes next, behind which nothing may come."""
    said = client.read()
    assert said.error
    with pytest.raises((Closed, ConnectionError)):
        client.read()
    return said.errno


def serves(proxy: ProxyProcess) -> bool:
    """Say whether a new client is served."""
    try:
        with client_of(proxy) as client:
            return client.rows(ANSWER) == UNHARMED
    except (Refused, Closed, OSError):
        return False


def test_connections_killed_while_idle_cost_nobody_anything(
    front: ProxyProcess, fault_mysql: MysqlServer
) -> None:
    with client_of(front) as client:
        [prepared, *_] = client.exchange(bytes([wire.PREPARE]) + b"SELECT 'prepared'")
        execute = bytes([wire.EXECUTE]) + prepared.payload[1:5] + b"\0\1\0\0\0"
        for _ in range(3):
            kill(fault_mysql)
            assert client.rows(ANSWER) == UNHARMED
            kill(fault_mysql)
            reply = client.exchange(execute)
            assert wire.lenenc(b"prepared") in reply[-2].payload


def test_a_connection_killed_in_a_transaction(
    front: ProxyProcess, fault_mysql: MysqlServer
) -> None:
    with client_of(front) as victim, client_of(front) as other:
        victim.query("BEGIN")
        # A temporary table pins it, so that this one is the victim's own.
        victim.query("CREATE TEMPORARY TABLE held (x INT)")
        assert other.rows(ANSWER) == UNHARMED
        kill(fault_mysql)
        assert farewell(victim) in GONE
        assert other.rows(ANSWER) == UNHARMED


def test_a_connection_killed_while_it_works(front: ProxyProcess, fault_mysql: MysqlServer) -> None:
    with client_of(front) as victim, client_of(front) as other:
        victim.send(bytes([wire.QUERY]) + b"SELECT SLEEP(30), 'victim'")
        asked = "SELECT id FROM information_schema.processlist WHERE info LIKE '%victim%'"
        eventually(lambda: bool(_ours(fault_mysql, asked)), "running")
        kill(fault_mysql)
        assert farewell(victim) in GONE
        assert other.rows(ANSWER) == UNHARMED


def _ours(server: MysqlServer, query: str) -> list[tuple[str | None, ...]]:
    return server.admin(query + " AND user = 'app'")


def test_a_server_that_crashes(front: ProxyProcess, fault_mysql: MysqlServer) -> None:
    assert fault_mysql.local is not None
    assert fault_mysql.local.process is not None
    with client_of(front) as client:
        assert client.rows(ANSWER) == UNHARMED
        fault_mysql.local.process.send_signal(signal.SIGKILL)
        fault_mysql.local.process.wait()
        fault_mysql.local.start(fault_mysql.answers)
        assert client.rows(ANSWER) == UNHARMED


def test_a_server_that_is_down(front: ProxyProcess, fault_mysql: MysqlServer) -> None:
    assert fault_mysql.local is not None
    with client_of(front) as client:
        fault_mysql.local.stop()
        try:
            reply = client.query("SELECT 1")[-1]
            assert reply.errno in (1429, 1040, *GONE)
        finally:
            fault_mysql.local.start(fault_mysql.answers)
    eventually(lambda: serves(front), "serving again", 30)


def test_a_frozen_server(fault_mysql: MysqlServer, start_proxy: StartProxy) -> None:
    """Who waits is answered once it thaws; who came meanwhile was told in time."""
    assert fault_mysql.local is not None
    assert fault_mysql.local.process is not None
    settings = mysql_proxy_settings(fault_mysql, {"max_connections": 2})
    settings.target = {"connect_timeout_s": 1.0}
    proxy = start_proxy(settings)
    with client_of(proxy) as standing:
        standing.query("BEGIN")
        fault_mysql.local.process.send_signal(signal.SIGSTOP)
        try:
            standing.send(bytes([wire.QUERY]) + b"SELECT 'thawed'")
            began = time.monotonic()
            with pytest.raises(Refused) as refused:
                client_of(proxy, "other")
            assert refused.value.errno in (1429, 1040)
            assert time.monotonic() - began < 10
        finally:
            fault_mysql.local.process.send_signal(signal.SIGCONT)
        reply = standing.reply(wire.QUERY)
        assert wire.text_row(reply[-2].payload) == ("thawed",)
    eventually(lambda: serves(proxy), "serving again", 30)


def test_refused_logins_reach_the_client_verbatim(
    fault_mysql: MysqlServer, start_proxy: StartProxy
) -> None:
    fault_mysql.admin("ALTER USER other ACCOUNT LOCK")
    try:
        proxy = start_proxy(mysql_proxy_settings(fault_mysql, {"max_connections": 2}))
        with pytest.raises(Refused) as direct:
            connect(fault_mysql.host, fault_mysql.port, "other", "other-secret", "other")
        with pytest.raises(Refused) as proxied:
            client_of(proxy, "other")
        assert proxied.value.args == direct.value.args
    finally:
        fault_mysql.admin("ALTER USER other ACCOUNT UNLOCK")
    eventually(lambda: _logs_in(proxy, "other"), "served once the server allows it", 20)


def _logs_in(proxy: ProxyProcess, user: str) -> bool:
    try:
        client_of(proxy, user).close()
    except Refused:
        return False
    return True


def test_the_servers_password_differs(fault_mysql: MysqlServer, start_proxy: StartProxy) -> None:
    """The client's password is right for the proxy; the server refuses the proxy's."""
    settings = mysql_proxy_settings(fault_mysql, {"max_connections": 2})
    settings.auth = [{**settings.auth[0], "credential": "static:not-the-servers"}]
    proxy = start_proxy(settings)
    with pytest.raises(Refused, match="Access denied for user 'app'") as refused:
        connect(proxy.host, proxy.port, "app", "not-the-servers")
    assert refused.value.errno == 1045


def test_a_server_that_refuses_some_and_serves_others(
    fault_mysql: MysqlServer, start_proxy: StartProxy
) -> None:
    """The server allows fewer connections than the budget: clients share what there is."""
    fault_mysql.admin("ALTER USER app WITH MAX_USER_CONNECTIONS 2")
    try:
        proxy = start_proxy(mysql_proxy_settings(fault_mysql, {"max_connections": 5}))
        with contextlib.ExitStack() as stack:
            many = [stack.enter_context(client_of(proxy)) for _ in range(6)]
            for client in many:
                client.send(bytes([wire.QUERY]) + b"SELECT SLEEP(0.05)")
            for client in many:
                assert not client.reply(wire.QUERY)[-1].error
    finally:
        fault_mysql.admin("ALTER USER app WITH MAX_USER_CONNECTIONS 0")


# A server of our own.


@pytest.fixture
def impostor(fault_mysql: MysqlServer, start_proxy: StartProxy) -> Iterator[StartImpostor]:
    """Start a server of our own with a proxy before it."""
    with contextlib.ExitStack() as stack:

        def start(behave: Behaviour) -> tuple[Impostor, ProxyProcess]:
            fake = Impostor(behave)
            stack.callback(fake.close)
            settings = mysql_proxy_settings(
                fault_mysql, {"max_connections": 2, "connection_borrow_timeout_s": 2.0}
            )
            target: dict[str, Any] = {"host": fake.host, "port": fake.port, "tls": "disable"}
            settings.target = {**target, "connect_timeout_s": 1.0}
            return fake, start_proxy(settings)

        yield start


def packet(payload: bytes, sequence: int) -> bytes:
    """Encode a packet."""
    return wire.packets(payload, sequence)


GREETING = (
    b"\x0a9.7.4\0" + b"\1\0\0\0" + b"saltsalt\0" + b"\xff\xf7\x2d\x02\0\xff\xdf\x15" + bytes(10)
    + b"saltsaltsalt\0" + b"caching_sha2_password\0"
)  # fmt: skip
NONSENSE_AT_LOGIN: dict[str, bytes] = {
    "closes": b"",
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 200,
    "zeros": bytes(100),
    "an-old-protocol": packet(b"\x09" + GREETING[1:], 0),
    "cut-short": packet(GREETING[:30], 0),
    "endless": b"\xff\xff\xff\0" + b"x" * 1000,
    "out-of-order": packet(GREETING, 7),
    "an-unknown-plugin": packet(GREETING, 0) + packet(b"\xfeno_such_plugin\0salt", 2),
    "more-data-of-no-kind": packet(GREETING, 0) + packet(b"\x01\x09", 2),
    "an-error-cut-short": packet(GREETING, 0) + packet(b"\xff\x15", 2),
    "ok-cut-short": packet(GREETING, 0) + packet(b"\0\0", 2),
}


@pytest.mark.parametrize("name", NONSENSE_AT_LOGIN)
def test_a_server_that_talks_nonsense_at_login(impostor: StartImpostor, name: str) -> None:
    def behave(connection: socket.socket) -> None:
        connection.sendall(NONSENSE_AT_LOGIN[name])
        if NONSENSE_AT_LOGIN[name]:
            while connection.recv(4096):
                pass

    _, proxy = impostor(behave)
    with pytest.raises(Refused) as refused:
        client_of(proxy)
    assert refused.value.errno in (1158, 1429)


def test_a_server_that_says_nothing_at_login(
    impostor: StartImpostor,
) -> None:
    def behave(connection: socket.socket) -> None:
        connection.recv(1)

    fake, proxy = impostor(behave)
    began = time.monotonic()
    with pytest.raises(Refused) as refused:
        client_of(proxy)
    assert refused.value.errno in (1429, 1040)
    assert time.monotonic() - began < 6
    assert fake.accepted < 10


ROW = (
    packet(b"\1", 1)
    + packet(wire.lenenc(b"def") + b"\0\0\0" + b"\1x\0" + b"\x0c\x2d\0\1\0\0\0\xfd\0\0\0\0\0", 2)
    + packet(b"\4fake", 3)
    + packet(b"\xfe\0\0\2\0\0\0", 4)
)
BROKEN_REPLIES: dict[str, bytes] = {
    "cut-in-a-header": ROW[:2],
    "cut-in-a-definition": ROW[:20],
    "cut-in-a-row": ROW[:-14],
    "cut-between-packets": ROW[:-11],
    "no-columns": packet(b"\xfc", 1),
    "an-empty-packet": b"\0\0\0\1",
    "an-ok-cut-short": packet(b"\0\0", 1),
    "nothing": b"",
}


@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("name", BROKEN_REPLIES)
def test_a_server_that_breaks_off(
    impostor: StartImpostor,
    fault_mysql: MysqlServer,
    name: str,
    way: str,
) -> None:
    """The client whose reply it was is told or cut off; the others are served."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(BROKEN_REPLIES[name])
        if way == "reset":
            time.sleep(0.05)
            reset_at_close(connection)

    _, proxy = impostor(Tap(fault_mysql, b"break it", behave))
    with client_of(proxy) as client, client_of(proxy) as other:
        client.send(bytes([wire.QUERY]) + b"SELECT 'break it'")
        said = []
        with contextlib.suppress(Closed, ConnectionError):
            while True:
                said.append(client.read())
        if name in ("nothing", "no-columns", "an-empty-packet", "cut-in-a-header"):
            assert [packet.error for packet in said] == [True]
        assert sum(packet.ends_rows for packet in said) < 2
        for number, packet in enumerate(said):
            assert packet.sequence == 1 + number
        assert other.rows(ANSWER) == UNHARMED


def test_two_replies_to_one_command(impostor: StartImpostor, fault_mysql: MysqlServer) -> None:
    def behave(connection: socket.socket) -> None:
        connection.sendall(ROW + ROW)
        connection.recv(4096)

    _, proxy = impostor(Tap(fault_mysql, b"first", behave))
    with client_of(proxy) as client, client_of(proxy) as other:
        client.send(bytes([wire.QUERY]) + b"SELECT 'first'")
        with contextlib.suppress(Closed, ConnectionError):
            client.reply(wire.QUERY)
        assert other.rows(ANSWER) == UNHARMED
        # Whatever became of the first, the second reply is never taken for an answer.
        with contextlib.suppress(Closed, Refused, OSError):
            assert client.rows(ANSWER) in (UNHARMED, [])


def test_a_server_that_speaks_unasked(impostor: StartImpostor, fault_mysql: MysqlServer) -> None:
    """That connection is out of step and must never be lent again."""
    spoken = []

    def behave(connection: socket.socket) -> None:
        connection.sendall(ROW)
        time.sleep(0.1)
        connection.sendall(ROW)
        spoken.append(connection.recv(4096))

    _, proxy = impostor(Tap(fault_mysql, b"first", behave))
    with client_of(proxy) as client:
        assert client.rows("SELECT 'first'") == [("fake",)]
        eventually(lambda: bool(spoken), "hung up on")
        assert client.rows(ANSWER) == UNHARMED
