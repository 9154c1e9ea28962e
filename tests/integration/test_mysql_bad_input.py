"""Bad packets of MySQL clients: the offender gets a clear error; nobody else notices."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import mysql_messages as wire
from tests.support.mysql_proxy import mysql_proxy_settings
from tests.support.mysql_wire import Closed, MysqlClient, connect
from tests.support.proxy import ProxyProcess, running_proxy
from tests.support.wire import eventually, stuff

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.mysql_servers import MysqlServer
    from tests.support.proxy import StartProxy

MEGABYTE = 1 << 20
ALLOWANCE = 16 * MEGABYTE
OUT_OF_ORDER, BAD_HANDSHAKE, DENIED = 1156, 1043, 1045
DIGITS = "(SELECT 0 UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4)"
STALLED_ROWS = "SELECT REPEAT('x', 200000) FROM " + ", ".join(f"{DIGITS} d{n}" for n in range(5))
"""600 MB that nobody reads."""
ECHO = b"SELECT ?"


@pytest.fixture(scope="module")
def proxy(
    mysql_server: MysqlServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxyProcess]:
    """A proxy with a pool of two."""
    made = mysql_proxy_settings(mysql_server, {"max_connections": 2})
    with running_proxy(made, tmp_path_factory.mktemp("mysql-bad-input")) as running:
        yield running


@pytest.fixture(autouse=True)
def neighbour(proxy: ProxyProcess, mysql_server: MysqlServer) -> Iterator[None]:
    """A client that was there before and must be served during and after."""
    with client_of(proxy) as client:
        assert client.rows("SELECT 'here'") == [("here",)]
        yield
        assert client.rows("SELECT 'still here'") == [("still here",)]
    assert proxy.process.poll() is None
    proxy.assert_healthy_log()


def client_of(place: ProxyProcess | MysqlServer) -> MysqlClient:
    """Log in."""
    return connect(place.host, place.port, "app", "app-secret", "app")


def drain(client: MysqlClient) -> list[wire.Packet]:
    """Read to the end."""
    said = []
    with contextlib.suppress(Closed, ConnectionError):
        while True:
            said.append(client.read())
    return said


def last_words(place: ProxyProcess | MysqlServer, data: bytes) -> list[int]:
    """Send bytes behind a login; error codes of all that comes until the connection is closed."""
    with client_of(place) as client:
        client.socket.sendall(data)
        return [packet.errno if packet.error else 0 for packet in drain(client)]


@pytest.mark.parametrize("sequence", [1, 7, 255])
@pytest.mark.parametrize("code", [wire.QUERY, wire.PING, wire.PREPARE, wire.QUIT])
def test_wrong_sequence_ids(proxy: ProxyProcess, sequence: int, code: int) -> None:
    assert last_words(proxy, wire.packets(bytes([code]) + b"SELECT 1", sequence)) == [OUT_OF_ORDER]


def test_wrong_sequence_ids_in_a_transaction_roll_it_back(
    proxy: ProxyProcess, mysql_server: MysqlServer
) -> None:
    mysql_server.admin("DROP TABLE IF EXISTS app.bad_input", "CREATE TABLE app.bad_input (a INT)")
    with client_of(proxy) as client:
        client.query("BEGIN")
        client.query("INSERT INTO bad_input VALUES (1)")
        client.send(bytes([wire.QUERY]) + b"COMMIT", 3)
        assert [packet.errno for packet in drain(client)] == [OUT_OF_ORDER]
    with client_of(proxy) as client:
        client.query("SET lock_wait_timeout = 10")
        assert not client.query("LOCK TABLES bad_input WRITE")[-1].error
        assert client.rows("SELECT COUNT(*) FROM bad_input") == [("0",)]
        client.query("UNLOCK TABLES")
        client.query("DROP TABLE bad_input")


def test_empty_commands(proxy: ProxyProcess) -> None:
    said = last_words(proxy, b"\0\0\0\0")
    assert len(said) == 1
    assert said[0]


@pytest.mark.parametrize("code", [0x00, 0x05, 0x0B, 0x10, 0x1D, 0x7F, 0xF0, 0xFF])
def test_unknown_commands_are_answered_as_directly(
    proxy: ProxyProcess, mysql_server: MysqlServer, code: int
) -> None:
    told = []
    for place in (mysql_server, proxy):
        with client_of(place) as client:
            client.send(bytes([code]) + b"whatever")
            first = client.read()
            told.append((first.sequence, first.payload))
            assert client.rows("SELECT 1") == [("1",)]
    assert told[0] == told[1]


TRUNCATED = {
    "query": wire.packets(b"\x03SELECT 1")[:-3],
    "prepare": wire.packets(b"\x16SELECT 1")[:-3],
    "header": b"\x05\0",
    "nothing but a header": b"\x05\0\0\0",
    "execute": wire.packets(b"\x17\1\0\0\0\0\1\0\0\0")[:-3],
    "16 MiB": b"\xff\xff\xff\0\x03SELECT 1",
    "continued": b"\xff\xff\xff\0\x03" + b" " * (wire.MAX_PAYLOAD - 1),
}


@pytest.mark.parametrize("name", TRUNCATED)
@pytest.mark.parametrize("half", [True, False], ids=["half-closed", "closed"])
def test_truncated_packets(
    proxy: ProxyProcess, mysql_server: MysqlServer, name: str, half: bool
) -> None:
    client = client_of(proxy)
    client.socket.sendall(TRUNCATED[name])
    if half:
        client.socket.shutdown(socket.SHUT_WR)
        assert all(packet.error for packet in drain(client))
    client.close()
    # Both places in the pool are free again.
    with client_of(proxy) as one, client_of(proxy) as other:
        for each in (one, other):
            assert not each.query("BEGIN")[-1].error
            assert each.rows("SELECT 1") == [("1",)]


SHORT = {
    "execute without a body": b"\x17",
    "execute with half an id": b"\x17\1\0",
    "execute that ends behind its id": b"\x17\1\0\0\0",
    "execute without its nulls": b"\x17\1\0\0\0\0\1\0\0\0",
    "execute without types": b"\x17\1\0\0\0\0\1\0\0\0\0\1",
    "execute without values": b"\x17\1\0\0\0\0\1\0\0\0\0\1\xfd\0",
    "length beyond the end": b"\x17\1\0\0\0\0\1\0\0\0\0\1\xfd\0\xfd\xff\xff\xff" + b"abc",
    "length of eight bytes": b"\x17\1\0\0\0\0\1\0\0\0\0\1\xfd\0\xfe" + b"\xff" * 8 + b"abc",
    "length that is cut off": b"\x17\1\0\0\0\0\1\0\0\0\0\1\xfd\0\xfc\1",
    "length that is none": b"\x17\1\0\0\0\0\1\0\0\0\0\1\xfd\0\xff",
    "date of 200 bytes": b"\x17\1\0\0\0\0\1\0\0\0\0\1\x0c\0\xc8\1\2",
    "unknown type": b"\x17\1\0\0\0\0\1\0\0\0\0\1\x77\0\3abc",
    "fetch without a number": b"\x1c\1\0\0\0",
    "reset with half an id": b"\x1a\1",
    "close with half an id": b"\x19\1",
    "long data without a parameter": b"\x18\1\0\0\0",
    "long data of parameter 999": b"\x18\1\0\0\0\xe7\3abc",
    "set option without one": b"\x1b",
    "set option 9": b"\x1b\x09\0",
    "kill without a number": b"\x0c",
    "field list without an end": b"\x04bad_input",
    "schema without a name": b"\x02",
}


@pytest.mark.parametrize("name", SHORT)
def test_malformed_bodies_harm_nobody(proxy: ProxyProcess, name: str) -> None:
    with client_of(proxy) as client:
        assert not client.exchange(bytes([wire.PREPARE]) + ECHO)[0].error
        client.send(SHORT[name])
        client.socket.shutdown(socket.SHUT_WR)
        said = drain(client)
    # CLOSE and SEND_LONG_DATA are never answered; the rest is, by an error or as directly.
    assert said or SHORT[name][0] in (wire.CLOSE, wire.LONG_DATA)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(code=st.sampled_from(range(0x02, 0x23)), body=st.binary(max_size=20))
def test_any_body_of_any_command(proxy: ProxyProcess, code: int, body: bytes) -> None:
    with client_of(proxy) as client:
        client.exchange(bytes([wire.PREPARE]) + ECHO)
        client.send(bytes([code]) + body)
        client.socket.shutdown(socket.SHUT_WR)
        drain(client)
    assert "Traceback" not in proxy.log()


def test_commands_ahead_of_the_reply_are_answered_in_order(
    proxy: ProxyProcess, mysql_server: MysqlServer
) -> None:
    """Nobody may send them, but a server reads them when it has answered; so do we."""
    sent = [b"\x03SELECT SLEEP(0.1), 'first'", b"\x0e", b"\x03SELECT nosuch", b"\x03SELECT 'last'"]
    told = []
    for place in (mysql_server, proxy):
        with client_of(place) as client:
            client.socket.sendall(b"".join(map(wire.packets, sent)))
            replies = [client.reply(payload[0]) for payload in sent]
            told.append([(p.sequence, p.payload) for reply in replies for p in reply])
    assert told[0] == told[1]


def test_a_command_in_the_middle_of_a_result(proxy: ProxyProcess) -> None:
    with client_of(proxy) as client:
        client.send(b"\x03" + STALLED_ROWS.encode() + b" LIMIT 200")
        client.read()
        client.send(b"\x03SELECT 'held'")
        client.send(b"\x03SELECT 'held'", 9)
        said = drain(client)
    assert said[-1].errno == OUT_OF_ORDER
    assert said[-2].ends_rows
    assert said[-3].payload == wire.lenenc(b"held")
    assert sum(len(packet.payload) > 200000 for packet in said) == 200


def test_quitting_in_the_middle_of_a_result(proxy: ProxyProcess, mysql_server: MysqlServer) -> None:
    with client_of(proxy) as client:
        client.send(b"\x03" + STALLED_ROWS.encode())
        client.read()
        client.send(bytes([wire.QUIT]))
    eventually(lambda: not _stalled(mysql_server), "killed")


def _stalled(server: MysqlServer) -> bool:
    found = server.admin(
        "SELECT COUNT(*) FROM information_schema.processlist"
        " WHERE info LIKE 'SELECT REPEAT(%' AND command = 'Query'"
    )
    return found != [("0",)]


def test_a_client_that_never_reads(proxy: ProxyProcess, mysql_server: MysqlServer) -> None:
    before = proxy.memory_bytes()
    client = client_of(proxy)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.send(b"\x03" + STALLED_ROWS.encode())
    eventually(lambda: _stalled(mysql_server), "under way")
    with client_of(proxy) as other:
        assert other.rows("SELECT 1") == [("1",)]
        time.sleep(0.5)
        assert _stalled(mysql_server), "the server is held up by back-pressure"
        assert proxy.memory_bytes() - before < ALLOWANCE
    client.close()
    eventually(lambda: not _stalled(mysql_server), "killed")


def test_a_client_that_never_reads_many_replies(proxy: ProxyProcess) -> None:
    """Queries pile up, and their replies: neither may pile up in the proxy."""
    before = proxy.memory_bytes()
    client = client_of(proxy)
    packet = wire.packets(f"\x03SELECT REPEAT('x', 100000), '{'p' * 4000}'".encode()) * 100
    sent, stopped = stuff(client.socket, packet)
    assert stopped, f"took {sent} bytes without a stop"
    assert proxy.memory_bytes() - before < ALLOWANCE
    client.close()


def test_a_client_that_never_reads_is_dropped_in_time(
    mysql_server: MysqlServer, start_proxy: StartProxy
) -> None:
    made = mysql_proxy_settings(mysql_server, {"max_connections": 1})
    made.proxy["idle_transaction_timeout_s"] = 1.0
    front = start_proxy(made)
    with client_of(front) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send(b"\x03" + STALLED_ROWS.encode())
        eventually(lambda: _stalled(mysql_server), "under way")
        eventually(lambda: not _stalled(mysql_server), "dropped", 15)
        with client_of(front) as other:
            assert other.rows("SELECT 1") == [("1",)]


def test_one_byte_at_a_time(proxy: ProxyProcess) -> None:
    with client_of(proxy) as client:
        for payload in (b"\x03SELECT 'one byte'", b"\x16SELECT ?", b"\x0e"):
            for byte in wire.packets(payload):
                client.socket.sendall(bytes([byte]))
            assert not client.reply(payload[0])[-1].error
        execute = b"\x17\1\0\0\0\0\1\0\0\0\0\1\xfd\0" + wire.lenenc(b"x" * 200)
        for byte in wire.packets(execute):
            client.socket.sendall(bytes([byte]))
        assert wire.lenenc(b"x" * 200) in client.reply(execute[0])[-2].payload


HEAD = struct.pack("<IIB23x", wire.BASE | wire.WITH_DB, 1 << 26, 45)
LOGINS = {
    "long user": HEAD + b"u" * 3000 + b"\0\0app\0",
    "proof of 255 bytes": HEAD + b"app\0" + b"\xff" + bytes(255) + b"app\0",
    "proof longer than the packet": HEAD + b"app\0" + b"\xff" + bytes(20),
    "proof of half the length": HEAD + b"app\0" + b"\x0a" + bytes(10) + b"app\0",
    "long schema": HEAD + b"app\0\0" + b"d" * 3000 + b"\0",
    "long plugin": HEAD + b"app\0\0app\0" + b"p" * 3000 + b"\0",
    "no end of user": HEAD + b"app",
    "nothing behind the head": HEAD,
    "long attributes": struct.pack("<IIB23x", wire.BASE | 1 << 20, 1 << 26, 45)
    + b"app\0\0\xfe" + b"\xff" * 8 + b"name",
    "long proof by length": struct.pack("<IIB23x", wire.BASE | 1 << 21, 1 << 26, 45)
    + b"app\0\xfd\xff\xff\xff" + bytes(100),
}  # fmt: skip


@pytest.mark.parametrize("name", LOGINS)
def test_logins_that_are_too_long_or_cut_off(proxy: ProxyProcess, name: str) -> None:
    with MysqlClient(proxy.host, proxy.port) as client:
        client.read()
        client.send(LOGINS[name], 1)
        said = client.read()
        if said.payload[0] == 0xFE:
            # Asked to use another plugin: with far too much.
            client.send(bytes(70000), client.sequence)
            said = client.read()
        if said.payload[:1] == b"\1":
            client.send(bytes(70000), client.sequence)
            said = client.read()
        assert said.errno in (BAD_HANDSHAKE, DENIED, 1044, 1049), said
        assert drain(client) == []


def test_a_command_longer_than_the_server_takes(proxy: ProxyProcess) -> None:
    """65 MiB: both servers' ``max_allowed_packet`` is less. They close the connection.

    The session was pinned to it, so the client is told that it has gone, as of any other.
    """
    before = proxy.memory_bytes()
    long = wire.packets(b"\x03SELECT LENGTH('" + b"x" * (65 * MEGABYTE) + b"')")
    with client_of(proxy) as client:
        with contextlib.suppress(ConnectionError):
            client.socket.sendall(long)
        said = drain(client)
    assert [packet.errno for packet in said] in ([1153, 1158], [1158]), said
    assert proxy.memory_bytes() - before < ALLOWANCE
