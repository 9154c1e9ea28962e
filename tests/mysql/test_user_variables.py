"""User variables: what is asked, and what SQL gives them their values again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ProtocolError
from proxy.mysql.constants import (
    MYSQL_TYPE_DOUBLE,
    MYSQL_TYPE_LONGLONG,
    MYSQL_TYPE_NEWDECIMAL,
    UNSIGNED_FLAG,
)
from proxy.mysql.tokens import statements
from proxy.mysql.user_variables import (
    question,
    quote_name,
    read_column,
    read_values,
    restore_sql,
    size,
)

TEXT = 0xFB
COLUMN = b"\x03def\0\0\0\x02@x\0\x0c?\0\x15\0\0\0\x08\xa0\0\0\0\0"


def value(kind: int, flags: int, row: list[bytes | None]) -> bytes:
    columns = [(kind, flags), (TEXT, 0), (TEXT, 0), (TEXT, 0)]
    return read_values([b"x"], columns, row)[b"x"]


def test_what_is_asked() -> None:
    assert (
        question([b"x"]) == b"SELECT @`x`,HEX(CAST(@`x` AS BINARY)),CHARSET(@`x`),COLLATION(@`x`)"
    )


@given(st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name))
def test_a_name_stays_one_token(name: bytes) -> None:
    ((token, equals),) = statements(quote_name(name) + b"=")
    assert (token.kind, equals.text) == ("variable", b"=")
    assert token.text[2:-1].replace(b"``", b"`") == name


def test_type_and_flags_are_read_from_the_metadata() -> None:
    assert read_column(COLUMN, extended=False) == (MYSQL_TYPE_LONGLONG, UNSIGNED_FLAG | 0x80)
    longer = COLUMN.replace(b"@x\0\x0c", b"@x\0\0\x0c")
    assert read_column(longer, extended=True) == (MYSQL_TYPE_LONGLONG, UNSIGNED_FLAG | 0x80)
    with pytest.raises(ProtocolError):
        read_column(COLUMN[:-5], extended=False)


@pytest.mark.parametrize(
    ("kind", "flags", "text", "sql"),
    [
        (MYSQL_TYPE_LONGLONG, 0, b"-5", b"CAST(-5 AS SIGNED)"),
        (MYSQL_TYPE_LONGLONG, UNSIGNED_FLAG, b"5", b"CAST(5 AS UNSIGNED)"),
        (MYSQL_TYPE_LONGLONG, 0, None, b"CAST(NULL AS SIGNED)"),
        (MYSQL_TYPE_NEWDECIMAL, 0, b"1.50", b"CAST(1.50 AS DECIMAL(65,2))"),
        (MYSQL_TYPE_NEWDECIMAL, 0, b"7", b"CAST(7 AS DECIMAL(65,0))"),
        (MYSQL_TYPE_DOUBLE, 0, b"1.1", b"1.1e0"),
        (MYSQL_TYPE_DOUBLE, 0, b"1e300", b"1e300"),
        (MYSQL_TYPE_DOUBLE, 0, None, b"NULL+0e0"),
    ],
)
def test_numbers(kind: int, flags: int, text: bytes | None, sql: bytes) -> None:
    assert value(kind, flags, [text, b"31", b"binary", b"binary"]) == sql


@pytest.mark.parametrize(
    ("row", "sql"),
    [
        ([None, None, b"binary", b"binary"], b"NULL"),
        ([b"\xff", b"FF", b"binary", b"binary"], b"_binary X'FF'"),
        ([b"", b"", b"latin1", b"latin1_bin"], b"_latin1 X'' COLLATE latin1_bin"),
        (
            [None, None, b"latin1", b"latin1_bin"],
            b"CAST(NULL AS CHAR CHARACTER SET latin1) COLLATE latin1_bin",
        ),
    ],
)
def test_strings(row: list[bytes | None], sql: bytes) -> None:
    assert value(TEXT, 0, row) == sql


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        (MYSQL_TYPE_DOUBLE, [b"1;DROP", b"31", b"binary", b"binary"]),
        (TEXT, [b"x", b"3'", b"binary", b"binary"]),
        (TEXT, [b"x", b"31", b"x'", b"binary"]),
        (TEXT, [b"x", b"31", b"latin1", None]),
        (TEXT, [b"x"]),
    ],
)
def test_nothing_else_becomes_sql(kind: int, row: list[bytes | None]) -> None:
    with pytest.raises(ProtocolError):
        value(kind, 0, row)


def test_one_set_for_all() -> None:
    assert restore_sql({}, []) == b""
    assert restore_sql({b"x": b"1e0"}, [b"y"]) == b"SET @`y`=NULL,@`x`=1e0"
    assert size({b"x": b"1e0"}) >= len(b"@`x`=1e0")
