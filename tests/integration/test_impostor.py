"""A server of our own that breaks off, says nothing, or talks nonsense."""

from __future__ import annotations

import contextlib
import struct
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import messages as wire
from tests.support.impostor import Behaviour, Impostor, StartImpostor, Tap, reset_at_close
from tests.support.proxy import ProxyProcess, ProxySettings
from tests.support.wire import Closed, WireClient, connect

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from tests.support.proxy import StartProxy
    from tests.support.servers import PostgresServer


@pytest.fixture
def impostor(server: PostgresServer, start_proxy: StartProxy) -> Iterator[StartImpostor]:
    """Start a server of our own with a proxy before it."""
    with contextlib.ExitStack() as stack:

        def start(behave: Behaviour) -> tuple[Impostor, ProxyProcess]:
            fake = Impostor(behave)
            stack.callback(fake.close)
            target = {"host": fake.host, "port": fake.port, "connect_timeout_s": 1.0}
            group = {"max_connections": 2, "connection_borrow_timeout_s": 2.0}
            return fake, start_proxy(ProxySettings(server, group=group, target=target))

        yield start


GREETING = (
    wire.message("R", struct.pack("!I", 0))
    + b"".join(
        wire.message("S", wire.text(name) + wire.text(value))
        for name, value in (
            ("server_version", "18.0"),
            ("client_encoding", "UTF8"),
            ("server_encoding", "UTF8"),
            ("standard_conforming_strings", "on"),
            ("TimeZone", "UTC"),
            ("DateStyle", "ISO, MDY"),
            ("IntervalStyle", "postgres"),
            ("integer_datetimes", "on"),
            ("application_name", ""),
            ("is_superuser", "off"),
            ("session_authorization", "app"),
        )
    )
    + wire.message("K", struct.pack("!II", 4242, 4242))
    + wire.message("Z", b"I")
)
ROW = (
    wire.message("T", struct.pack("!H", 1) + b"x\0" + struct.pack("!IHIhih", 0, 0, 25, -1, -1, 0))
    + wire.message("D", struct.pack("!Hi", 1, 4) + b"fake")
    + wire.message("C", b"SELECT 1\0")
    + wire.message("Z", b"I")
)


def _greet(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(GREETING)


def _answer_all(connection: socket.socket) -> None:
    """Greet, and answer each simple query with the same row."""
    _greet(connection)
    while connection.recv(65536):
        connection.sendall(ROW)


def test_impostors_are_believable(server: PostgresServer) -> None:
    """Clients take them for a server, so what the proxy makes of them means something."""
    for behave in (_answer_all, Tap(server, b"never said", lambda connection: None)):
        fake = Impostor(behave)
        try:
            with WireClient(fake.host, fake.port) as client:
                assert client.login()[-1].code == "Z"
                assert client.value("SELECT 'fake'") == "fake"
                assert client.parameters["TimeZone"] == "UTC"
        finally:
            fake.close()


NONSENSE_AT_LOGIN: dict[str, bytes] = {
    "closes": b"",
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 200,
    "zeros": bytes(100),
    "endless-length": b"R" + struct.pack("!I", 0x7FFFFFFF) + b"x" * 1000,
    "negative-length": b"R" + struct.pack("!i", -5) + b"x" * 1000,
    "unknown-authentication": wire.message("R", struct.pack("!I", 99)),
    "kerberos": wire.message("R", struct.pack("!I", 2)),
    "ready-without-authentication": wire.message("Z", b"I"),
    "row-first": ROW,
    "empty-scram-list": wire.message("R", struct.pack("!I", 10) + b"\0"),
    "other-scram": wire.message("R", struct.pack("!I", 10) + b"SCRAM-MD5\0\0"),
    "scram-continues-first": wire.message("R", struct.pack("!I", 11) + b"r=x,s=eA==,i=1"),
}


@pytest.mark.parametrize("name", NONSENSE_AT_LOGIN)
def test_server_talks_nonsense_at_login(impostor: StartImpostor, name: str) -> None:
    def behave(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(NONSENSE_AT_LOGIN[name])
        if NONSENSE_AT_LOGIN[name]:
            connection.recv(4096)

    _, proxy = impostor(behave)
    with WireClient(proxy.host, proxy.port) as client:
        (state,) = wire.states(client.login())
        assert state[:2] in ("08", "28", "53")


def test_server_says_nothing_at_login(impostor: StartImpostor) -> None:
    def behave(connection: socket.socket) -> None:
        connection.recv(1)
        time.sleep(10)

    fake, proxy = impostor(behave)
    began = time.monotonic()
    with WireClient(proxy.host, proxy.port) as client:
        (state,) = wire.states(client.login())
        assert state[:2] in ("08", "53")
    assert time.monotonic() - began < 6
    assert fake.accepted < 10


def test_failing_server_is_not_hammered(impostor: StartImpostor) -> None:
    fake, proxy = impostor(lambda connection: None)
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        with WireClient(proxy.host, proxy.port) as client:
            client.login()
    assert fake.accepted < 40, f"{fake.accepted} attempts in two seconds"


BROKEN_REPLIES: dict[str, bytes] = {
    "cut-in-a-header": ROW[:3],
    "cut-in-a-row": ROW[:40],
    "cut-between-messages": ROW[:-6],
    "negative-length": b"D" + struct.pack("!i", -1) + b"x" * 100,
    "short-length": b"D" + struct.pack("!i", 1) + b"x" * 100,
    "unknown-type": wire.message("!", b"what"),
    "nothing": b"",
}


def test_server_talks_nonsense_after_login(impostor: StartImpostor) -> None:
    """The proxy asks a new server about its limits; any answer must leave it standing."""
    _, proxy = impostor(_answer_all)
    for _ in range(3):
        with WireClient(proxy.host, proxy.port) as client:
            said = client.login()
            assert said[-1].code == "Z" or wire.states(said)[0][:2] in ("08", "53")


@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("name", BROKEN_REPLIES)
def test_server_breaks_off(
    impostor: StartImpostor, server: PostgresServer, name: str, way: str
) -> None:
    """The client whose reply it was gets an error that ends its connection; the next is served."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(BROKEN_REPLIES[name])
        if way == "reset":
            time.sleep(0.05)
            reset_at_close(connection)

    _, proxy = impostor(Tap(server, b"break it", behave))
    with connect(proxy.host, proxy.port) as client, connect(proxy.host, proxy.port) as other:
        client.send(wire.query("SELECT 'break it'"))
        said = client.drain()
        # After the beginning of a message nothing can be said any more: only closed.
        if name in ("cut-between-messages", "nothing"):
            assert len(wire.states(said)) == 1
        assert "Z" not in wire.codes(said)
        assert other.value("SELECT 'unharmed'") == "unharmed"


def test_server_speaks_unasked(impostor: StartImpostor, server: PostgresServer) -> None:
    """A reply nobody asked for: that connection is out of step and must never be lent again."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(ROW)
        time.sleep(0.1)
        connection.sendall(ROW)
        connection.recv(4096)

    _, proxy = impostor(Tap(server, b"first", behave))
    with connect(proxy.host, proxy.port) as client:
        assert client.value("SELECT 'first'") == "fake"
        time.sleep(0.5)
        assert client.value("SELECT 'real'") == "real"
        assert client.silent(0.3)


def test_two_replies_to_one_question(impostor: StartImpostor, server: PostgresServer) -> None:
    def behave(connection: socket.socket) -> None:
        connection.sendall(ROW + ROW)
        connection.recv(4096)

    _, proxy = impostor(Tap(server, b"first", behave))
    with connect(proxy.host, proxy.port) as client, connect(proxy.host, proxy.port) as other:
        client.send(wire.query("SELECT 'first'"))
        # Whether the client sees the first reply or an error, it never sees the second as its own.
        codes = wire.codes(client.read_until("Z"))
        assert codes in ("TDCZ", "EZ")
        assert other.value("SELECT 'real'") == "real"
        with contextlib.suppress(Closed, OSError):
            assert wire.rows(client.query("SELECT 'real'")) in ([[b"real"]], [])


def test_parameter_status_and_notices_while_idle(
    impostor: StartImpostor, server: PostgresServer
) -> None:
    """Legal at any time: a reloaded server tells idle connections about its settings."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(ROW)
        time.sleep(0.1)
        connection.sendall(wire.message("S", b"application_name\0odd\0"))
        connection.sendall(wire.message("N", b"SNOTICE\0C00000\0Mhello\0\0"))

    _, proxy = impostor(Tap(server, b"first", behave, resume=True))
    with connect(proxy.host, proxy.port) as client:
        assert client.value("SELECT 'first'") == "fake"
        time.sleep(0.3)
        with connect(proxy.host, proxy.port) as other:
            assert other.value("SELECT 'real'") == "real"


def test_server_goes_silent_in_a_query(impostor: StartImpostor, server: PostgresServer) -> None:
    """No answer and no end: the client's own leaving must free the place in the budget."""

    def behave(connection: socket.socket) -> None:
        while connection.recv(4096):
            pass

    _, proxy = impostor(Tap(server, b"silence", behave))
    victims = [connect(proxy.host, proxy.port) for _ in range(2)]
    for victim in victims:
        victim.send(wire.query("SELECT 'silence'"))
        assert victim.silent(0.1)
        victim.close()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with WireClient(proxy.host, proxy.port) as client:
            client.login()
            if wire.rows(client.query("SELECT 1")) == [[b"1"]]:
                return
    pytest.fail("the places were never freed")
