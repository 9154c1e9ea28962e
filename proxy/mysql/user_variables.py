"""User variables that follow a session: what to ask, and how to set exactly the same values again.

A variable has a type (integer, unsigned integer, decimal, double, string), a character set and a
collation besides its value. Observed on MySQL 9.7.4 and MariaDB 10.11.19: a column that is a bare
``@x`` has the variable's type in its metadata; doubles are written with as many digits as tell them
apart; strings are converted to ``character_set_results``, so their bytes are asked for in hex.
Dates, JSON and bits are strings once they are in a variable.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.errors import ProtocolError
from proxy.mysql.constants import (
    MYSQL_TYPE_DOUBLE,
    MYSQL_TYPE_LONGLONG,
    MYSQL_TYPE_NEWDECIMAL,
    UNSIGNED_FLAG,
)
from proxy.mysql.lenenc import read_int, read_lenenc, read_lenenc_int

MOST_BYTES: Final = 1 << 16
"""Most SQL that the values of a session may take; a session with more keeps its connection."""
COLUMNS: Final = 4
"""Columns of ``question`` for each variable."""

_NUMBER: Final = re.compile(rb"-?[0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?\Z")
_NAME: Final = re.compile(rb"[A-Za-z0-9_]+\Z")


def quote_name(name: bytes) -> bytes:
    """Write a variable's name, which is without its at sign, as SQL."""
    return b"@`" + name.replace(b"`", b"``") + b"`"


def question(names: list[bytes]) -> bytes:
    """A query for some variables, one row of ``COLUMNS`` columns each."""
    return b"SELECT " + b",".join(
        b"%s,HEX(CAST(%s AS BINARY)),CHARSET(%s),COLLATION(%s)" % ((quote_name(name),) * COLUMNS)
        for name in names
    )


def read_column(payload: bytes, *, extended: bool) -> tuple[int, int]:
    """Read type and flags from a column definition.

    ``extended`` is whether MARIADB_CLIENT_EXTENDED_METADATA is in force.
    """
    position = 0
    for _ in range(7 if extended else 6):
        _, position = read_lenenc(payload, position)
    _, position = read_lenenc_int(payload, position)
    kind, position = read_int(payload, position + 6, 1)
    flags, position = read_int(payload, position, 2)
    return kind, flags


def read_values(
    names: list[bytes], columns: list[tuple[int, int]], row: list[bytes | None]
) -> dict[bytes, bytes]:
    """Read the answer to ``question``: by name, an SQL expression of exactly the value.

    Raises ``ProtocolError`` if the answer is not one to that question.
    """
    if not len(names) * COLUMNS == len(columns) == len(row):
        raise ProtocolError("unexpected answer about user variables")
    found = {}
    for index, name in enumerate(names):
        start = index * COLUMNS
        kind, flags = columns[start]
        value, in_hex, charset, collation = row[start : start + COLUMNS]
        if kind in (MYSQL_TYPE_LONGLONG, MYSQL_TYPE_NEWDECIMAL, MYSQL_TYPE_DOUBLE):
            found[name] = _number(kind, flags, value)
        else:
            found[name] = _string(in_hex, charset or b"", collation or b"")
    return found


def _number(kind: int, flags: int, value: bytes | None) -> bytes:
    if value is not None and _NUMBER.match(value) is None:
        raise ProtocolError("unexpected number in a user variable")
    if kind == MYSQL_TYPE_DOUBLE:
        if value is None:
            return b"NULL+0e0"
        return value if b"e" in value else value + b"e0"
    text = b"NULL" if value is None else value
    if kind == MYSQL_TYPE_LONGLONG:
        return b"CAST(%s AS %s)" % (text, b"UNSIGNED" if flags & UNSIGNED_FLAG else b"SIGNED")
    return b"CAST(%s AS DECIMAL(65,%d))" % (text, len(text.partition(b".")[2]))


def _string(in_hex: bytes | None, charset: bytes, collation: bytes) -> bytes:
    if _NAME.match(charset) is None or _NAME.match(collation) is None:
        raise ProtocolError("unexpected character set of a user variable")
    if in_hex is None:
        if charset == b"binary":
            return b"NULL"
        return b"CAST(NULL AS CHAR CHARACTER SET %s) COLLATE %s" % (charset, collation)
    if not all(byte in b"0123456789ABCDEF" for byte in in_hex):
        raise ProtocolError("unexpected string in a user variable")
    if charset == b"binary":
        return b"_binary X'%s'" % in_hex
    return b"_%s X'%s' COLLATE %s" % (charset, in_hex, collation)


def size(values: dict[bytes, bytes]) -> int:
    """Bytes of SQL that ``restore_sql`` takes, nearly; compare with ``MOST_BYTES``."""
    return sum(len(name) + len(value) + 5 for name, value in values.items())


def restore_sql(values: dict[bytes, bytes], gone: list[bytes]) -> bytes:
    """One SET that gives a connection these values, and NULL to those ``gone``; empty for none."""
    if not values and not gone:
        return b""
    assignments = [quote_name(name) + b"=NULL" for name in gone]
    assignments += [quote_name(name) + b"=" + value for name, value in values.items()]
    return b"SET " + b",".join(assignments)
