"""Bad bytes: the offender gets a clear error and is dropped; nobody else notices."""

from __future__ import annotations

import socket
import struct
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import messages as wire
from tests.support.proxy import ProxyProcess, ProxySettings
from tests.support.wire import WireClient, connect, eventually, stuff

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Place
    from tests.support.proxy import StartProxy
    from tests.support.servers import PostgresServer

MEGABYTE = 1 << 20
STALLED_ROWS = "SELECT repeat('x', 1000) FROM generate_series(1, 200000)"
"""200 MB that nobody reads."""


@pytest.fixture(autouse=True)
def neighbour(request: pytest.FixtureRequest) -> Iterator[None]:
    """A client that was there before and must be served during and after."""
    if "[direct" in request.node.name:
        yield
        return
    proxy: ProxyProcess = request.getfixturevalue("pooled")
    client = connect(proxy.host, proxy.port)
    yield
    assert client.value("SELECT 'still here'") == "still here"
    client.quit()
    # What a client had sent ahead may keep its backend busy until the proxy gives up on it.
    eventually(lambda: not proxy.server.backends(state="active", usename="app"), "idle again", 30)
    assert proxy.process.poll() is None
    proxy.assert_healthy_log()


GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "zeros": bytes(64),
    "ones": b"\xff" * 64,
    "length-0": struct.pack("!II", 0, wire.PROTOCOL_3_0),
    "length-7": struct.pack("!II", 7, wire.PROTOCOL_3_0),
    "length-negative": struct.pack("!iI", -1, wire.PROTOCOL_3_0),
    "length-2-GiB": struct.pack("!II", 0x7FFFFFFF, wire.PROTOCOL_3_0),
    "length-10001": struct.pack("!II", 10001, wire.PROTOCOL_3_0),
    "no-terminator": wire.untyped(struct.pack("!I", wire.PROTOCOL_3_0) + b"user\0app"),
    "odd-number-of-strings": wire.untyped(struct.pack("!I", wire.PROTOCOL_3_0) + b"user\0\0\0"),
    "bytes-after-the-end": wire.untyped(
        struct.pack("!I", wire.PROTOCOL_3_0) + b"user\0app\0\0more\0"
    ),
    "ssl-request-with-a-body": wire.untyped(struct.pack("!I", wire.SSL_CODE) + b"body"),
    "query-first": wire.query("SELECT 1"),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_at_start_up(pooled: ProxyProcess, name: str) -> None:
    with WireClient(pooled.host, pooled.port) as client:
        client.send(GARBAGE[name])
        said = client.drain()
        assert wire.codes(said) == "E"
        assert said[0].fields["S"] == "FATAL"
        assert said[0].fields["C"] in ("08P01", "0A000", "28000")


@pytest.mark.parametrize("body", [b"", b"abc", b"\0" * 4, b"\0" * 600])
def test_odd_cancel_requests(pooled: ProxyProcess, body: bytes) -> None:
    with WireClient(pooled.host, pooled.port) as client:
        client.send(wire.untyped(struct.pack("!I", wire.CANCEL_CODE) + body))
        assert all(message.code == "E" for message in client.drain())


def test_bytes_in_clear_behind_an_ssl_request(pooled: ProxyProcess) -> None:
    """CVE-2021-23214: they might have been injected, so they must never be read as if in TLS."""
    with WireClient(pooled.host, pooled.port) as client:
        client.send(wire.SSL_REQUEST, wire.startup({"user": "app", "database": "app"}))
        data = b""
        while chunk := client.socket.recv(4096):
            data += chunk
        assert data[:1] in (b"S", b"E", b"")
        assert b"R\0\0\0" not in data


@pytest.mark.parametrize(
    "data",
    [
        b"Q" + struct.pack("!i", -1),
        b"Q" + struct.pack("!i", 0),
        b"Q" + struct.pack("!i", 3),
        b"S" + struct.pack("!i", 2),
        b"Q" + struct.pack("!i", 0x7FFFFFFF) + b"SELECT 1",
        b"Q" + struct.pack("!i", -0x80000000),
        b"S" + struct.pack("!i", 20000),
        b"H" + struct.pack("!i", 0x7FFFFFFF),
        b"X" + struct.pack("!i", 0x7FFFFFFF),
    ],
    ids=lambda data: f"{data[:1].decode()}-{struct.unpack_from('!i', data, 1)[0]}",
)
def test_lengths(place: Place, data: bytes) -> None:
    with connect(place.host, place.port) as client:
        client.send(data)
        assert wire.states(client.drain()) in (["08P01"], [])


@pytest.mark.parametrize("code", ["!", "\0", "p", "R", "Z", "T", "\x7f"])
def test_unknown_message_types(place: Place, code: str) -> None:
    with connect(place.host, place.port) as client:
        client.send(wire.message(code, b"whatever"))
        said = client.drain()
        assert wire.states(said) == ["08P01"]
        assert said[-1].fields["M"] == f"invalid frontend message type {ord(code)}"


def test_wrong_message_in_a_transaction_rolls_back(place: Place) -> None:
    with connect(place.host, place.port) as admin:
        admin.query("DROP TABLE IF EXISTS bad_input; CREATE TABLE bad_input (x int)")
        with connect(place.host, place.port) as client:
            client.query("BEGIN")
            client.query("INSERT INTO bad_input VALUES (1)")
            client.send(wire.message("!"))
            assert wire.states(client.drain()) == ["08P01"]
        admin.query("LOCK TABLE bad_input")
        assert admin.value("SELECT count(*) FROM bad_input") == "0"
        admin.query("DROP TABLE bad_input")


@pytest.mark.parametrize(
    "data",
    [
        wire.message("Q", b"SELECT 1"),
        wire.message("Q", b""),
        wire.message("P", b"s1"),
        wire.message("P", b"s1\0SELECT 1"),
        wire.message("P", b"s1\0SELECT 1\0\0\x05"),
        wire.message("P", b"s1\0SELECT 1\0\0\x05\0\0\0\x17"),
        wire.message("B", b""),
        wire.message("B", b"\0\0"),
        wire.message("B", b"\0\0\0\0\0\x02\0\0\0\x01x"),
        wire.message("B", b"\0\0\0\0\0\x01\x7f\xff\xff\xff"),
        wire.message("D", b""),
        wire.message("D", b"Sx"),
        wire.message("D", b"Xx\0"),
        wire.message("C", b"Xx\0"),
        wire.message("E", b""),
        wire.message("E", b"\0\0"),
        wire.message("S", b"more"),
        wire.message("F", b"\0\0"),
    ],
    ids=repr,
)
def test_malformed_bodies(place: Place, data: bytes) -> None:
    with connect(place.host, place.port) as client:
        client.send(wire.parse("SELECT $1::text"), data, wire.SYNC)
        said = client.read()
        while said.code in "123nt":
            said = client.read()
        assert said.code == "E"
        assert said.fields["C"] == "08P01"


def test_one_byte_at_a_time(place: Place) -> None:
    with WireClient(place.host, place.port) as client:

        def trickle(data: bytes) -> None:
            for offset in range(len(data)):
                client.send(data[offset : offset + 1])

        trickle(wire.startup({"user": "app", "database": "app"}))
        assert client.authenticate()[-1].code == "Z"
        trickle(wire.query("SELECT 'one byte'"))
        assert wire.rows(client.read_until()) == [[b"one byte"]]
        trickle(wire.parse("SELECT $1::text", "s1") + wire.SYNC)
        client.read_until()
        trickle(wire.bind("x" * 200, name="s1") + wire.execute() + wire.SYNC)
        assert wire.rows(client.read_until()) == [[b"x" * 200]]
        trickle(wire.query("COPY (SELECT 1) TO STDOUT"))
        assert wire.codes(client.read_until()) == "HdcCZ"
        trickle(wire.TERMINATE)
        assert client.drain() == []


def test_half_closed_after_a_query_still_gets_the_reply(place: Place) -> None:
    with connect(place.host, place.port) as client:
        client.send(wire.query("SELECT 'last words' FROM pg_sleep(0.2)"))
        client.socket.shutdown(socket.SHUT_WR)
        assert wire.rows(client.drain()) == [[b"last words"]]


def test_half_closed_in_a_transaction_is_rolled_back(pooled: ProxyProcess) -> None:
    with connect(pooled.host, pooled.port) as client:
        client.query("BEGIN")
        client.query("SELECT pg_advisory_xact_lock(777)")
        client.socket.shutdown(socket.SHUT_WR)
        client.drain()
    with connect(pooled.host, pooled.port) as after:
        assert after.value("SELECT pg_try_advisory_xact_lock(777)") == "t"


def test_slow_loris(server: PostgresServer, start_proxy: StartProxy) -> None:
    proxy = start_proxy(ProxySettings(server, proxy={"login_timeout_s": 1.0}))
    opening = wire.startup({"user": "app", "database": "app"})
    stalled = [WireClient(proxy.host, proxy.port) for _ in range(100)]
    began = time.monotonic()
    for number, client in enumerate(stalled):
        client.send(opening[: number % (len(opening) + 1)])
    with connect(proxy.host, proxy.port) as good:
        assert good.value("SELECT 1") == "1"
        assert time.monotonic() - began < 5
    for client in stalled:
        last = [message for message in client.drain() if message.code != "R"]
        assert wire.states(last) in ([], ["08006"])
        client.close()
    assert time.monotonic() - began < 6
    eventually(lambda: proxy.descriptors() < 60, "rid of them")


def test_client_that_never_reads(pooled: ProxyProcess, server: PostgresServer) -> None:
    before = pooled.memory_bytes()
    client = connect(pooled.host, pooled.port)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.send(wire.query(STALLED_ROWS))
    eventually(
        lambda: bool(server.backends(usename="app", wait_event="ClientWrite")),
        "held up by back-pressure",
    )
    with connect(pooled.host, pooled.port) as other:
        assert other.value("SELECT 1") == "1"
    assert pooled.memory_bytes() - before < 16 * MEGABYTE
    client.close()
    eventually(lambda: not server.backends(usename="app", state="active"), "cancelled")


def test_client_that_never_reads_many_replies(pooled: ProxyProcess) -> None:
    """Queries pile up, and their replies: neither may pile up in the proxy."""
    before = pooled.memory_bytes()
    client = connect(pooled.host, pooled.port)
    padding = "p" * 4000
    packet = wire.query(f"SELECT repeat('x', 100000), '{padding}'") * 100
    sent, stopped = stuff(client.socket, packet)
    assert stopped, f"took {sent} bytes without a stop"
    assert pooled.memory_bytes() - before < 16 * MEGABYTE
    client.close()
