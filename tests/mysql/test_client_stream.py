"""A client's commands against real servers, on connections that it shares with an adversary."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from tests.mysql.streams import BOTH, client_stream, pool_state, query, result, server_stream
from tests.support import mysql_messages as wire
from tests.support.mysql_relay import Relay, Session
from tests.support.mysql_wire import MysqlClient

if TYPE_CHECKING:
    from tests.support.mysql_messages import Packet
    from tests.support.mysql_servers import MysqlServer

ADVERSARY = (
    "SET sql_mode = 'ANSI_QUOTES', time_zone = '+05:00', NAMES latin1",
    "SET @a = 'theirs'",
    "SELECT 1/0 FROM information_schema.engines",
    "SELECT LAST_INSERT_ID(4711)",
)
SCRIPTS = {
    "settings": (
        "SET sql_mode = 'PIPES_AS_CONCAT'",
        "SELECT 'a' || 'b', @@sql_mode",
        "SET time_zone = '+03:00'",
        "SELECT @@time_zone",
        "SET NAMES utf8mb4",
        "SELECT @@character_set_client, @@collation_connection",
        "SET autocommit = 0",
        "SELECT @@autocommit",
        "SELECT COUNT(*) FROM things",
        "COMMIT",
    ),
    "variables": ("SET @a = 1.50, @b = 'x'", "SELECT @a, @b", "SET @a = @a + 1", "SELECT @a"),
    "warnings": (
        "INSERT IGNORE INTO things (id, name) VALUES (1, 'more than ten letters')",
        "SHOW WARNINGS",
        "SHOW COUNT(*) WARNINGS",
        "SELECT nope",
        "SHOW ERRORS",
        "SHOW WARNINGS LIMIT 1",
    ),
    "outcomes": (
        "INSERT INTO things (name) VALUES ('a'), ('b')",
        "SELECT LAST_INSERT_ID()",
        "SELECT SQL_CALC_FOUND_ROWS id FROM things LIMIT 1",
        "SELECT FOUND_ROWS()",
    ),
    "several results": ("SELECT 1; SELECT 2; DO 1", "SELECT 1; SELECT nope; SELECT 2"),
}


def arrange(server: MysqlServer) -> None:
    """Make the table that the scripts use anew."""
    server.admin(
        "DROP TABLE IF EXISTS app.things",
        "CREATE TABLE app.things (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(10))",
    )


def play(server: MysqlServer, script: tuple[str, ...], capabilities: int) -> list[list[Packet]]:
    """Run a script on two connections by turns, after the adversary has been on each."""
    arrange(server)
    relay = Relay(server)
    session, adversary = Session(relay, capabilities), Session(relay, capabilities)
    try:
        found = []
        for index, sql in enumerate(script):
            connection = relay.connections[index % 2]
            if session.on is None:
                adversary.query(ADVERSARY[index % len(ADVERSARY)], connection)
            found.append(session.query(sql, connection))
        return found
    finally:
        relay.close()


@pytest.mark.parametrize("capabilities", [wire.BASE, wire.BASE | BOTH])
@pytest.mark.parametrize("name", SCRIPTS)
def test_as_on_a_connection_of_its_own(
    mysql_server: MysqlServer, name: str, capabilities: int
) -> None:
    arrange(mysql_server)
    with MysqlClient(mysql_server.host, mysql_server.port) as client:
        client.login("app", "app-secret", "app", capabilities=capabilities)
        direct = [client.query(sql) for sql in SCRIPTS[name]]
    proxied = play(mysql_server, SCRIPTS[name], capabilities)
    for sql, expected, found in zip(SCRIPTS[name], direct, proxied, strict=True):
        assert unordered(found) == unordered(expected), sql


def unordered(reply: list[Packet]) -> list[object]:
    """A reply without what no proxy can tell.

    MariaDB reports variables in any order, and MySQL counts the warnings of parsing in the EOF
    behind the columns, which a server connection with DEPRECATE_EOF does not send.
    """
    found: list[object] = []
    for packet in reply:
        if packet.payload[:1] == b"\0":
            found.append(sorted(packet.payload))
        elif packet.ends_rows and len(packet.payload) == 5 and packet is not reply[-1]:
            found.append(packet.payload[3:])
        else:
            found.append(packet)
    return found


def test_prepared_statements_are_prepared_where_they_are_needed(mysql_server: MysqlServer) -> None:
    relay = Relay(mysql_server)
    one, two = relay.connections
    session = Session(relay, wire.BASE | BOTH)
    session.exchange(b"\x16SELECT ?", one)
    execute = b"\x17" + struct.pack("<IBI", 1, 0, 1)
    first = session.exchange(execute + b"\0\x01\x08\0" + struct.pack("<q", 1), one)
    again = session.exchange(execute + b"\0\0" + struct.pack("<q", 2), two)
    assert first[2].payload[2:] == struct.pack("<q", 1)
    assert again[2].payload[2:] == struct.pack("<q", 2)
    assert session.stream.pin_reason() == ""
    relay.close()


def test_a_second_command_is_held_until_the_first_is_answered() -> None:
    shared = pool_state()
    server, client = server_stream(shared), client_stream(shared)
    client.attach(server)
    client.receive(query("SELECT 1") + query("SELECT 2"))
    assert client.to_server == query("SELECT 1")
    assert client.waiting
    assert client.held == query("SELECT 2")


def test_a_text_that_is_not_read_to_its_end_pins() -> None:
    shared = pool_state()
    server, client = server_stream(shared), client_stream(shared)
    client.attach(server)
    text = query("SELECT '" + "x" * (2 << 20) + "', GET_LOCK('a', 0)")
    client.receive(text[: 1 << 20])
    client.receive(text[1 << 20 :])
    server.receive(result([b"1"]))
    assert client.pin_reason() == "long_statement"
    assert server.needs_cleaning()


def test_a_file_is_sent_in_packets(mysql_server: MysqlServer) -> None:
    arrange(mysql_server)
    mysql_server.admin("SET GLOBAL local_infile = 1")
    relay = Relay(mysql_server)
    session = Session(relay)
    sql = "LOAD DATA LOCAL INFILE 'x' INTO TABLE things (name)"
    (asked,) = session.query(sql)
    assert asked.payload == b"\xfbx"
    assert session.stream.in_message()
    session.send(wire.packets(b"one\ntwo\n", 2))
    assert session.stream.in_message()
    session.send(wire.packets(b"", 3))
    found = session.query("SELECT COUNT(*) FROM things")
    assert found[3].payload == b"\x012"
    relay.close()


@pytest.mark.parametrize("sql", ["SET @a = 1", "SET sql_mode = ''", "SELECT 1"])
def test_a_connection_left_with_a_reply_owed_is_cleaned(sql: str) -> None:
    """What the statement does, nobody will have heard of."""
    shared = pool_state()
    server, client = server_stream(shared), client_stream(shared)
    client.attach(server)
    client.receive(query(sql))
    assert not server.needs_cleaning()
    client.detach()
    assert server.needs_cleaning()
