"""Literals in place of functions that would tell of a server connection what is a session's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.mysql.effects import Effects
    from proxy.mysql.session_state import SessionState

Literal = tuple[int, int, bool, bytes]
"""Start and end of what it replaces, whether that names a column, and the SQL."""

_SIGNED: Final = b"CAST(%d|0 AS SIGNED)"
_NULLABLE: Final = b"NULLIF(%d|0,-1)"
_OUTCOMES: Final = {
    b"row_count": _SIGNED,
    b"found_rows": _SIGNED,
    b"warning_count": _NULLABLE,
    b"error_count": _NULLABLE,
}
"""Expressions of the type, length and flags that the functions and variables have (observed on
MySQL 9.7.4 and MariaDB 10.11.19)."""


def own_ids(effects: Effects, number: int) -> list[Literal]:
    """The session's number for CONNECTION_ID()."""
    literal = b"CAST(%d AS UNSIGNED)" % number
    return [(start, end, names, literal) for start, end, names in effects.connection_ids]


def outcomes(effects: Effects, state: SessionState) -> list[Literal]:
    """What is known of the last statement, for ROW_COUNT() and its like."""
    found = []
    for start, end, names, name in effects.outcome_calls:
        found.append((start, end, names, _OUTCOMES[name] % (state.outcome(name) or 0)))
    return found


def with_literals(text: bytes, literals: list[Literal]) -> bytes:
    """Put literals into a text; a column goes by the name of the call all the same."""
    for start, end, names, literal in sorted(literals, reverse=True):
        if names:
            literal += b" AS `" + text[start:end].replace(b"`", b"``") + b"`"
        text = text[:start] + literal + text[end:]
    return text
