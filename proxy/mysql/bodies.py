"""Reads the bodies of stored programs and views: what running them may do to a session.

A body is not taken apart into tokens: MySQL (9.7.4) stores it without the backslashes of its
strings, so nobody can tell where these end. Words count wherever they stand, in strings and
comments, too, which is right for SQL that is put together at run time from such strings.

What the server reports of a program (``tracking.py``) need not be found here: system variables,
``SET @x``, PREPARE, temporary tables. Neither need HANDLER and LOCK TABLES, which stored programs
must not contain.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.mysql import effects as fx
from proxy.mysql.effects import Effects

SUSPECTS: Final = (
    b"get_lock|release_lock|release_all_locks|@|temporary|prepare|immediate|nextval"
    b"|next[[:space:]]+value|last_insert_id|flush|instance|xa[[:space:]]"
    b"|set[[:space:]]+(role|resource)|binlog|sql_calc_found_rows"
)
"""A regular expression, in servers' words, that everything ``body_effects`` knows matches."""

_KINDS: Final = (
    (re.compile(rb"\bget_lock\b"), fx.NAMED_LOCK),
    (re.compile(rb"\bexecute\s+immediate\b"), fx.UNREADABLE_CODE),
    (re.compile(rb"\bnextval\b|\bnext\s+value\b"), fx.SEQUENCE),
    (re.compile(rb"\bflush\b(?s:.*)\b(?:lock|export)\b"), fx.GLOBAL_READ_LOCK),
    (re.compile(rb"\block\s+instance\b"), fx.BACKUP_LOCK),
    (re.compile(rb"\bxa\s+(?:start|begin)\b"), fx.XA_TRANSACTION),
    (re.compile(rb"\bset\s+role\b"), fx.ROLE),
    (re.compile(rb"\bset\s+resource\s+group\b"), fx.RESOURCE_GROUP),
)
_RELEASES: Final = re.compile(rb"\brelease_(?:all_locks|lock)\b")
_LOCK: Final = re.compile(rb"\bget_lock\b(?:\s*\(\s*('[\w .:/-]*')\s*,)?", re.IGNORECASE)
_VARIABLE: Final = re.compile(
    rb"(?<![@\w.$])@(?:`([^`]+)`|'([^']+)'|\"([^\"]+)\"|([\w$.\x80-\xff]+))"
)
_WRITES: Final = re.compile(rb"@[\w$.`'\"\x80-\xff]+\s*:?=|\b(?:into|call)\b[^;]*@")


def body_effects(body: bytes | None) -> Effects:
    """Say what running a stored program may do; ``None`` is one that cannot be read."""
    found = Effects()
    # With it, a state change that the server reports pins (``Session.note_track``).
    found.may_begin = fx.STORED_PROGRAM
    if body is None:
        found.may_begin |= fx.UNREADABLE_CODE
        found.reads_last_insert_id = True
        return found
    text = body.lower()
    for pattern, kind in _KINDS:
        if pattern.search(text) is not None:
            found.may_begin |= kind
    if found.may_begin & fx.NAMED_LOCK:
        found.lock_names = _lock_names(body)
    if _RELEASES.search(text) is not None:
        found.may_end |= fx.NAMED_LOCK
    found.reads_last_insert_id = b"last_insert_id" in text or b"identity" in text
    found.calc_found_rows = b"sql_calc_found_rows" in text
    found.permanent = "binlog" if b"binlog" in text else ""
    if _WRITES.search(text) is not None:
        _read_user_variables(text, found)
    return found


def _lock_names(body: bytes) -> frozenset[bytes] | None:
    names = frozenset(_LOCK.findall(body))
    return None if b"" in names else names


def _read_user_variables(text: bytes, found: Effects) -> None:
    names = {b"".join(groups) for groups in _VARIABLE.findall(text)}
    found.writes_user_variables = bool(names)
    found.user_variables = frozenset(name for name in names if name.isascii())
    if len(found.user_variables) < len(names):
        # The catalogue and the session may write the others in different character sets.
        found.may_begin |= fx.UNREADABLE_CODE
