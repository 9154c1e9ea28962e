"""The statements on one server connection."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.postgres import pipeline as pl
from proxy.postgres.pipeline import Pipeline
from proxy.postgres.prepared import Statement
from proxy.postgres.server_statements import ServerStatements
from tests.support import messages as wire


def made(number: int) -> Statement:
    return Statement(b"SELECT %d" % number, None)


def filled(maximum: int, statements: list[Statement]) -> ServerStatements:
    held = ServerStatements(maximum)
    for statement in statements:
        held.register(statement, held.new_name())
    return held


def test_names_are_never_used_twice() -> None:
    held = ServerStatements(2)
    names = []
    for number in range(10):
        names.append(held.new_name())
        held.register(made(number), names[-1])
        held.clear()
    assert len(set(names)) == 10


def test_the_least_recently_used_one_goes() -> None:
    a, b, c, d = statements = [made(number) for number in range(4)]
    held = filled(3, statements[:3])
    assert held.name_of(a) == b"tidegate_1"
    held.register(d, held.new_name())
    assert held.obsolete == [b"tidegate_2"]
    assert held.name_of(b) is None
    assert [held.name_of(statement) for statement in (a, c, d)] == [
        b"tidegate_1",
        b"tidegate_3",
        b"tidegate_4",
    ]


def test_forgotten_is_not_closed_and_dropped_is() -> None:
    a, b, c = statements = [made(number) for number in range(3)]
    held = filled(9, statements)
    held.forget(a)
    held.drop(b)
    held.drop(b)
    held.forget(made(7))
    assert held.obsolete == [b"tidegate_2"]
    assert list(held.names) == [c]


def test_adopting_keeps_the_fresh_copy() -> None:
    known, fresh = made(1), made(1)
    held = filled(9, [known, fresh])
    held.adopt(known, fresh)
    assert held.names == {known: b"tidegate_2"}
    assert held.obsolete == [b"tidegate_1"]


def test_adopting_for_one_that_is_not_here() -> None:
    known, fresh, stranger = made(1), made(1), made(2)
    held = filled(9, [fresh])
    held.adopt(known, fresh)
    held.adopt(known, stranger)
    assert held.names == {known: b"tidegate_1"}
    assert held.obsolete == []


def test_clear_leaves_nothing_to_close() -> None:
    held = filled(1, [made(1), made(2)])
    assert held.obsolete
    held.clear()
    assert held.names == {}
    assert held.close_obsolete(Pipeline()) == b""


def test_close_messages_are_owed_a_reply_each() -> None:
    held = filled(1, [made(1), made(2), made(3)])
    pipeline = Pipeline()
    sent = held.close_obsolete(pipeline)
    assert sent == wire.close("S", "tidegate_1") + wire.close("S", "tidegate_2")
    assert [reply.kind for reply in pipeline.pending()] == [pl.OWN_CLOSE, pl.OWN_CLOSE]
    assert held.close_obsolete(pipeline) == b""


@given(st.integers(1, 5), st.lists(st.integers(0, 9), max_size=40))
def test_what_the_server_holds_is_bounded_and_known(maximum: int, uses: list[int]) -> None:
    statements = [made(number) for number in range(10)]
    held = ServerStatements(maximum)
    on_server: set[bytes] = set()
    for use in uses:
        statement = statements[use]
        name = held.name_of(statement)
        if name is None:
            name = held.new_name()
            held.register(statement, name)
            on_server.add(name)
        assert held.names[statement] == name
        on_server -= set(held.obsolete)
        held.obsolete = []
        assert on_server == set(held.names.values())
        assert len(held.names) <= maximum


@given(st.integers(2, 6), st.lists(st.integers(0, 20), max_size=40))
def test_what_was_just_used_stays(maximum: int, uses: list[int]) -> None:
    """More than half of the places go to the statements used last, in the order of their use."""
    statements = [made(number) for number in range(21)]
    held = ServerStatements(maximum)
    order: list[int] = []
    for use in uses:
        if held.name_of(statements[use]) is None:
            held.register(statements[use], held.new_name())
        order = [*(other for other in order if other != use), use]
        for recent in order[-(maximum // 2) :]:
            assert statements[recent] in held.names
