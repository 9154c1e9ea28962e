"""Commands about prepared statements."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.mysql.streams import BOTH, client_stream, ok, pool_state, query, server_stream
from tests.support import mysql_messages as wire
from tests.support.mysql_relay import Relay, Session

if TYPE_CHECKING:
    from tests.support.mysql_servers import MysqlServer

CAPABILITIES = wire.BASE | BOTH


def test_long_data_keeps_the_connection_until_it_is_used(mysql_server: MysqlServer) -> None:
    relay = Relay(mysql_server)
    session = Session(relay, CAPABILITIES)
    session.exchange(b"\x16SELECT ?", relay.connections[0])
    session.exchange(b"\x18" + struct.pack("<IH", 1, 0) + b"long", relay.connections[1])
    assert session.stream.pin_reason() == "prepared_statement_in_use"
    execute = b"\x17" + struct.pack("<IBI", 1, 0, 1) + b"\0\x01\xfc\0"
    assert session.exchange(execute)[2].payload == b"\0\0\x04long"
    assert session.stream.pin_reason() == ""
    relay.close()


def test_a_cursor_keeps_the_connection_until_its_last_row(mysql_server: MysqlServer) -> None:
    relay = Relay(mysql_server)
    session = Session(relay, CAPABILITIES)
    session.exchange(b"\x16SELECT 1 FROM information_schema.engines LIMIT 2")
    session.exchange(b"\x17" + struct.pack("<IBI", 1, 1, 1), relay.connections[1])
    assert session.stream.pin_reason() == "prepared_statement_in_use"
    fetch = b"\x1c" + struct.pack("<II", 1, 5)
    assert len(session.exchange(fetch)) == 3
    assert session.stream.pin_reason() == ""
    assert session.exchange(fetch)[0].errno == 1421
    relay.close()


def test_closing_a_statement_closes_its_cursor(mysql_server: MysqlServer) -> None:
    relay = Relay(mysql_server)
    session = Session(relay, CAPABILITIES)
    session.exchange(b"\x16SELECT 1 FROM information_schema.engines")
    session.exchange(b"\x17" + struct.pack("<IBI", 1, 1, 1))
    session.exchange(b"\x19" + struct.pack("<I", 1))
    assert session.stream.pin_reason() == ""
    assert session.exchange(b"\x17" + struct.pack("<IBI", 1, 0, 1))[0].errno == 1243
    relay.close()


def test_what_cannot_be_prepared_again_fails_as_its_execution(mysql_server: MysqlServer) -> None:
    mysql_server.admin("DROP TABLE IF EXISTS app.brief", "CREATE TABLE app.brief (i INT)")
    relay = Relay(mysql_server)
    session = Session(relay, CAPABILITIES)
    session.exchange(b"\x16SELECT i FROM brief", relay.connections[0])
    mysql_server.admin("DROP TABLE app.brief")
    execute = b"\x17" + struct.pack("<IBI", 1, 0, 1)
    assert session.exchange(execute, relay.connections[1])[0].errno == 1146
    assert session.query("SELECT 1")[2].payload == b"\x011"
    relay.close()


def test_a_statement_that_asks_what_the_last_one_did_keeps_the_connection(
    mysql_server: MysqlServer,
) -> None:
    relay = Relay(mysql_server)
    session = Session(relay, CAPABILITIES)
    session.exchange(b"\x16SELECT ROW_COUNT()", relay.connections[0])
    assert session.stream.pin_reason() == "statement_outcome"
    execute = b"\x17" + struct.pack("<IBI", 1, 0, 1)
    session.exchange(b"\x03SELECT 1")
    assert session.exchange(execute)[2].payload == b"\0\0" + struct.pack("<q", -1)
    session.exchange(b"\x0e")
    assert session.exchange(execute)[2].payload == b"\0\0" + struct.pack("<q", 0)
    session.exchange(b"\x19" + struct.pack("<I", 1))
    assert session.stream.pin_reason() == ""
    relay.close()


def test_after_the_first_get_diagnostics_the_session_stays(mysql_server: MysqlServer) -> None:
    relay = Relay(mysql_server)
    session = Session(relay, CAPABILITIES)
    ask = b"\x03GET DIAGNOSTICS @n = NUMBER"
    session.exchange(b"\x03SELECT 1", relay.connections[0])
    assert session.exchange(ask, relay.connections[1])[-1].errno == 1235
    assert session.stream.pin_reason() == "statement_outcome"
    session.exchange(b"\x03SELECT 1")
    assert not session.exchange(ask)[-1].error
    session.exchange(b"\x1f")
    assert session.stream.pin_reason() == ""
    relay.close()


def test_the_next_command_waits_until_what_was_redefined_is_known() -> None:
    shared = pool_state()
    server, client = server_stream(shared), client_stream(shared)
    client.attach(server)
    client.receive(query("CREATE FUNCTION f() RETURNS INT RETURN GET_LOCK('a', 0)"))
    client.receive(query("SELECT f()"))
    assert client.waiting, "one command at a time"
    server.receive(ok())
    client.waiting = False
    client.receive(b"")
    assert b"information_schema.ROUTINES" in client.to_server
    assert b"SELECT f()" not in client.to_server
    assert client.waiting
    assert not client.to_client
