"""How a Parse ends: described, refused, or discarded unread."""

from __future__ import annotations

from proxy.postgres.prepared import UNKNOWN
from tests.postgres.streams import (
    IDLE,
    NO_DATA,
    NO_PARAMETERS,
    PARSED,
    PREPARED,
    Pair,
    refused,
)
from tests.support import messages as wire
from tests.support.messages import message, text

ONE = "SELECT 1"


def columns(name: str) -> bytes:
    types = b"\0\0\0\0\0\0\0\0\0\x17\0\4\xff\xff\xff\xff\0\0"
    return message("T", b"\0\1" + text(name) + types)


def test_two_sessions_share_what_is_the_same() -> None:
    pair = Pair()
    pair.prepare("mine", ONE)
    first = pair.client.statements.named[b"mine"]
    pair.other()
    pair.prepare("theirs", ONE)
    assert pair.client.statements.named == {b"theirs": first}
    assert pair.server.statements.names == {first: b"tidegate_2"}
    assert pair.send(wire.SYNC) == wire.close("S", "tidegate_1") + wire.SYNC


def test_a_statement_that_returns_something_else_is_another() -> None:
    pair = Pair()
    pair.prepare("mine", ONE)
    first = pair.client.statements.named[b"mine"]
    pair.other()
    pair.send(wire.parse(ONE, "theirs"), wire.SYNC)
    pair.answer(PARSED, NO_PARAMETERS, columns("a"), IDLE)
    second = pair.client.statements.named[b"theirs"]
    assert second is not first
    assert pair.server.statements.names == {first: b"tidegate_1", second: b"tidegate_2"}


def test_a_statement_prepared_again_elsewhere_must_return_the_same() -> None:
    pair = Pair()
    pair.prepare("mine", ONE)
    statement = pair.client.statements.named[b"mine"]
    pair.elsewhere()
    pair.send(wire.bind(name="mine"), wire.SYNC)
    pair.answer(PARSED, NO_PARAMETERS, columns("a"))
    assert pair.server.resume
    assert pair.client.statements.stale is statement
    assert pair.server.statements.obsolete == [b"tidegate_1"]


def test_a_refused_statement_is_forgotten() -> None:
    pair = Pair()
    pair.send(wire.parse("SELEC", "s"), wire.SYNC)
    assert pair.answer(refused(), IDLE) == refused() + IDLE
    assert pair.client.statements.named == {}
    assert pair.server.statements.names == {}
    assert pair.server.statements.obsolete == []
    assert pair.server.unnamed is UNKNOWN


def test_what_is_discarded_behind_an_error_is_undone() -> None:
    pair = Pair()
    pair.prepare("kept", ONE)
    kept = pair.client.statements.named[b"kept"]
    pair.send(
        wire.bind("wrong", name="kept"),
        wire.close("S", "kept"),
        wire.parse("SELECT 2", "new"),
        wire.SYNC,
    )
    assert set(pair.client.statements.named) == {b"new"}
    pair.answer(refused("08P01"), IDLE)
    assert pair.client.statements.named == {b"kept": kept}
    assert pair.server.statements.names == {kept: b"tidegate_1"}


def test_closes_and_parses_are_undone_last_first() -> None:
    pair = Pair()
    pair.prepare("s", ONE)
    first = pair.client.statements.named[b"s"]
    pair.send(
        wire.execute("none"),
        wire.close("S", "s"),
        wire.parse("SELECT 2", "s"),
        wire.close("S", "s"),
        wire.parse("SELECT 3", "s"),
        wire.SYNC,
    )
    pair.answer(refused("34000"), IDLE)
    assert pair.client.statements.named == {b"s": first}


def test_unnamed_statements_are_undone() -> None:
    pair = Pair()
    pair.send(wire.parse(ONE), wire.SYNC)
    pair.answer(PARSED, IDLE)
    first = pair.client.statements.unnamed
    pair.send(wire.execute("none"), wire.parse("SELECT 2"), wire.SYNC)
    pair.answer(refused("34000"), IDLE)
    assert pair.client.statements.unnamed is first
    pair.send(wire.parse("SELEC"), wire.SYNC)
    pair.answer(refused(), IDLE)
    assert pair.client.statements.unnamed is None


def test_nobody_is_left_to_be_told() -> None:
    """The client has gone while its statements were being prepared."""
    for answer in (PREPARED, refused()):
        pair = Pair()
        pair.send(wire.parse(ONE, "s"), wire.parse(ONE), wire.close("S", "s"), wire.SYNC)
        pair.client.detach()
        if answer == PREPARED:
            pair.answer(PARSED, NO_PARAMETERS, NO_DATA, PARSED, message("3"), IDLE)
            assert len(pair.server.statements.names) == 1
        else:
            pair.answer(refused(), IDLE)
            assert pair.server.statements.names == {}
        assert pair.server.is_idle()
        assert pair.server.reusable()
