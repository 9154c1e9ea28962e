"""Commands that pass at a glance, and what keeps others from it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from tests.mysql.streams import (
    BOTH,
    client_stream,
    command,
    ok,
    pool_state,
    query,
    result,
    server_stream,
    variable,
)
from tests.support import mysql_messages as wire

if TYPE_CHECKING:
    from proxy.mysql.client_stream import MysqlClientStream
    from proxy.mysql.server_stream import MysqlServerStream

LONGLONG = b"\x08\0"


def execute(number: int, *, types: bytes = b"", flags: int = 0, value: int = 4711) -> bytes:
    """COM_STMT_EXECUTE with one parameter."""
    head = struct.pack("<IBI", number, flags, 1) + b"\0"
    bound = b"\x01" + types if types else b"\0"
    return command(wire.EXECUTE, head + bound + struct.pack("<q", value))


def prepared(number: int) -> bytes:
    """The answer to COM_STMT_PREPARE: no columns, one parameter."""
    head = b"\0" + struct.pack("<IHHBH", number, 0, 1, 0, 0)
    return wire.packets(head, 1) + wire.packets(b"def" + bytes(20), 2)


@pytest.fixture
def pair() -> tuple[MysqlClientStream, MysqlServerStream]:
    """A session that has prepared statement 1, which the server knows as 7."""
    shared = pool_state()
    client, server = client_stream(shared, wire.BASE | BOTH), server_stream(shared)
    client.attach(server)
    client.receive(command(wire.PREPARE, b"SELECT ?"))
    server.receive(prepared(7))
    return client, server


def sent(pair: tuple[MysqlClientStream, MysqlServerStream], data: bytes) -> bytes:
    """What the server gets of a command, whose answer is an OK."""
    client, server = pair
    client.receive(data)
    to_server = client.to_server
    if server.replies:
        server.receive(ok())
    assert server.is_idle()
    return to_server


def test_a_plain_execution_differs_only_by_its_id(
    pair: tuple[MysqlClientStream, MysqlServerStream],
) -> None:
    assert sent(pair, execute(1, types=LONGLONG)) == execute(7, types=LONGLONG)
    assert sent(pair, execute(1)) == execute(7)
    assert pair[0].execute_plainly(pair[1], execute(1), len(execute(1)) - 4) == execute(7)


def test_types_that_the_server_does_not_know_are_put_in(
    pair: tuple[MysqlClientStream, MysqlServerStream],
) -> None:
    client, _ = pair
    sent(pair, execute(1, types=LONGLONG))
    client.detach()
    other = server_stream(client.shared)
    client.attach(other)
    client.receive(execute(1))
    other.receive(prepared(1))
    assert client.waiting
    client.waiting = False
    client.receive(b"")
    assert client.to_server == execute(1, types=LONGLONG)
    other.receive(ok())
    client.receive(execute(1))
    assert client.to_server == execute(1)


@pytest.mark.parametrize(
    "data",
    [
        execute(2),
        execute(1, flags=1),
        execute(1, types=LONGLONG),
        execute(1)[:-9],
        command(wire.EXECUTE, b"\x01\0\0\0"),
        query("SELECT 1"),
    ],
    ids=["unknown", "cursor", "types", "no flag", "short", "no execution"],
)
def test_what_must_be_looked_at(
    pair: tuple[MysqlClientStream, MysqlServerStream], data: bytes
) -> None:
    sent(pair, execute(1, types=LONGLONG))
    assert pair[0].execute_plainly(pair[1], data, len(data) - 4) is None
    assert not pair[1].replies


def test_nothing_is_plain_where_something_must_go_ahead(
    pair: tuple[MysqlClientStream, MysqlServerStream],
) -> None:
    client, server = pair
    sent(pair, execute(1, types=LONGLONG))
    client.receive(query("SET sql_mode = 'ANSI'"))
    server.receive(ok(1, status=2 | 0x4000, track=variable("sql_mode", "ANSI")))
    client.settle()
    while server.replies:
        server.receive(result([b"ANSI"]))
    other = server_stream(client.shared)
    client.detach()
    client.attach(other)
    assert not client.is_level_with(other)
    assert client.execute_plainly(other, execute(1), len(execute(1)) - 4) is None
