"""The statements of one client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.postgres import pipeline as pl
from proxy.postgres.client_statements import ClientStatements
from proxy.postgres.constants import IN_FAILED_TRANSACTION, IN_TRANSACTION
from proxy.postgres.pool_state import PoolState
from proxy.postgres.prepared import STALE_NAME, UNKNOWN, Preparation, Statement
from tests.postgres.streams import make_server
from tests.support import messages as wire

if TYPE_CHECKING:
    from proxy.postgres.server_stream import PostgresServerStream


def made(sql: str = "SELECT 1") -> Statement:
    return Statement(wire.text(sql) + b"\0\0", None)


@pytest.fixture
def server() -> PostgresServerStream:
    return make_server(PoolState(max_prepared_statements=100))


def kinds(server: PostgresServerStream) -> list[int]:
    return [reply.kind for reply in server.pipeline.pending()]


def test_parse(server: PostgresServerStream) -> None:
    mine, statement = ClientStatements(), made()
    sent = mine.parse(server, b"s", statement)
    assert sent == wire.parse("SELECT 1", "tidegate_1") + wire.describe("S", "tidegate_1")
    assert mine.named == {b"s": statement}
    assert mine.name_on(server, statement, b"s") == b"tidegate_1"
    assert kinds(server) == [pl.PARSE, pl.OWN_DESCRIBE]


def test_parse_of_a_name_in_use_is_left_to_the_server_to_refuse(
    server: PostgresServerStream,
) -> None:
    mine, first = ClientStatements(), made()
    mine.parse(server, b"s", first)
    sent = mine.parse(server, b"s", made("SELECT 2"))
    assert sent == wire.parse("SELECT 2", "tidegate_1")
    assert mine.named == {b"s": first}


def test_parse_of_a_name_in_use_that_is_not_on_this_connection(
    server: PostgresServerStream,
) -> None:
    """It is prepared, so that there is something that is in the way."""
    mine = ClientStatements()
    mine.named[b"s"] = made()
    sent = mine.parse(server, b"s", made("SELECT 2"))
    first = wire.parse("SELECT 1", "tidegate_1") + wire.describe("S", "tidegate_1")
    assert sent == first + wire.parse("SELECT 2", "tidegate_1")
    assert kinds(server) == [pl.OWN_PARSE, pl.OWN_DESCRIBE, pl.PARSE]


def test_parse_in_a_failed_transaction_is_not_described(server: PostgresServerStream) -> None:
    """Describe would fail; ROLLBACK, which is all that can be parsed, returns nothing."""
    server.status = IN_FAILED_TRANSACTION
    sent = ClientStatements().parse(server, b"s", made("ROLLBACK"))
    assert sent == wire.parse("ROLLBACK", "tidegate_1")


def test_parse_while_the_server_discards_is_not_remembered(server: PostgresServerStream) -> None:
    mine = ClientStatements()
    server.pipeline.skipping = True
    mine.parse(server, b"s", made())
    mine.change_unnamed(server, pl.PARSE, made())
    assert mine.named == {}
    assert mine.unnamed is None
    assert server.statements.names == {}
    assert kinds(server) == []


def test_close_and_its_return(server: PostgresServerStream) -> None:
    mine, statement = ClientStatements(), made()
    mine.named[b"s"] = statement
    reply = mine.close(b"s")
    assert reply.kind == pl.CLOSE
    assert reply.preparation is not None
    assert mine.named == {}
    assert mine.close(b"s") is pl.CLOSE_REPLY
    mine.restore(b"s", made(), server)
    assert mine.named == {}  # The server has never prepared it.
    statement.description = b"\0\0"
    mine.restore(b"s", statement, server)
    assert mine.named == {b"s": statement}
    mine.restore(b"s", made(), server)
    assert mine.named == {b"s": statement}


def test_a_name_whose_close_may_be_discarded(server: PostgresServerStream) -> None:
    mine = ClientStatements()
    mine.named[b"s"] = made()
    assert not mine.is_closing(b"s", server)
    server.pipeline.push(mine.close(b"s"))
    assert mine.is_closing(b"s", server)
    assert not mine.is_closing(b"other", server)
    server.pipeline.pop()
    assert not mine.is_closing(b"s", server)


def test_forget_only_what_was_refused() -> None:
    mine, old, new = ClientStatements(), made(), made()
    mine.named[b"s"] = new
    mine.forget(Preparation(old, b"s", b"tidegate_1"))
    assert mine.named == {b"s": new}
    mine.forget(Preparation(new, b"s", b"tidegate_2"))
    assert mine.named == {}
    assert mine.lost == {b"tidegate_1": b"s", b"tidegate_2": b"s"}
    mine.detach()
    assert not mine.lost


def test_forget_all_but_the_unnamed(server: PostgresServerStream) -> None:
    mine = ClientStatements()
    mine.named[b"s"] = mine.unnamed = made()
    mine.unseen = frozenset({b"s"})
    mine.forget_all(server)
    assert (mine.named, mine.unseen) == ({}, frozenset())
    assert mine.unnamed is not None


@pytest.mark.parametrize("failed", [False, True])
def test_an_unnamed_statement_that_was_not_parsed(
    server: PostgresServerStream, failed: bool
) -> None:
    """A Parse that fails drops the one before; one that is never read does not."""
    mine, first, second = ClientStatements(), made("SELECT 1"), made("SELECT 2")
    mine.change_unnamed(server, pl.PARSE, first)
    server.pipeline.pop()
    if not failed:
        server.pipeline.push(pl.EXECUTE_REPLY)
    mine.change_unnamed(server, pl.PARSE, second)
    mine.restore_unnamed(server, server.pipeline.fail())
    assert mine.unnamed is (None if failed else first)
    assert server.unnamed is UNKNOWN


@pytest.mark.parametrize("kind", [pl.PARSE, pl.CLOSE, pl.QUERY])
def test_an_unnamed_statement_changed_behind_one_that_was_not_parsed(
    server: PostgresServerStream, kind: int
) -> None:
    """What comes after the Sync counts, and brings back what there was when it is discarded."""
    mine, first, second, third = ClientStatements(), made("1"), made("2"), made("3")
    mine.change_unnamed(server, pl.PARSE, first)
    server.pipeline.pop()
    server.pipeline.push(pl.EXECUTE_REPLY)
    mine.change_unnamed(server, pl.PARSE, second)
    server.pipeline.push(pl.SYNC_REPLY)
    server.pipeline.push(pl.EXECUTE_REPLY)
    mine.change_unnamed(server, kind, third if kind == pl.PARSE else None)
    mine.restore_unnamed(server, server.pipeline.fail())
    assert mine.unnamed is server.unnamed is (third if kind == pl.PARSE else None)
    server.pipeline.pop()
    mine.restore_unnamed(server, server.pipeline.fail())
    assert mine.unnamed is first


def test_a_simple_query_behind_one_that_was_not_parsed(server: PostgresServerStream) -> None:
    mine = ClientStatements()
    server.pipeline.push(pl.EXECUTE_REPLY)
    mine.change_unnamed(server, pl.PARSE, made())
    server.pipeline.push(pl.SYNC_REPLY)
    server.pipeline.push(pl.QUERY_REPLY)
    mine.unnamed = server.unnamed = None
    mine.restore_unnamed(server, server.pipeline.fail())
    assert mine.unnamed is server.unnamed is None


@pytest.mark.parametrize(
    ("status", "gone"), [(IN_TRANSACTION, True), (IN_FAILED_TRANSACTION, False)]
)
def test_deallocate(server: PostgresServerStream, status: int, gone: bool) -> None:
    mine, statement = ClientStatements(), made()
    mine.parse(server, b"s", statement)
    server.status = status
    mine.deallocate([b"unknown", b"s"], server)
    assert (b"s" not in mine.named) == gone
    assert server.statements.obsolete == ([b"tidegate_1"] if gone else [])
    assert (mine.lost or {}) == ({b"tidegate_1": b"s"} if gone else {})


def test_replace_only_what_it_was() -> None:
    mine, old, new = ClientStatements(), made(), made()
    mine.named[b"s"] = old
    mine.replace(b"s", new, made())
    mine.replace(b"unknown", old, new)
    assert mine.named == {b"s": old}
    mine.replace(b"s", old, new)
    assert mine.named == {b"s": new}


def test_a_stale_statement_fails_once_and_is_told_its_parameters(
    server: PostgresServerStream,
) -> None:
    mine, statement = ClientStatements(), made()
    statement.description = b"\0\1\0\0\0\x17row"
    mine.parse(server, b"s", statement)
    mine.stale = statement
    assert mine.name_on(server, statement, b"s") == STALE_NAME
    assert mine.stale_parameters == b"\0\1\0\0\0\x17"
    assert mine.name_on(server, statement, b"s") == b"tidegate_1"


def test_a_stale_statement_of_which_the_client_knows_nothing_is_prepared_again(
    server: PostgresServerStream,
) -> None:
    mine, statement = ClientStatements(), made()
    mine.named[b"s"] = statement
    mine.unseen = frozenset({b"s"})
    mine.stale = statement
    assert mine.name_on(server, statement, b"s") is None
    again = mine.named[b"s"]
    assert again is not statement
    assert again.definition == statement.definition
    assert again.description is None


def test_prepare_gets_the_server_to_answer(server: PostgresServerStream) -> None:
    mine = ClientStatements()
    mine.named[b"s"] = made()
    sent = mine.prepare(server, b"s")
    assert sent.endswith(wire.describe("S", "tidegate_1") + wire.FLUSH)
    assert kinds(server) == [pl.OWN_PARSE, pl.OWN_DESCRIBE]


def test_the_unnamed_statement_on_a_connection(server: PostgresServerStream) -> None:
    mine = ClientStatements()
    assert mine.use_unnamed(server) == b""
    server.unnamed = made("SELECT 'of another session'")
    assert mine.use_unnamed(server) == wire.close("S")
    assert mine.use_unnamed(server) == b""
    mine.unnamed = made()
    assert mine.use_unnamed(server) == wire.parse("SELECT 1")
    assert mine.use_unnamed(server) == b""
    assert kinds(server) == [pl.OWN_CLOSE, pl.OWN_PARSE]
