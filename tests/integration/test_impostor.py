"""A server of our own that breaks off, says nothing, or talks nonsense."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support import messages as wire
from tests.support.local_postgres import free_port
from tests.support.proxy import ProxyProcess, ProxySettings
from tests.support.wire import Closed, WireClient, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.proxy import StartProxy
    from tests.support.servers import PostgresServer


class Impostor:
    """A server of our own: it runs one function per connection."""

    def __init__(self, behave: Callable[[socket.socket], None]) -> None:
        self.behave = behave
        self.host, self.port = "127.0.0.1", free_port()
        self.accepted = 0
        self._listener = socket.create_server((self.host, self.port))
        self._threads = [threading.Thread(target=self._run, daemon=True)]
        self._threads[0].start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.accepted += 1
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, Closed):
            connection.settimeout(20)
            self.behave(connection)

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()


Behaviour = Callable[[socket.socket], None]
StartImpostor = Callable[[Behaviour], tuple[Impostor, ProxyProcess]]


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


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _greet(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(GREETING)


def _answer_all(connection: socket.socket) -> None:
    _greet(connection)
    _until_asked_for(connection, b"never asked for")


def _until_asked_for(connection: socket.socket, word: bytes) -> None:
    """Answer each simple query with a row until one contains the word."""
    while data := connection.recv(65536):
        if word in data:
            return
        for _ in range(max(data.count(b"Q\0"), data.count(b"S\0\0\0\x04"))):
            connection.sendall(ROW)
    raise Closed("left")


def test_impostor_is_believable(server: PostgresServer) -> None:
    """Clients take it for a server, so what the proxy makes of it means something."""
    fake = Impostor(lambda connection: _answer_all(connection))
    try:
        info = server.conninfo(host=fake.host, port=fake.port, sslmode="disable")
        with psycopg.connect(info, autocommit=True, prepare_threshold=None) as connection:
            assert connection.pgconn.parameter_status(b"TimeZone") == b"UTC"
        with WireClient(fake.host, fake.port) as client:
            assert client.login()[-1].code == "Z"
            assert client.value("SELECT 1") == "fake"
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


@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("name", BROKEN_REPLIES)
def test_server_breaks_off(impostor: StartImpostor, name: str, way: str) -> None:
    """The client whose reply it was gets an error that ends its connection; the next is served."""

    def behave(connection: socket.socket) -> None:
        _greet(connection)
        _until_asked_for(connection, b"break")
        connection.sendall(BROKEN_REPLIES[name])
        if way == "reset":
            time.sleep(0.05)
            _reset(connection)

    _, proxy = impostor(behave)
    with connect(proxy.host, proxy.port) as client, connect(proxy.host, proxy.port) as other:
        client.send(wire.query("break it"))
        with contextlib.suppress(Closed, ConnectionResetError):
            while client.read().code != "E":
                pass
        assert client.drain() == []
        assert other.value("SELECT 1") == "fake"


def test_server_speaks_unasked(impostor: StartImpostor) -> None:
    """A reply before any question: that connection is out of step and must never be lent."""

    def behave(connection: socket.socket) -> None:
        _greet(connection)
        _until_asked_for(connection, b"first")
        connection.sendall(ROW)
        time.sleep(0.1)
        connection.sendall(ROW)
        connection.recv(4096)

    _, proxy = impostor(behave)
    with connect(proxy.host, proxy.port) as client:
        assert client.value("first") == "fake"
        time.sleep(0.5)
        client.send(wire.query("first again"))
        assert wire.codes(client.read_until()) == "TDCZ"
        assert client.silent(0.3)


def test_parameter_status_and_notices_while_idle(impostor: StartImpostor) -> None:
    """Legal at any time: a reloaded server tells idle connections about its settings."""

    def behave(connection: socket.socket) -> None:
        _greet(connection)
        _until_asked_for(connection, b"first")
        connection.sendall(ROW)
        time.sleep(0.1)
        connection.sendall(wire.message("S", b"TimeZone\0Asia/Tokyo\0"))
        connection.sendall(wire.message("N", b"SNOTICE\0C00000\0Mhello\0\0"))
        _until_asked_for(connection, b"never")

    _, proxy = impostor(behave)
    with connect(proxy.host, proxy.port) as client:
        assert client.value("first") == "fake"
        time.sleep(0.3)
        assert client.value("SELECT 2") == "fake"
