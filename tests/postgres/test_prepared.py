"""Identity of prepared statements."""

from __future__ import annotations

import gc
import struct

from hypothesis import given
from hypothesis import strategies as st

from proxy.postgres.prepared import (
    SERVER_NAME_PREFIX,
    STALE_NAME,
    Statement,
    StatementRegistry,
    describe_message,
    parameter_part,
    parse_message,
    result_shape,
    unguessed,
)
from tests.support import messages as wire

SELECT_1 = b"SELECT 1\0\0\0"
COLUMNS = st.tuples(
    st.binary(max_size=20).filter(lambda name: b"\0" not in name),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**15 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(-1, 2**15 - 1),
    st.integers(-1, 2**31 - 1),
)


def described(definition: bytes, description: bytes) -> Statement:
    statement = Statement(definition, None)
    statement.description = description
    return statement


def row_description(columns: list[tuple[bytes, int, int, int, int, int]]) -> bytes:
    payload = struct.pack("!H", len(columns))
    for name, table, number, type_oid, size, modifier in columns:
        payload += name + b"\0" + struct.pack("!IHIhih", table, number, type_oid, size, modifier, 0)
    return payload


def test_the_same_text_and_description_is_the_same_statement() -> None:
    registry = StatementRegistry()
    one, two = described(SELECT_1, b"d"), described(SELECT_1, b"d")
    assert registry.intern(one) is one
    assert registry.intern(two) is one
    assert len(registry) == 1


def test_another_description_is_another_statement() -> None:
    registry = StatementRegistry()
    old, new = described(SELECT_1, b"old"), described(SELECT_1, b"new")
    assert registry.intern(old) is old
    assert registry.intern(new) is new
    assert registry.latest(SELECT_1) is new
    # Whoever prepares the old one again sees the schema as it is now: back to the old one.
    assert registry.intern(described(SELECT_1, b"old")) is old
    assert registry.latest(SELECT_1) is old


def test_parameter_types_belong_to_the_definition() -> None:
    registry = StatementRegistry()
    one = registry.intern(described(b"SELECT $1\0\0\1\0\0\0\x17", b"d"))
    two = registry.intern(described(b"SELECT $1\0\0\1\0\0\0\x19", b"d"))
    assert one is not two


def test_statements_that_nobody_has_are_forgotten() -> None:
    registry = StatementRegistry()
    kept = registry.intern(described(SELECT_1, b"d"))
    for number in range(50):
        registry.intern(described(b"SELECT %d" % number, b"d"))
    gc.collect()
    assert len(registry) == 1
    assert registry.latest(SELECT_1) is kept
    assert registry.latest(b"SELECT 7") is None


@given(st.lists(COLUMNS, max_size=4), st.integers(1, 1000))
def test_where_a_column_comes_from_does_not_count(
    columns: list[tuple[bytes, int, int, int, int, int]], moved: int
) -> None:
    elsewhere = [
        (name, (table + moved) % 2**32, (number + moved) % 2**15, oid, size, modifier)
        for name, table, number, oid, size, modifier in columns
    ]
    assert result_shape(row_description(columns)) == result_shape(row_description(elsewhere))


@given(st.lists(COLUMNS, max_size=3), st.lists(COLUMNS, max_size=3))
def test_names_types_sizes_and_modifiers_count(
    one: list[tuple[bytes, int, int, int, int, int]],
    two: list[tuple[bytes, int, int, int, int, int]],
) -> None:
    def counted(columns: list[tuple[bytes, int, int, int, int, int]]) -> list[object]:
        return [(column[0], *column[3:]) for column in columns]

    same = counted(one) == counted(two)
    assert (result_shape(row_description(one)) == result_shape(row_description(two))) == same


@given(st.binary(max_size=60))
def test_any_bytes_have_a_shape(payload: bytes) -> None:
    assert isinstance(result_shape(payload), bytes)


def test_parameter_part() -> None:
    parameters = b"\0\2\0\0\0\x17\0\0\0\x19"
    assert parameter_part(parameters + b"row") == parameters
    assert parameter_part(b"\0\0row") == b"\0\0"


def test_messages() -> None:
    assert parse_message(b"n", b"SELECT $1\0\0\1\0\0\0\x17") == wire.parse("SELECT $1", "n", (23,))
    assert describe_message(b"n") == wire.describe("S", "n")


def test_the_stale_name_is_never_a_servers() -> None:
    """Server names are the prefix and a number; both must fit PostgreSQL's 63 bytes."""
    assert STALE_NAME.startswith(SERVER_NAME_PREFIX)
    assert not STALE_NAME.removeprefix(SERVER_NAME_PREFIX).isdigit()
    assert len(STALE_NAME) < 64


def test_names_like_ours_are_taken_out_of_our_way() -> None:
    assert unguessed(b"tidegate_1") == b"_tidegate_1"
    assert unguessed(b"mine") == b"mine"


def test_texts_read_under_other_settings_are_other_statements() -> None:
    registry = StatementRegistry()
    made = []
    for context in ("ISO", "German", "ISO"):
        statement = Statement(b"SELECT '1/2/2020'::date\0\0\0", None, context)
        statement.description = b"\0\0"
        made.append(registry.intern(statement))
    assert made[0] is made[2]
    assert made[0] is not made[1]
    assert registry.latest(made[1].definition, "German") is made[1]
