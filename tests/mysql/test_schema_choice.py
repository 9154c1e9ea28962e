"""Which commands choose a default schema, and what that means for the session's pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.errors import BorrowTimeout, ConnectFailed, ServerRefused
from proxy.mysql.capabilities import ClientFacts
from proxy.mysql.client_stream import MysqlClientStream
from proxy.mysql.lenenc import lenenc
from proxy.mysql.schema_choice import chosen_schema
from proxy.mysql.server_stream import MysqlServerStream
from proxy.wire.dialect import Login, Move, ServerSession
from proxy.wire.stream import NEED_NOTHING, NEED_SERVER
from tests.mysql.streams import command, err, ok, pool_state, query, result
from tests.support import mysql_messages as wire

if TYPE_CHECKING:
    from proxy.errors import ProxyError
    from proxy.mysql.pool_state import PoolState

INIT_DB = command(0x02, b"shop")
CHOSEN = ok(track=b"\x01" + lenenc(lenenc(b"shop")))
DROPPED = ok(track=b"\x01" + lenenc(lenenc(b"")))


@pytest.mark.parametrize(
    ("payload", "schema"),
    [
        (b"\x02shop", b"shop"),
        (b"\x02", b""),
        (b"\x03USE shop", b"shop"),
        (b"\x03 use\n`my shop` ; ", b"my shop"),
        (b"\x03USE `a``b`", b""),
        (b"\x03USE shop; SELECT 1", b""),
        (b"\x03SELECT 'USE shop'", b""),
        ("\x03USE `größe`".encode(), b""),
        (b"\x16USE shop", b""),
    ],
)
def test_the_schema_that_a_command_chooses(payload: bytes, schema: bytes) -> None:
    assert chosen_schema(payload, attributes=False) == schema


def test_a_text_behind_attributes() -> None:
    assert chosen_schema(b"\x03\0\x01USE shop", attributes=True) == b"shop"


def client_without_schema(shared: PoolState) -> MysqlClientStream:
    facts = ClientFacts(capabilities=wire.BASE, sequence=2, collation=45)
    login = Login("app", "", (), {}, None, 4, facts=facts)
    return MysqlClientStream(shared, login, 7, session_pooling=False)


def errand_of(client: MysqlClientStream) -> object:
    """What the client asks of the proxy, which is taken care of then."""
    errand, client.errand = client.errand, None
    return errand


def connection(shared: PoolState, schema: str) -> MysqlServerStream:
    capabilities = wire.BASE | wire.SESSION_TRACK | wire.DEPRECATE_EOF
    reported = {"server_version": "9.7.4", "schema": schema}
    return MysqlServerStream(shared, ServerSession(reported, 1, b"", None, capabilities))


def test_a_schema_that_has_a_pool_is_chosen_there() -> None:
    shared = pool_state()
    shared.proven.add(b"shop")
    client = client_without_schema(shared)
    assert client.demand(INIT_DB) == NEED_NOTHING
    assert errand_of(client) == Move("shop")
    assert not client.moved(), "it has no server connection to bring along"
    assert client.demand(client.held) == NEED_SERVER
    server = connection(shared, "shop")
    client.attach(server)
    client.receive(b"")
    assert client.to_server == INIT_DB
    server.receive(CHOSEN)
    assert client.pin_reason() == ""
    assert client.moving() is None


@pytest.mark.parametrize("held", ["shop", "elsewhere"])
def test_a_choice_that_fails_leads_back(held: str) -> None:
    shared = pool_state()
    shared.proven.add(b"shop")
    client = client_without_schema(shared)
    client.demand(INIT_DB)
    errand_of(client)
    client.moved()
    server = connection(shared, held)
    client.attach(server)
    client.receive(b"")
    assert client.to_server == INIT_DB, "nothing goes ahead of it that could fail instead"
    server.receive(err(errno=1049))
    assert client.moving() == ""
    assert not client.moved(), "the connection stays with the pool that has the schema"
    assert client.pin_reason() == ""
    assert b"SHOW WARNINGS" in client.settle()
    client.receive(query("SELECT DATABASE()"))
    assert client.to_server == b"", "not on this connection"
    server.receive(result([], columns=3))
    client.detach()
    assert client.demand(client.held) == NEED_SERVER
    assert client.held == query("SELECT DATABASE()")
    assert server.schema == held.encode()
    assert server.reusable()


def test_an_unknown_schema_is_asked_of_the_server_first() -> None:
    shared = pool_state()
    client = client_without_schema(shared)
    assert client.demand(INIT_DB) == NEED_SERVER
    server = connection(shared, "")
    client.attach(server)
    client.receive(b"")
    server.receive(CHOSEN)
    assert client.pin_reason() == "default_schema"
    assert not server.reusable(), "sessions of its pool have no schema"
    assert not server.needs_cleaning()
    assert client.moving() == "shop"
    assert client.moved()
    assert (client.pin_reason(), server.reusable()) == ("", True)
    assert b"shop" in shared.proven


def test_a_schema_that_is_dropped_leads_to_the_pool_of_those_without() -> None:
    shared = pool_state()
    shared.proven.add(b"shop")
    client = client_without_schema(shared)
    client.demand(INIT_DB)
    errand_of(client)
    client.moved()
    server = connection(shared, "shop")
    client.attach(server)
    client.receive(b"")
    server.receive(CHOSEN)
    client.receive(query("DROP DATABASE shop"))
    server.receive(DROPPED)
    assert client.moving() == ""
    assert client.moved()
    assert server.reusable()


@pytest.mark.parametrize("error", [ConnectFailed("no"), ServerRefused("", response=b"", code="")])
def test_a_pool_that_cannot_connect_fails_the_choice_only(error: ProxyError) -> None:
    shared = pool_state()
    shared.proven.add(b"shop")
    client = client_without_schema(shared)
    client.demand(INIT_DB + query("SELECT 1"))
    errand_of(client)
    assert client.forgives(error)
    assert not client.forgives(BorrowTimeout("no"))
    client.refuse(error)
    assert client.to_client
    assert client.demand(client.held) == NEED_NOTHING
    assert errand_of(client) == Move("")
    client.moved()
    assert client.demand(client.held) == NEED_SERVER
    assert client.session.schema == b""


def test_statements_prepared_before_keep_the_connection() -> None:
    shared = pool_state()
    shared.proven.add(b"shop")
    client, first = client_without_schema(shared), connection(shared, "")
    client.attach(first)
    client.receive(command(0x16, b"SELECT DATABASE()"))
    reply = b"\x0c\0\0\x01\0" + (9).to_bytes(4, "little") + bytes(7)
    first.receive(reply)
    client.detach()
    assert client.demand(INIT_DB) == NEED_SERVER
    second = connection(shared, "")
    client.attach(second)
    client.receive(b"")
    assert client.to_server == command(0x16, b"SELECT DATABASE()"), "while there is no schema"
    second.receive(reply)
    assert second.resume
    client.waiting = False
    client.receive(b"")
    assert client.to_server == INIT_DB
    second.receive(CHOSEN)
    assert client.moving() is None
    assert client.pin_reason() == "default_schema"
    client.receive(command(0x17, b"\1\0\0\0\0\1\0\0\0"))
    assert client.to_server == command(0x17, b"\x09\0\0\0\0\1\0\0\0")


def test_a_schema_chosen_by_a_client_that_vanishes() -> None:
    shared = pool_state()
    client, server = client_without_schema(shared), connection(shared, "")
    client.attach(server)
    client.receive(INIT_DB)
    client.detach()
    server.receive(CHOSEN)
    assert server.schema == b"shop"
    assert not server.reusable()
