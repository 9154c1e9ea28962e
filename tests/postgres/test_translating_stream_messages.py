"""How single messages of a client are changed for the server connection they go to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ClientProtocolError
from proxy.postgres import pipeline as pl
from proxy.postgres.constants import HOLD_LIMIT_BYTES
from proxy.postgres.hidden import HiddenEffects
from tests.postgres.streams import IDLE, NO_DATA, NO_PARAMETERS, PARSED, PREPARED, Pair, answered
from tests.support import messages as wire
from tests.support.messages import message

ONE = "SELECT 1"


def kinds(pair: Pair) -> list[int]:
    return [reply.kind for reply in pair.server.pipeline.pending()]


# Unchanged.


@pytest.mark.parametrize(
    ("data", "owed"),
    [
        (wire.query(ONE), [pl.QUERY]),
        (wire.function_call(1598, b"x"), [pl.FUNCTION_CALL]),
        (wire.run(ONE) + wire.SYNC, [pl.PARSE, pl.BIND, pl.DESCRIBE, pl.EXECUTE, pl.SYNC]),
        (wire.close("P", "c") + wire.FLUSH, [pl.CLOSE]),
        (wire.describe("P", "c"), [pl.DESCRIBE]),
        (wire.bind(name="unknown") + wire.SYNC, [pl.BIND, pl.SYNC]),
        (wire.describe("S", "unknown"), [pl.DESCRIBE]),
        (wire.SYNC, [pl.SYNC]),
    ],
)
def test_messages_that_go_as_they_are(data: bytes, owed: list[int]) -> None:
    pair = Pair()
    assert pair.send(data) == data
    assert kinds(pair) == owed


def test_goodbye_goes_nowhere() -> None:
    pair = Pair()
    assert pair.send(wire.TERMINATE) == b""
    assert pair.client.terminated


@pytest.mark.parametrize(
    "data",
    [
        message("P", b"no end"),
        message("P", b"name\0no end"),
        message("B", b"no end"),
        message("B", b"portal\0no end"),
        message("D", b"Sno end"),
        message("D", b"Sname\0rest"),
        message("C", b"S"),
    ],
)
def test_strings_without_an_end(data: bytes) -> None:
    pair = Pair()
    assert pair.send(data) == b""
    assert isinstance(pair.client.error, ClientProtocolError)
    assert kinds(pair) == []


# Named statements.


def test_a_named_statement_gets_a_name_of_ours_and_is_described() -> None:
    pair = Pair()
    sent = pair.send(wire.parse(ONE, "s", (23,)), wire.SYNC)
    assert sent == wire.parse(ONE, "tidegate_1", (23,)) + wire.describe("S", "tidegate_1") + (
        wire.SYNC
    )
    assert kinds(pair) == [pl.PARSE, pl.OWN_DESCRIBE, pl.SYNC]
    assert pair.answer(PARSED, NO_PARAMETERS, NO_DATA, IDLE) == PARSED + IDLE


@given(st.text("sS1 é\"'", min_size=1, max_size=30), st.lists(st.binary(max_size=9), max_size=3))
def test_bind_changes_nothing_but_the_name(name: str, values: list[bytes]) -> None:
    pair = Pair()
    pair.prepare(name, ONE)
    sent = pair.send(wire.bind(*values, name=name, portal="p", binary_result=True), wire.SYNC)
    expected = wire.bind(*values, name="tidegate_1", portal="p", binary_result=True)
    assert sent == expected + wire.SYNC
    assert pair.send(wire.describe("S", name)) == wire.describe("S", "tidegate_1")


def test_on_another_connection_it_is_prepared_first() -> None:
    pair = Pair()
    pair.prepare("s", ONE)
    pair.elsewhere()
    data = wire.bind(name="s") + wire.execute() + wire.SYNC
    prepared = wire.parse(ONE, "tidegate_1") + wire.describe("S", "tidegate_1")
    assert pair.send(data) == prepared + wire.FLUSH
    assert pair.client.waiting
    assert pair.client.held == data
    assert pair.answer(PREPARED) == b""
    assert pair.server.resume
    pair.client.waiting = False
    assert pair.send() == wire.bind(name="tidegate_1") + wire.execute() + wire.SYNC


def test_a_statement_that_would_return_something_else_fails_as_it_would_directly() -> None:
    pair = Pair()
    pair.prepare("s", ONE)
    pair.elsewhere()
    pair.send(wire.bind(name="s"), wire.SYNC)
    columns = message("T", b"\0\1n\0" + b"\0" * 6 + b"\0\0\0\x17\0\4\xff\xff\xff\xff\0\0")
    pair.answer(PARSED, NO_PARAMETERS, columns)
    pair.client.waiting = False
    sent = pair.send()
    assert b"tidegate_stale" in sent
    error = message("E", b"SERROR\0VERROR\0C26000\0M" + sent[6 : sent.index(b"\0", 6)] + b"\0\0")
    told = pair.answer(error, IDLE)
    assert wire.Message("E", told[5 : -len(IDLE)]).fields["C"] == "0A000"


def test_a_closed_statement_is_gone() -> None:
    pair = Pair()
    pair.prepare("s", ONE)
    close = wire.close("S", "s") + wire.SYNC
    sent = pair.send(close)
    assert sent == close
    assert pair.answer(message("3"), IDLE) == message("3") + IDLE
    assert pair.send(wire.bind(name="s")) == wire.bind(name="s")


# The unnamed statement.


def test_the_unnamed_statement_follows_its_session() -> None:
    pair = Pair()
    pair.send(wire.parse(ONE), wire.SYNC)
    pair.answer(PARSED, IDLE)
    assert pair.send(wire.bind(), wire.SYNC) == wire.bind() + wire.SYNC
    pair.answer(message("2"), IDLE)
    pair.elsewhere()
    assert pair.send(wire.bind(), wire.SYNC) == wire.parse(ONE) + wire.bind() + wire.SYNC
    assert pair.answer(PARSED, message("2"), IDLE) == message("2") + IDLE


@pytest.mark.parametrize("data", [wire.bind(), wire.describe("S")])
def test_another_sessions_unnamed_statement_is_closed_first(data: bytes) -> None:
    pair = Pair()
    pair.send(wire.parse(ONE), wire.SYNC)
    pair.answer(PARSED, IDLE)
    pair.other()
    assert pair.send(data) == wire.close("S") + data


def test_a_simple_query_drops_the_unnamed_statement() -> None:
    pair = Pair()
    pair.send(wire.parse(ONE), wire.SYNC, wire.query(ONE))
    pair.answer(PARSED, IDLE, answered())
    assert pair.client.statements.unnamed is None
    assert pair.send(wire.bind()) == wire.bind()


# SQL that names statements.


def test_sql_that_names_a_statement() -> None:
    pair = Pair()
    pair.prepare("s", ONE)
    assert pair.send(wire.query("EXPLAIN EXECUTE s")) == wire.query("EXPLAIN EXECUTE tidegate_1")
    pair.answer(answered())
    assert pair.send(wire.query("DEALLOCATE s")) == wire.query("DEALLOCATE tidegate_1")
    assert pair.client.statements.named == {}


def test_sql_that_names_a_statement_of_another_connection() -> None:
    pair = Pair()
    pair.prepare("s", ONE)
    pair.elsewhere()
    prepared = wire.parse(ONE, "tidegate_1") + wire.describe("S", "tidegate_1") + wire.SYNC
    assert pair.send(wire.query("EXECUTE s")) == prepared + wire.query("EXECUTE tidegate_1")
    assert pair.answer(PREPARED, IDLE, answered()) == answered()


def test_a_prepared_execute_names_the_servers_statement() -> None:
    pair = Pair()
    pair.prepare("s", ONE)
    assert pair.send(wire.parse("EXECUTE s")) == wire.parse("EXECUTE tidegate_1")


# Effects.


def test_a_statement_is_noted_when_it_may_run_not_when_it_is_parsed() -> None:
    pair = Pair()
    pair.prepare("s", "LISTEN a")
    assert not pair.client.session.is_unsettled()
    pair.send(wire.bind(name="s"), wire.SYNC)
    assert pair.client.session.is_unsettled()


def test_sql_execute_notes_what_the_protocol_prepared() -> None:
    pair = Pair()
    pair.prepare("s", "SELECT set_config('a.b', '1', false)")
    pair.send(wire.query("EXECUTE s"))
    changes = pair.client.session.changes
    assert changes is not None
    assert changes.settings == {"a.b"}


def test_hidden_effects_are_noted() -> None:
    pair = Pair()
    pair.shared.hidden = HiddenEffects({b"f": [b"SELECT set_config('a.b', '', false)"]})
    pair.send(wire.run("SELECT F()"), wire.SYNC)
    changes = pair.client.session.changes
    assert changes is not None
    assert changes.settings == {"a.b"}


@pytest.mark.parametrize("code", ["Q", "P"])
def test_a_statement_too_long_to_be_read_pins(code: str) -> None:
    pair = Pair()
    payload = (b"\0" if code == "P" else b"") + b"SELECT '" + b"x" * HOLD_LIMIT_BYTES
    whole = message(code, payload + b"'\0" + (b"\0\0" if code == "P" else b""))
    cut = HOLD_LIMIT_BYTES // 2
    assert pair.send(whole[:cut]) + pair.send(whole[cut:]) == whole
    assert pair.client.pin_reason() == "statement_size"
    assert pair.server.needs_cleaning()


def test_a_query_inside_an_extended_batch_ends_the_connection() -> None:
    """PostgreSQL then fails the next Bind, whosever it is."""
    pair = Pair()
    pair.send(wire.parse(ONE), wire.query(ONE))
    assert not pair.server.reusable()
