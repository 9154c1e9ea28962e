"""Commands that need no server connection."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import BorrowTimeout, ClientProtocolError, PacketsOutOfOrder, UnknownSession
from proxy.wire.dialect import Kill, LogInAgain
from proxy.wire.stream import NEED_BYTES, NEED_NOTHING, NEED_SERVER
from tests.mysql.streams import BOTH, client_stream, command, ok, pool_state, query
from tests.support import mysql_messages as wire
from tests.support.mysql_relay import read_packets


def test_a_ping_is_answered() -> None:
    client = client_stream(pool_state())
    assert client.demand(command(0x0E)) == NEED_BYTES
    assert client.to_client == ok()
    assert not client.held


def test_a_query_needs_a_server() -> None:
    client = client_stream(pool_state())
    assert client.demand(command(0x0E) + query("SELECT 1")) == NEED_SERVER
    assert client.to_client == ok()
    assert client.held == query("SELECT 1")


@given(st.integers(0, 12))
def test_half_a_command_waits(cut: int) -> None:
    client = client_stream(pool_state())
    assert client.demand(query("SELECT 1")[:cut]) == NEED_BYTES
    assert client.demand(client.held + query("SELECT 1")[cut:]) == NEED_SERVER


def test_goodbye() -> None:
    client = client_stream(pool_state())
    assert client.demand(command(0x01)) == NEED_NOTHING
    assert client.terminated


@pytest.mark.parametrize(
    ("data", "kind"),
    [(b"\x01\0\0\x01\x0e", PacketsOutOfOrder), (b"\0\0\0\0", ClientProtocolError)],
)
def test_what_is_no_command(data: bytes, kind: type[Exception]) -> None:
    client = client_stream(pool_state())
    assert client.demand(data) == NEED_NOTHING
    assert isinstance(client.error, kind)


@pytest.mark.parametrize(
    ("payload", "errno"),
    [
        (b"\x17" + struct.pack("<IBI", 9, 0, 1), 1243),
        (b"\x1c" + struct.pack("<II", 9, 1), 1243),
        (b"\x1a" + struct.pack("<I", 9), 1243),
        (b"\x12", 1235),
        (b"\x1e", 1235),
    ],
)
def test_what_is_refused_without_a_server(payload: bytes, errno: int) -> None:
    client = client_stream(pool_state())
    client.demand(command(payload[0], payload[1:]))
    (found,) = read_packets(client.to_client)
    assert found.errno == errno


def test_closing_an_unknown_statement_says_nothing() -> None:
    client = client_stream(pool_state())
    assert client.demand(command(0x19, bytes(4))) == NEED_BYTES
    assert client.to_client == b""


def test_a_refused_command_is_dropped_to_its_end() -> None:
    client = client_stream(pool_state())
    long = query("SELECT '" + "x" * (2 << 20) + "'")
    assert client.demand(long[: 1 << 20]) == NEED_SERVER
    client.refuse(BorrowTimeout("no connection"))
    assert read_packets(client.to_client)[0].errno == 1040
    assert client.demand(long[1 << 20 :] + command(0x0E)) == NEED_BYTES
    assert client.to_client == ok()


@pytest.mark.parametrize("capabilities", [wire.BASE, wire.BASE | BOTH])
def test_the_end_of_the_login(capabilities: int) -> None:
    client = client_stream(pool_state(), capabilities)
    (found,) = read_packets(client.greet())
    assert found.sequence == 2
    schema = b"\0\x06\x01\x04\x03app"
    tracked = capabilities & wire.SESSION_TRACK
    assert found.payload == (b"\0\0\0\x02@\0\0" + schema if tracked else b"\0\0\0\x02\0\0\0")


@pytest.mark.parametrize("capabilities", [wire.BASE, wire.BASE | wire.SESSION_TRACK])
def test_the_end_of_a_login_to_mariadb(capabilities: int) -> None:
    shared = pool_state()
    shared.told_at_login = "autocommit"
    client = client_stream(shared, capabilities)
    client.facts = replace(client.facts, proof=b"\x01FF")
    (found,) = read_packets(client.greet())
    told = b"\0\0\0\x02@\0\0\x03\x01FF\x16\0\x0e\x0aautocommit\x02ON\x01\x04\x03app"
    tracked = capabilities & wire.SESSION_TRACK
    assert found.payload == (told if tracked else b"\0\0\0\x02\0\0\0\x03\x01FF")
    client.facts = replace(client.facts, proof=b"", again=True)
    assert b"autocommit" not in client.greet()


@pytest.mark.parametrize(
    ("data", "errand"),
    [
        (query(f"KILL QUERY {1 << 30}"), Kill(1 << 30, query_only=True)),
        (query(f"KILL {1 << 30}"), Kill(1 << 30, query_only=False)),
        (command(0x0C, struct.pack("<I", 1 << 30)), Kill(1 << 30, query_only=False)),
    ],
)
def test_sessions_of_ours_are_killed_by_the_proxy(data: bytes, errand: Kill) -> None:
    client = client_stream(pool_state())
    assert client.demand(data + query("SELECT 1")) == NEED_NOTHING
    assert client.errand == errand
    assert client.held == query("SELECT 1")
    client.errand = None
    client.errand_done(None)
    assert client.to_client == ok()
    client.errand_done(UnknownSession("Unknown thread id: 5"))
    (found,) = read_packets(client.to_client)
    assert (found.sequence, found.errno) == (1, 1094)


def test_threads_of_the_servers_are_killed_by_it() -> None:
    for data in (query("KILL 77"), query("KILL @id"), command(0x0C, struct.pack("<I", 77))):
        client = client_stream(pool_state())
        assert client.demand(data) == NEED_SERVER
        assert client.errand is None


def test_a_change_of_user_is_for_the_proxy() -> None:
    client = client_stream(pool_state())
    assert client.demand(command(0x11, b"app\0") + query("SELECT 1")) == NEED_NOTHING
    assert client.errand == LogInAgain(b"\x11app\0", client.facts)
    assert client.held == query("SELECT 1")
