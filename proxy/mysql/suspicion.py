"""Finds out quickly that a text contains none of the words that ``inspection.py`` cares about."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy.wire.words import COMPILED, has_word, table_of

if TYPE_CHECKING:
    from mypy_extensions import i64

_BEHIND_WORD: Final = (b" ", b"\t", b"\n", b"\v", b"\f", b"\r", b"/", b"#", b"-")
_BEFORE_SPACE: Final = (b"lock", b"xa", b"create", b"alter", b"rename")
WORDS: Final = (
    b"@",
    b"/*!",
    b"/*m!",
    b"temporary",
    b"get_lock",
    b"release_",
    *(word + behind for word in _BEFORE_SPACE for behind in _BEHIND_WORD),
    b"prepare",
    b"execute",
    b"handler",
    b"flush",
    b"backup",
    b"last_insert_id",
    b"identity",
    b"row_count",
    b"found_rows",
    b"diagnostics",
    b"warnings",
    b"errors",
    b"kill",
    b"connection_id",
    b"statement",
    b"transaction",
    b"role",
    b"resource",
    b"call",
    b"binlog",
    b"nextval",
    b"next",
    b"atomic",
    b"drop",
)
"""One of these, in any case, is in everything that leaves something behind. ``inspection.py`` looks
more closely. A semicolon that is not at the end counts as well."""
_START_TRANSACTION: Final = frozenset({b"start transaction", b"start transaction read only"})
_SUSPICIOUS: Final = re.compile(b"|".join(map(re.escape, WORDS)) + rb"|;\s*[^\s;]")
_TABLE: Final = table_of((*WORDS, b";"))
_SECOND_STATEMENT: Final = re.compile(rb";\s*[^\s;]")
_LONG_BYTES: Final = 1 << 14
"""In texts this long, looking for one word after the other takes half the time."""


def is_suspicious(sql: bytes) -> bool:
    """Whether a text must be looked at more closely."""
    if COMPILED and not has_word(_TABLE, sql, 0, len(sql)):
        return False
    lower = sql.lower()
    if not COMPILED and len(lower) > _LONG_BYTES:
        return _has_any(lower)
    return _SUSPICIOUS.search(lower) is not None and lower not in _START_TRANSACTION


def is_plain(data: bytes, start: i64, end: i64) -> bool:
    """Whether the text here is harmless at first sight; nothing is copied."""
    return COMPILED and not has_word(_TABLE, data, start, end)


def _has_any(lower: bytes) -> bool:
    for word in WORDS:
        if lower.find(word) >= 0:
            return True
    return _SECOND_STATEMENT.search(lower) is not None
