"""What a session carries and what pins it, without a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.mysql.lenenc import lenenc, packet
from tests.mysql.streams import (
    COLUMN,
    client_stream,
    end,
    err,
    ok,
    pool_state,
    query,
    result,
    server_stream,
    variable,
)

if TYPE_CHECKING:
    from proxy.mysql.server_stream import MysqlServerStream


def reply_to(sql: str, reply: bytes) -> tuple[MysqlServerStream, bytes, str]:
    """What is asked, and what pins, after a statement of a fresh session."""
    shared = pool_state()
    server, client = server_stream(shared), client_stream(shared)
    client.attach(server)
    client.receive(query(sql))
    server.receive(reply)
    return server, client.settle(), client.pin_reason()


def test_an_ordinary_statement_asks_nothing() -> None:
    assert reply_to("SELECT 1", result([b"1"]))[1:] == (b"", "")


@pytest.mark.parametrize(
    ("sql", "reply", "asked"),
    [
        ("SELECT 1/0", result([b"x"])[: -len(end(4))] + end(4, warnings=1), "SHOW WARNINGS"),
        ("SELECT nope", err(), "SHOW WARNINGS"),
        ("INSERT INTO t VALUES ()", ok(insert_id=5), "SELECT LAST_INSERT_ID(),LAST_INSERT_ID(0)"),
        ("SET @a = 1", ok(), "@`a`"),
        (
            "SET NAMES latin1",
            ok(track=variable("character_set_connection", "latin1")),
            "@@session.collation_connection",
        ),
    ],
)
def test_what_must_be_asked(sql: str, reply: bytes, asked: str) -> None:
    _, message, pin = reply_to(sql, reply)
    assert asked.encode() in message
    assert pin == ""


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("CREATE TEMPORARY TABLE t (i INT)", "temporary_table"),
        ("SELECT GET_LOCK('a', 1)", "named_lock"),
        ("PREPARE p FROM 'SELECT 1'", "sql_prepared_statement"),
        ("HANDLER t OPEN", "handler"),
        ("XA START 'x'", "xa_transaction"),
        ("FLUSH TABLES WITH READ LOCK", "global_read_lock"),
        ("SET ROLE r", "role"),
        ("SELECT SQL_CALC_FOUND_ROWS 1 LIMIT 1", "found_rows"),
    ],
)
def test_what_pins(sql: str, reason: str) -> None:
    reply = result([b"1"]) if sql.startswith("SELECT") else ok()
    assert reply_to(sql, reply)[2] == reason


def test_a_statement_that_failed_begins_nothing() -> None:
    assert reply_to("CREATE TEMPORARY TABLE t (i INT)", err())[2] == ""


def test_settings_follow_to_another_connection() -> None:
    shared = pool_state()
    first, second, client = server_stream(shared), server_stream(shared), client_stream(shared)
    client.attach(first)
    client.receive(query("SET sql_mode = 'ANSI'"))
    first.receive(ok(track=variable("sql_mode", "ANSI")))
    assert client.settle() == b""
    client.detach()
    client.attach(second)
    client.receive(query("SELECT 1"))
    assert client.to_server == query("SET @@session.sql_mode='ANSI'") + query("SELECT 1")
    client.receive(b"")
    other = client_stream(shared)
    client.detach()
    other.attach(first)
    other.receive(query("SELECT 1"))
    assert other.to_server == query("SET @@session.sql_mode=''") + query("SELECT 1")


def test_a_schema_is_changed_before_the_command_is_sent() -> None:
    shared = pool_state()
    first, second, client = server_stream(shared), server_stream(shared), client_stream(shared)
    client.attach(first)
    client.receive(query("USE other"))
    first.receive(ok(track=b"\x01" + lenenc(lenenc(b"other"))))
    client.detach()
    client.attach(second)
    client.receive(query("SELECT 1"))
    assert client.to_server == packet(b"\x02other", 0)
    assert client.waiting
    second.receive(ok())
    assert second.resume
    client.waiting = False
    client.receive(b"")
    assert client.to_server == query("SELECT 1")


def test_warnings_are_shown_from_what_was_kept() -> None:
    shared = pool_state()
    server, client = server_stream(shared), client_stream(shared)
    client.attach(server)
    client.receive(query("DROP TABLE IF EXISTS nope"))
    server.receive(ok(warnings=1))
    assert client.settle() == query("SHOW WARNINGS")
    row = lenenc(b"Note") + lenenc(b"1051") + lenenc(b"Unknown table")
    columns = packet(b"\x03", 1) + b"".join(packet(COLUMN, n) for n in (2, 3, 4))
    server.receive(columns + packet(row, 5) + end(6))
    assert client.settle() == b""
    client.detach()
    client.demand(query("SHOW WARNINGS"))
    assert row in client.to_client
    client.demand(query("SHOW ERRORS"))
    assert client.to_client
    assert row not in client.to_client


@pytest.mark.parametrize(
    ("sql", "written", "pinned"),
    [
        ("SELECT @a := 1, SLEEP(9)", {b"a"}, ""),
        ("SELECT GET_LOCK('a', 1), SLEEP(9)", set(), "named_lock"),
        ("SELECT SLEEP(9)", set(), ""),
    ],
)
def test_what_a_statement_may_have_done_before_it_was_killed(
    sql: str, written: set[bytes], pinned: str
) -> None:
    shared = pool_state()
    server, client = server_stream(shared), client_stream(shared)
    client.attach(server)
    client.receive(query(sql))
    server.receive(err())
    assert client.session.due.user_variables == written
    assert client.pin_reason() == pinned
