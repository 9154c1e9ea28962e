"""Finds out quickly that a text contains none of the words that ``inspection.py`` cares about."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_extensions import i64

_BEHIND_WORD: Final = (b" ", b"\t", b"\n", b"\v", b"\f", b"\r", b"/", b"#", b"-")
WORDS: Final = (
    b"@",
    b"/*!",
    b"/*m!",
    b"temporary",
    b"get_lock",
    b"release_",
    *(word + behind for word in (b"lock", b"xa") for behind in _BEHIND_WORD),
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
_FOUND: Final = 255


def _automaton() -> bytes:
    """Make the table of Aho and Corasick for the words: next state by state * 256 + byte."""
    steps: list[dict[int, int]] = [{}]
    for word in (*WORDS, b";"):
        state = 0
        for byte in word[:-1]:
            if steps[state].get(byte) == _FOUND:
                break
            if byte not in steps[state]:
                steps.append({})
                steps[state][byte] = len(steps) - 1
            state = steps[state][byte]
        else:
            steps[state][word[-1]] = _FOUND
    assert len(steps) < _FOUND
    table = bytearray(256 * len(steps))
    states = [(0, 0)]
    while states:
        # Breadth first: the state to fall back to is nearer the root, so its row is complete.
        state, fallback = states.pop(0)
        for byte in range(256):
            low = byte + 32 if 65 <= byte <= 90 else byte
            other = table[256 * fallback + byte] if state else 0
            following = _FOUND if other == _FOUND else steps[state].get(low, other)
            table[256 * state + byte] = following
            if low == byte and following != _FOUND and low in steps[state]:
                states.append((following, other))
    return bytes(table)


_SPACE_OR_SEMICOLON: Final = b" \t\n\r\v\f;"


def _has_word(sql: bytes) -> bool:
    """Whether a text contains one of the words, in any case; semicolons at its end aside."""
    end: i64 = len(sql)
    while end > 0 and sql[end - 1] <= 59 and sql[end - 1] in _SPACE_OR_SEMICOLON:
        end -= 1
    position: i64 = 0
    state: i64 = 0
    while position < end:
        state = _TABLE[(state << 8) | sql[position]]
        if state == _FOUND:
            return True
        position += 1
    return False


_TABLE: Final = _automaton()
_COMPILED: Final = type(_has_word).__name__ != "function"
"""A walk through a table, byte by byte, is faster than the regular expression if it is compiled,
and far slower if it is not."""


def is_suspicious(sql: bytes) -> bool:
    """Whether a text must be looked at more closely."""
    if _COMPILED and not _has_word(sql):
        return False
    lower = sql.lower()
    return _SUSPICIOUS.search(lower) is not None and lower not in _START_TRANSACTION
