"""Session state changed where no text shows it: in functions, triggers and views.

``SELECT pick_tenant(42)`` may set a setting or take an advisory lock inside. So the proxy asks each
database once in a while, and whenever a definition changes through it, which functions contain
anything that ``effects.py`` knows, which call those, and which triggers, views, column defaults and
constraints use them. Their names then count as what their bodies say. Functions in C and code that
is put together at run time stay invisible.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.postgres.changes import decode_row
from proxy.postgres.effects import Effects
from proxy.postgres.inspection import body_effects

CATALOGUE_QUERY: Final = (
    b"SET LOCAL statement_timeout=2000;"
    b"WITH RECURSIVE functions AS ("
    b"SELECT p.oid,p.proname,"
    b"pg_catalog.substr(coalesce(pg_catalog.pg_get_function_sqlbody(p.oid),p.prosrc),1,200000)"
    b" AS source"
    b" FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid=p.prolang"
    b" WHERE p.pronamespace NOT IN ('pg_catalog'::pg_catalog.regnamespace,"
    b"'information_schema'::pg_catalog.regnamespace) AND l.lanname NOT IN ('internal','c')),"
    b" stateful AS ("
    b"SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass AS class,oid,proname::text AS name,source"
    b" FROM functions WHERE source OPERATOR(pg_catalog.~*) "
    b"'set_config|advisory_(?!xact)|setseed|dblink_connect|set_limit|currval|lastval|pg_settings"
    b"|\\mlisten\\M|\\mload\\M|\\mprepare\\M|\\mpg_temp|\\mtemp\\M|\\mtemporary\\M|with\\s+hold"
    b"|(^|;|''|\\mbegin|\\mthen|\\melse|\\mloop)\\s*(re)?set\\s'"
    b" UNION SELECT found.* FROM stateful s CROSS JOIN LATERAL ("
    b"SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass,f.oid,f.proname::text,f.source"
    b" FROM functions f"
    b" WHERE pg_catalog.strpos(pg_catalog.lower(f.source),pg_catalog.lower(s.name))>0"
    b" UNION ALL"
    b" SELECT 'pg_catalog.pg_class'::pg_catalog.regclass,c.oid,c.relname::text,s.source"
    b" FROM (SELECT tgrelid FROM pg_catalog.pg_trigger WHERE tgfoid=s.oid"
    b" AND s.class='pg_catalog.pg_proc'::pg_catalog.regclass"
    b" UNION ALL SELECT coalesce(w.ev_class,a.adrelid,k.conrelid) FROM pg_catalog.pg_depend d"
    b" LEFT JOIN pg_catalog.pg_rewrite w ON w.oid=d.objid"
    b" AND d.classid='pg_catalog.pg_rewrite'::pg_catalog.regclass"
    b" LEFT JOIN pg_catalog.pg_attrdef a ON a.oid=d.objid"
    b" AND d.classid='pg_catalog.pg_attrdef'::pg_catalog.regclass"
    b" LEFT JOIN pg_catalog.pg_constraint k ON k.oid=d.objid"
    b" AND d.classid='pg_catalog.pg_constraint'::pg_catalog.regclass"
    b" WHERE d.refobjid=s.oid AND d.refclassid=s.class) AS user_of(relation)"
    b" JOIN pg_catalog.pg_class c ON c.oid=user_of.relation"
    b") AS found(class,oid,name,source))"
    b" SELECT name,source FROM stateful LIMIT 5000"
)
"""Rows of a name and a source. Recursive, because what is stateful makes its users stateful:
functions that mention it, relations with such triggers, rules (views), defaults and constraints.
It is given up after two seconds: a catalogue that large must not keep connections from opening."""
_ROUNDS: Final = 4
"""How deep functions that call functions are followed."""


class HiddenEffects:
    """What the names of one database may do to a session."""

    def __init__(self, sources: dict[bytes, list[bytes]]) -> None:
        names = sorted(sources, key=len, reverse=True)
        self._names = re.compile(
            rb"(?<![\w$])(?:" + b"|".join(map(re.escape, names)) + rb")(?![\w$])"
        )
        self._effects = {name: _of_sources(sources[name]) for name in names}
        for _ in range(_ROUNDS):
            for name in names:
                for source in sources[name]:
                    for called in self._names.findall(source.lower()):
                        self._effects[name].add(self._effects[called])
        self.everything = Effects()
        """What any of them may do."""
        for effects in self._effects.values():
            self.everything.add(effects)

    def added_to(self, sql: bytes, effects: Effects | None) -> Effects | None:
        """Effects of a text, those of the names in it included."""
        found = set(self._names.findall(sql.lower()))
        if not found:
            return effects
        merged = Effects()
        if effects is not None:
            merged.add(effects)
            merged.statement_names = effects.statement_names
            merged.deallocated = effects.deallocated
        for name in found:
            merged.add(self._effects[name])
        return merged


def read_catalogue(rows: list[list[bytes | None]]) -> HiddenEffects | None:
    """Make sense of the answer to ``CATALOGUE_QUERY``; ``None`` when nothing is hidden."""
    sources: dict[bytes, list[bytes]] = {}
    for row in rows:
        if len(row) == 2 and row[0] and row[1]:
            # A name as a text has it: only a quoted one can have quotes in it, doubled.
            sources.setdefault(row[0].lower().replace(b'"', b'""'), []).append(row[1])
    return HiddenEffects(sources) if sources else None


def read_catalogue_payloads(payloads: list[bytes]) -> HiddenEffects | None:
    """The same from DataRow payloads."""
    return read_catalogue([decode_row(payload) for payload in payloads])


def _of_sources(sources: list[bytes]) -> Effects:
    effects = Effects()
    for source in sources:
        effects.add(body_effects(source))
    return effects
