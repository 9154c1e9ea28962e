"""Finds out quickly that a text has nothing in it that ``inspection.py`` cares about."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy.wire.words import COMPILED, beginnings_of, begins_with_word, has_word, table_of

if TYPE_CHECKING:
    from mypy_extensions import i64

HARMLESS_WORDS: Final = frozenset(
    b"select insert update delete with values begin commit end rollback abort start savepoint "
    b"release fetch show copy table merge move vacuum analyze truncate lock".split()
)
"""Statements that begin with one of these leave nothing behind if nothing suspicious follows."""
_BEGINNINGS: Final = beginnings_of(
    sorted(word + behind for word in HARMLESS_WORDS for behind in (b" ", b"\n", b";", b"\0"))
)
_SUSPICIOUS: Final = re.compile(
    rb"temp(?![a-np-z])|advisory|set(?:_config|seed|_limit)|currval|lastval|dblink|origin_session"
    rb"|pg_settings|slot\s*\(|u&\"|;\s*[^\s;]"
)
"""What a harmless statement does not contain; a semicolon only at its end.

Alternatives begin with a character each: ``\\b`` would make the search five times slower.
"""
_WORDS: Final = (
    b"temp",
    b"advisory",
    b"set_config",
    b"setseed",
    b"set_limit",
    b"currval",
    b"lastval",
    b"dblink",
    b"origin_session",
    b"pg_settings",
    b"slot",
    b'u&"',
    b";",
)
"""One of these is in everything that ``_SUSPICIOUS`` finds."""
_TABLE: Final = table_of(_WORDS)


def is_suspicious(sql: bytes) -> bool:
    """Whether a statement, however it begins, must be looked at more closely."""
    if COMPILED and not has_word(_TABLE, sql, 0, len(sql)):
        return False
    return _SUSPICIOUS.search(sql.lower()) is not None


def is_plain(data: bytes, start: i64, end: i64) -> bool:
    """Whether the text here, before a zero byte at ``end``, is harmless at first sight.

    On the hot path of every Query and Parse: nothing is copied.
    """
    return (
        COMPILED
        and begins_with_word(_BEGINNINGS, data, start, end + 1)
        and not has_word(_TABLE, data, start, end)
    )
