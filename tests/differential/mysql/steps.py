"""What scripts of MySQL commands are made of."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support import mysql_messages as wire
from tests.support.local_mysql import MARIADB, MYSQL

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TINY, INT, DOUBLE, NULL, LONGLONG = 0x01, 0x03, 0x05, 0x06, 0x08
DATE, TIME, DATETIME, NEWDECIMAL, BLOB, VAR_STRING = 0x0A, 0x0B, 0x0C, 0xF6, 0xFC, 0xFD
UNSIGNED = 0x80
UNKNOWN = 0x7FFFFFFF
"""A statement id that no server has given out."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command."""

    payload: bytes
    statement: int | None = None
    """Which of the statements prepared so far takes the place of the payload's statement id."""
    upload: bytes | None = None
    """What LOCAL INFILE gets; ``None`` or empty sends an empty file."""
    attributes: bytes = wire.NO_ATTRIBUTES
    """What comes ahead of a query's text where clients send attributes."""


@dataclass(frozen=True, slots=True)
class Script:
    """One conversation: SQL run beforehand by another session, then commands."""

    name: str
    steps: tuple[Step, ...]
    before: tuple[str, ...] = ()
    kinds: tuple[str, ...] = (MYSQL, MARIADB)
    schema: str = "app"
    """What the client logs in to; empty for none."""


@dataclass(frozen=True, slots=True)
class Value:
    """A parameter of a prepared statement."""

    kind: int
    data: bytes | None
    """As the binary protocol encodes it; ``None`` for NULL, and for what came as long data."""
    unsigned: bool = False
    long_data: bool = False


def script(
    name: str,
    *steps: Step | str,
    before: tuple[str, ...] = (),
    kinds: tuple[str, ...] = (MYSQL, MARIADB),
    schema: str = "app",
) -> Script:
    """Make a script; a string is a COM_QUERY."""
    made = [query(step) if isinstance(step, str) else step for step in steps]
    return Script(name, tuple(made), before, kinds, schema)


def command(code: int, body: bytes = b"") -> Step:
    """Send any command."""
    return Step(bytes([code]) + body)


def query(
    sql: str | bytes, upload: bytes | None = None, attributes: dict[str, Value] | None = None
) -> Step:
    """Send COM_QUERY; ``attributes`` are for clients that may send some."""
    text = sql.encode() if isinstance(sql, str) else sql
    ahead = wire.NO_ATTRIBUTES
    if attributes:
        ahead = bytes([len(attributes), 1]) + _named(attributes.items())
    return Step(bytes([wire.QUERY]) + text, upload=upload, attributes=ahead)


def _named(values: Iterable[tuple[str, Value]]) -> bytes:
    """Encode values behind their count: which are NULL, types with names, the values."""
    listed = list(values)
    types = b"".join(
        bytes([value.kind, UNSIGNED * value.unsigned]) + wire.lenenc(name.encode())
        for name, value in listed
    )
    data = b"".join(value.data or b"" for _, value in listed)
    return _nulls([value for _, value in listed]) + b"\1" + types + data


def _nulls(values: Sequence[Value]) -> bytes:
    nulls = bytearray((len(values) + 7) // 8)
    for index, value in enumerate(values):
        if value.data is None and not value.long_data:
            nulls[index // 8] |= 1 << index % 8
    return bytes(nulls)


def prepare(sql: str) -> Step:
    """Send COM_STMT_PREPARE."""
    return Step(bytes([wire.PREPARE]) + sql.encode())


def number(value: int) -> Value:
    """Make a BIGINT."""
    return Value(LONGLONG, struct.pack("<q", value))


def text(value: str | bytes) -> Value:
    """Make a string."""
    data = value.encode() if isinstance(value, str) else value
    return Value(VAR_STRING, wire.lenenc(data))


NOTHING = Value(NULL, None)
LONG = Value(BLOB, None, long_data=True)
"""A parameter that COM_STMT_SEND_LONG_DATA sent before."""


def execute(statement: int, *values: Value, cursor: bool = False, bound: bool = True) -> Step:
    """Send COM_STMT_EXECUTE; ``bound`` tells the types again."""
    payload = bytes([wire.EXECUTE]) + bytes(4) + bytes([cursor]) + struct.pack("<I", 1)
    if values:
        payload += _nulls(values) + bytes([bound])
        if bound:
            payload += b"".join(bytes([v.kind, UNSIGNED * v.unsigned]) for v in values)
        payload += b"".join(value.data or b"" for value in values)
    return Step(payload, statement)


def execute_with(statement: int, attributes: dict[str, Value], *values: Value) -> Step:
    """Send COM_STMT_EXECUTE with attributes."""
    named = [("", value) for value in values] + list(attributes.items())
    payload = bytes([wire.EXECUTE]) + bytes(4) + b"\x08" + struct.pack("<I", 1)
    return Step(payload + bytes([len(named)]) + _named(named), statement)


def fetch(statement: int, rows: int) -> Step:
    """Send COM_STMT_FETCH."""
    return Step(bytes([wire.FETCH]) + bytes(4) + struct.pack("<I", rows), statement)


def close(statement: int) -> Step:
    """Send COM_STMT_CLOSE, which is not answered."""
    return Step(bytes([wire.CLOSE]) + bytes(4), statement)


def reset(statement: int) -> Step:
    """Send COM_STMT_RESET."""
    return Step(bytes([wire.RESET]) + bytes(4), statement)


def long_data(statement: int, parameter: int, data: bytes) -> Step:
    """Send COM_STMT_SEND_LONG_DATA, which is not answered."""
    return Step(bytes([wire.LONG_DATA]) + bytes(4) + struct.pack("<H", parameter) + data, statement)
