"""A server connection as the pool sees it."""

from __future__ import annotations

import pytest

from proxy.mysql import pipeline as pl
from proxy.mysql.lenenc import packet
from tests.mysql.streams import (
    BOTH,
    COLUMN,
    client_stream,
    command,
    err,
    ok,
    pool_state,
    query,
    server_stream,
)
from tests.support import mysql_messages as wire
from tests.support.mysql_relay import read_packets


def test_a_transaction_is_not_idle() -> None:
    shared = pool_state()
    server, client = server_stream(shared), client_stream(shared)
    assert server.is_idle()
    client.attach(server)
    client.receive(query("BEGIN"))
    assert not server.is_quiet()
    server.receive(ok(status=3))
    assert server.is_quiet()
    assert server.in_transaction()
    assert server.awaits_client()
    assert not server.is_idle()


def test_a_probe_is_kept_from_the_client() -> None:
    shared = pool_state()
    server, client = server_stream(shared), client_stream(shared)
    client.attach(server)
    assert server.probe() == query("DO 0")
    server.receive(ok())
    assert server.to_client == b""
    assert server.completed == 0
    assert server.is_idle()


def test_an_answer_of_ours_ahead_of_the_clients() -> None:
    shared = pool_state()
    server, client = server_stream(shared), client_stream(shared)
    client.attach(server)
    server.ask(b"SET @@session.sql_mode=''", pl.REPLAY)
    server.push(pl.RESULT_REPLY)
    server.receive(ok() + ok(warnings=1))
    assert server.to_client == ok(warnings=1)
    assert server.completed == 1


def test_a_failed_cleaning_spoils_the_connection() -> None:
    server = server_stream(pool_state())
    server.ask(b"ROLLBACK", pl.CLEAN)
    server.receive(err())
    assert not server.reusable()


def test_a_probe_that_a_late_kill_query_hits_has_done_its_work() -> None:
    server = server_stream(pool_state())
    server.probe()
    server.receive(err(errno=1317))
    assert server.reusable()
    assert server.recover() == query("ROLLBACK"), "nobody knows whether a transaction is open"
    server.probe()
    server.receive(ok() + err(errno=1064))
    assert not server.reusable()


def prepared_reply(number: int, parameters: int, columns: int) -> bytes:
    """Encode the response to COM_STMT_PREPARE on a connection with DEPRECATE_EOF."""
    head = b"\0" + number.to_bytes(4, "little") + columns.to_bytes(2, "little")
    head += parameters.to_bytes(2, "little") + bytes(3)
    payloads = [head] + [COLUMN] * (parameters + columns)
    return b"".join(packet(payload, 1 + i) for i, payload in enumerate(payloads))


def test_the_client_gets_our_id_of_a_statement() -> None:
    shared = pool_state()
    server, client = server_stream(shared), client_stream(shared, wire.BASE | BOTH)
    client.attach(server)
    client.receive(command(0x16, b"SELECT ?, ?"))
    server.receive(prepared_reply(99, 2, 2))
    assert server.to_client == prepared_reply(1, 2, 2)
    assert client.statements[1].parameters == 2
    assert server.is_idle()


@pytest.mark.parametrize("parameters", [0, 2])
@pytest.mark.parametrize("columns", [0, 2])
@pytest.mark.parametrize("capabilities", [wire.BASE, wire.BASE | BOTH])
def test_a_session_may_have_turned_definitions_off(
    capabilities: int, columns: int, parameters: int
) -> None:
    shared = pool_state()
    server, client = server_stream(shared), client_stream(shared, capabilities)
    client.attach(server)
    client.receive(command(0x16, b"SELECT ?, ?"))
    head = b"\0\x63\0\0\0" + bytes((columns, 0, parameters, 0)) + bytes(4)
    server.receive(packet(head, 1))
    found = read_packets(server.to_client)
    eofs = 0 if capabilities & BOTH else bool(columns) + bool(parameters)
    assert found[0].payload == b"\0\x01" + head[2:]
    assert [packet.payload for packet in found[1:]] == [b"\xfe\0\0\x02\0"] * eofs
    assert [packet.sequence for packet in found] == list(range(1, 2 + eofs))
    assert server.is_idle()


def test_surplus_statements_are_closed_with_the_next_command() -> None:
    shared = pool_state()
    server, client = server_stream(shared), client_stream(shared, wire.BASE | BOTH)
    client.attach(server)
    for number in range(4):
        client.receive(command(0x16, b"SELECT %d" % number))
        server.receive(prepared_reply(10 + number, 0, 1))
    client.receive(query("SELECT 1"))
    assert client.to_server == command(0x19, (10).to_bytes(4, "little")) + query("SELECT 1")
