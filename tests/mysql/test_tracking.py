"""Session-state blocks: what servers send is read, what a client did not ask for is left out."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ProtocolError
from proxy.mysql.lenenc import lenenc
from proxy.mysql.tracking import filter_track, read_track, variable_track

NAMES = st.text("abcdefghij_", min_size=1, max_size=12)
PAIRS = st.lists(st.tuples(NAMES, st.text(max_size=300)), max_size=5)


def block(kind: int, data: bytes) -> bytes:
    return bytes((kind,)) + lenenc(data)


def variables(pairs: list[tuple[str, str]]) -> bytes:
    return b"".join(lenenc(n.encode()) + lenenc(v.encode()) for n, v in pairs)


def whole(pairs: list[tuple[str, str]], schema: str) -> bytes:
    return (
        block(0, variables(pairs))
        + block(1, lenenc(schema.encode()))
        + block(2, lenenc(b"1"))
        + block(3, b"\0" + lenenc(b"gtid"))
        + block(4, lenenc(b"START TRANSACTION;"))
        + block(5, lenenc(b"T______L"))
    )


@given(PAIRS, st.text(max_size=64))
def test_everything_is_read(pairs: list[tuple[str, str]], schema: str) -> None:
    track = read_track(whole(pairs, schema))
    assert track.variables == pairs
    assert track.schema == schema
    assert track.state_changed
    assert track.characteristics == "START TRANSACTION;"
    assert track.transaction == "T______L"
    assert track.locks_tables


def test_an_empty_block_says_nothing() -> None:
    track = read_track(b"")
    assert not track.variables
    assert track.schema is None
    assert not track.state_changed
    assert track.transaction is None
    assert not track.locks_tables


@given(NAMES, st.text(max_size=300))
def test_a_variable_that_is_told_of_is_read(name: str, value: str) -> None:
    assert read_track(variable_track(name, value)).variables == [(name.lower(), value)]


def test_variables_may_come_apart_or_together() -> None:
    apart = block(0, variables([("A", "1")])) + block(0, variables([("b", "2")]))
    together = block(0, variables([("A", "1"), ("b", "2")]))
    assert read_track(apart).variables == read_track(together).variables == [("a", "1"), ("b", "2")]


@given(PAIRS, st.sets(NAMES, max_size=3), st.booleans(), st.booleans())
def test_only_what_was_asked_for_is_left(
    pairs: list[tuple[str, str]], names: set[str], schema: bool, info: bool
) -> None:
    left = read_track(
        filter_track(
            whole(pairs, "s"),
            frozenset(names),
            schema=schema,
            state_change=False,
            gtids=False,
            transaction_info=info,
        )
    )
    assert left.variables == [pair for pair in pairs if pair[0] in names]
    assert left.schema == ("s" if schema else None)
    assert not left.state_changed
    assert (left.transaction is not None) == (left.characteristics is not None) == info


@given(PAIRS.filter(len))
def test_all_is_left_if_all_was_asked_for(pairs: list[tuple[str, str]]) -> None:
    raw = whole(pairs, "s")
    kept = filter_track(
        raw, None, schema=True, state_change=True, gtids=True, transaction_info=True
    )
    assert kept == raw


@given(st.data())
def test_a_cut_block_is_refused(data: st.DataObject) -> None:
    raw = block(0, variables([("sql_mode", "ANSI_QUOTES")]))
    cut = data.draw(st.integers(1, len(raw) - 1))
    with pytest.raises(ProtocolError):
        read_track(raw[:cut])


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        read_track(raw)
