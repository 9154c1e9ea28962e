"""Session state changed where no text shows it: in stored programs, triggers and views.

``SELECT next_job()`` may take a named lock inside. So the proxy asks the server once in a while,
and whenever a definition changes through it, which routines and views contain anything that
``bodies.py`` knows, which use those, and which tables have such triggers. Their names then count
as what their bodies say.

A server shows a body only to its definer and to users with certain privileges (SHOW VIEW; MySQL's
SHOW_ROUTINE; MariaDB's SELECT on ``mysql.proc``). One that cannot be read may do anything: a
session that uses it stays on its connection. Triggers are shown to users with the privilege
TRIGGER, and not at all to others. Defaults, generated columns and CHECK can use neither stored
functions nor GET_LOCK (seen on MySQL 9.7.4 and MariaDB 10.11.19).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy.mysql.bodies import SUSPECTS, body_effects
from proxy.mysql.effects import Effects

if TYPE_CHECKING:
    from collections.abc import Iterable

TIME_LIMIT: Final = b"/*M! SET STATEMENT max_statement_time=2 FOR */ "
"""Ahead of a question: MariaDB gives it up after two seconds. A catalogue that large must not keep
connections from opening. MySQL has a hint for that, which is in every question."""
_FUNCTION: Final = b"F"
_LONGEST_BODY: Final = 200_000
_MOST_ROWS: Final = 20_000
_ROUNDS: Final = 8
"""How deep programs that use programs are followed."""
_QUERY: Final = (
    b"SELECT /*+ MAX_EXECUTION_TIME(2000) */ CAST(kind AS BINARY),CAST(name AS BINARY),"
    b"IF(CHAR_LENGTH(body)>%d,NULL,CAST(body AS BINARY)) FROM ("
    b"SELECT LEFT(ROUTINE_TYPE,1) AS kind,ROUTINE_NAME AS name,"
    b"IF(ROUTINE_BODY='SQL',ROUTINE_DEFINITION,NULL) AS body FROM information_schema.ROUTINES"
    b" WHERE ROUTINE_SCHEMA NOT IN ('mysql','sys')"
    b" UNION ALL SELECT 'T',EVENT_OBJECT_TABLE,ACTION_STATEMENT FROM information_schema.TRIGGERS"
    b" WHERE TRIGGER_SCHEMA NOT IN ('mysql','sys')"
    b" UNION ALL SELECT 'V',TABLE_NAME,NULLIF(VIEW_DEFINITION,'') FROM information_schema.VIEWS"
    b" WHERE TABLE_SCHEMA NOT IN ('mysql','sys')"
    b") AS programs WHERE %s LIMIT %d"
)
_FIRST: Final = b"body IS NULL OR LOWER(body) REGEXP '" + SUSPECTS + b"'"

Source = tuple[bytes, bytes, bytes | None]
"""Kind (a first letter: function, procedure, package, trigger, view), name in lower case, body. The
name of a trigger is that of its table."""


class Catalogue:
    """Asks a server, question by question, for what its stored programs do to a session."""

    def __init__(self) -> None:
        self._sources: set[Source] = set()
        self._new: set[bytes] = set()
        self._rounds = 0

    def question(self) -> bytes:
        """The next query; ``b""`` when all is known."""
        if self._rounds == 0:
            return _QUERY % (_LONGEST_BODY, _FIRST, _MOST_ROWS)
        if not self._new or self._rounds > _ROUNDS:
            return b""
        names = b"|".join(map(_escaped, sorted(self._new)))
        users = b"LOWER(body) REGEXP _utf8mb4 x'%s'" % names.hex().encode()
        return _QUERY % (_LONGEST_BODY, users, _MOST_ROWS)

    def take(self, rows: Iterable[list[bytes | None]]) -> None:
        """Take the answer."""
        known = {name for _, name, _ in self._sources}
        for row in rows:
            if len(row) == 3 and row[0] and row[1]:
                # A name as a text has it: only a quoted one can have quotes in it, doubled.
                self._sources.add((row[0], row[1].lower().replace(b"`", b"``"), row[2]))
        self._new = {name for _, name, _ in self._sources} - known
        self._rounds += 1

    def effects(self) -> HiddenEffects | None:
        """What has been found; ``None`` when nothing is hidden."""
        return HiddenEffects(self._sources) if self._sources else None


class HiddenEffects:
    """What the names of stored programs, tables and views may do to a session."""

    def __init__(self, sources: Iterable[Source]) -> None:
        own: dict[bytes, Effects] = {}
        users: dict[bytes, set[bytes]] = {}
        functions: set[bytes] = set()
        others: set[bytes] = set()
        for kind, name, _ in sources:
            (functions if kind == _FUNCTION else others).add(name)
        self._names = _pattern(functions, others)
        for _, name, body in sources:
            own.setdefault(name, Effects()).add(body_effects(body))
            users.setdefault(name, set()).update(self._mentioned((body or b"").lower()))
        self._effects = {name: _with_used(name, own, users) for name in own}
        self._foreign = Effects()
        """Of all names with letters that are not ASCII: nobody knows how a text encodes them."""
        for name, effects in self._effects.items():
            if not name.isascii():
                self._foreign.add(effects)

    def _mentioned(self, text: bytes) -> set[bytes]:
        return {name for names in self._names.findall(text) for name in names if name}

    def added_to(self, sql: bytes, effects: Effects | None) -> Effects | None:
        """Effects of a text, those of the names in it included."""
        found = [self._effects[name] for name in self._mentioned(sql.lower())]
        if self._foreign.may_begin and not sql.isascii():
            found.append(self._foreign)
        if not found:
            return effects
        merged = Effects() if effects is None else effects.copy()
        for hidden in found:
            merged.add(hidden)
        return merged


def _escaped(name: bytes) -> bytes:
    return re.sub(rb"([^\w\x80-\xff])", rb"\\\1", name)


def _pattern(functions: set[bytes], others: set[bytes]) -> re.Pattern[bytes]:
    """A pattern of names as a text has them; a function's stands ahead of a parenthesis."""
    called = b"(" + _any_of(functions) + rb")(?=[`\"]?\s*[(/#-])"
    return re.compile(rb"(?<![\w$])(?:" + called + b"|(" + _any_of(others) + rb")(?![\w$]))")


def _any_of(names: set[bytes]) -> bytes:
    """A pattern of one of these names; of none, one that matches nothing."""
    plain = [name for name in names if name.isascii()]
    return b"|".join(map(re.escape, sorted(plain, key=len, reverse=True))) or b"(?!)"


def _with_used(name: bytes, own: dict[bytes, Effects], users: dict[bytes, set[bytes]]) -> Effects:
    """Effects of a name and of all that its bodies use, however far away."""
    merged = Effects()
    seen, left = {name}, [name]
    while left:
        current = left.pop()
        merged.add(own[current])
        fresh = users[current] - seen
        seen |= fresh
        left += fresh
    return merged
