"""Replies of many results, through connections used by turns and directly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.mysql.streams import BOTH
from tests.support import mysql_messages as wire
from tests.support.mysql_relay import Relay, Session, read_packets
from tests.support.mysql_wire import MysqlClient

if TYPE_CHECKING:
    from tests.support.mysql_messages import Packet
    from tests.support.mysql_servers import MysqlServer

LOADS = (
    "SELECT 1; LOAD DATA LOCAL INFILE 'x' INTO TABLE filed (name); SELECT 2;"
    " LOAD DATA LOCAL INFILE 'y' INTO TABLE filed (name); SELECT COUNT(*) FROM filed"
)
FILE = b"one\ntwo\n"
CAPABILITIES = pytest.mark.parametrize("capabilities", [wire.BASE, wire.BASE | BOTH])


def direct_client(server: MysqlServer, capabilities: int) -> MysqlClient:
    """Log in to the server itself."""
    client = MysqlClient(server.host, server.port)
    client.login("app", "app-secret", "app", capabilities=capabilities)
    return client


def empty_table(server: MysqlServer) -> None:
    """Make the table that files are loaded into anew."""
    server.admin("DROP TABLE IF EXISTS app.filed", "CREATE TABLE app.filed (name VARCHAR(10))")


def load(session: Session, sql: str) -> list[Packet]:
    """Run SQL and send ``FILE`` whenever the server asks for one."""
    found = session.query(sql)
    while session.stream.in_message():
        sequence = found[-1].sequence + 1
        session.send(wire.packets(FILE, sequence))
        found += read_packets(session.send(wire.packets(b"", sequence + 1)))
    return found


@CAPABILITIES
def test_several_files_in_one_command(mysql_server: MysqlServer, capabilities: int) -> None:
    mysql_server.admin("SET GLOBAL local_infile = 1")
    empty_table(mysql_server)
    with direct_client(mysql_server, capabilities) as client:
        direct = client.exchange(b"\x03" + LOADS.encode(), FILE)
    empty_table(mysql_server)
    relay = Relay(mysql_server)
    session = Session(relay, capabilities)
    assert load(session, LOADS) == direct
    assert direct[-2].payload == b"\x014"
    assert session.on is None
    relay.close()


@CAPABILITIES
def test_an_error_behind_results_of_a_procedure(
    mysql_server: MysqlServer, capabilities: int
) -> None:
    mysql_server.admin(
        "DROP PROCEDURE IF EXISTS app.halfway",
        "CREATE PROCEDURE app.halfway(OUT o INT)"
        " BEGIN SELECT 1; SET o = 5; SELECT 2; SELECT nope FROM information_schema.engines; END",
    )
    script = ("CALL halfway(@a)", "SELECT 1; CALL halfway(@a); SELECT 3", "SHOW WARNINGS")
    with direct_client(mysql_server, capabilities) as client:
        direct = [client.query(sql) for sql in (*script, "SELECT @a")]
    relay = Relay(mysql_server)
    session = Session(relay, capabilities)
    for index, sql in enumerate((*script, "SELECT @a")):
        assert session.query(sql, relay.connections[index % 2]) == direct[index], sql
    relay.close()


@CAPABILITIES
def test_a_reset_while_pinned_removes_what_pinned(
    mysql_server: MysqlServer, capabilities: int
) -> None:
    script = (
        b"\x03CREATE TEMPORARY TABLE short_lived (i INT)",
        bytes((wire.RESET_CONNECTION,)),
        b"\x03SELECT i FROM short_lived",
    )
    with direct_client(mysql_server, capabilities) as client:
        direct = [client.exchange(payload) for payload in script]
    relay = Relay(mysql_server)
    session = Session(relay, capabilities)
    pins = []
    for payload, expected in zip(script, direct, strict=True):
        assert session.exchange(payload) == expected
        pins.append(session.stream.pin_reason())
    assert pins == ["temporary_table", "", ""]
    relay.close()
