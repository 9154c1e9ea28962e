"""System variables that follow a session from server connection to server connection.

A server connection holds the values that its last session left; a session has the values it wants.
Both are interned ``Settings`` without the values that a fresh connection has anyway (the baseline),
so the usual question "is there anything to replay?" is an identity test. The difference is replayed
as one ``SET``. Observed on MySQL 9.7.4 and MariaDB 10.11.19; see ``tracking.py``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Set

BASELINE_QUERY: Final = b"SHOW SESSION VARIABLES"
"""Asked once per pool, of a fresh connection."""

NEVER_CARRIED: Final = frozenset(
    {
        "error_count",
        "external_user",
        "in_transaction",
        "last_gtid",
        "last_insert_id",
        "proxy_user",
        "session_track_gtids",
        "session_track_schema",
        "session_track_state_change",
        "session_track_system_variables",
        "session_track_transaction_info",
        "statement_id",
        "warning_count",
    }
)
"""Ours, or not settings at all: ``last_insert_id`` is carried by itself."""

PINNING: Final = frozenset(
    {
        "character_set_database",
        "collation_database",
        "gtid_next",
        "gtid_seq_no",
        "immediate_server_version",
        "insert_id",
        "optimizer_trace",
        "original_commit_timestamp",
        "original_server_version",
        "profiling",
        "pseudo_replica_mode",
        "pseudo_slave_mode",
        "pseudo_thread_id",
        "rand_seed1",
        "rand_seed2",
        "timestamp",
    }
)
"""Values that are used up, run on, cannot be read back or begin a record that only this connection
has: a session that sets one keeps its connection."""

COUPLED: Final = {
    "character_set_connection": ("character_set_connection", "collation_connection"),
    "collation_connection": ("character_set_connection", "collation_connection"),
    "max_join_size": ("max_join_size", "sql_big_selects"),
}
"""Setting one changes the others, which is not reported: they must be asked for."""

_NAMES: Final = (
    "character_set_client",
    "character_set_connection",
    "character_set_results",
    "collation_connection",
)

PARSE_TIME: Final = ("sql_mode", *_NAMES)
"""Variables that a statement is prepared under, and keeps however they are set later."""

_ALIASES: Final = {
    "identity": "last_insert_id",
    "storage_engine": "default_storage_engine",
    "tx_isolation": "transaction_isolation",
    "tx_read_only": "transaction_read_only",
}
_NULLABLE: Final = frozenset({"character_set_results", "innodb_ft_user_stopword_table"})
"""Reported as an empty string when they are NULL."""
_NAME: Final = re.compile(r"[a-z_][a-z0-9_$]*(?:\.[a-z_][a-z0-9_$]*)?\Z", re.ASCII)
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?\Z", re.ASCII)


class Settings:
    """An immutable set of variables' values, by name in lower case. Compare with ``is``."""

    __slots__ = ("__weakref__", "values")

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values


class SettingsTable:
    """Interned settings of one pool."""

    def __init__(self) -> None:
        self._table: WeakValueDictionary[frozenset[tuple[str, str]], Settings] = (
            WeakValueDictionary()
        )
        self.none = self.intern({})

    def __len__(self) -> int:
        return len(self._table)

    def intern(self, values: dict[str, str]) -> Settings:
        """Return the one ``Settings`` object with these values."""
        return self._table.setdefault(frozenset(values.items()), Settings(dict(values)))

    def updated(self, settings: Settings, changes: dict[str, str | None]) -> Settings:
        """Return ``settings`` with some values changed, ``None`` meaning taken out."""
        values = dict(settings.values)
        for name, value in changes.items():
            if value is None:
                values.pop(name, None)
            else:
                values[name] = value
        return self.intern(values)


class Changes:
    """What a server's report of variables means for a session."""

    __slots__ = ("last_insert_id", "pins", "unknown", "values")

    def __init__(self) -> None:
        self.values: dict[str, str | None] = {}
        """For ``SettingsTable.updated``."""
        self.pins: list[str] = []
        """Names of variables that keep the session on its connection."""
        self.unknown: set[str] = set()
        """Names of variables to ask for, with ``question``: they may have changed as well."""
        self.last_insert_id = ""
        """Decimal digits if LAST_INSERT_ID() was set by a SET."""


def read_changes(variables: list[tuple[str, str]], baseline: dict[str, str]) -> Changes:
    """Read reported variables; ``baseline`` is the answer to ``BASELINE_QUERY``."""
    changes = Changes()
    for reported, value in variables:
        name = _ALIASES.get(reported, reported)
        if name not in baseline and reported in baseline:
            name = reported
        if name == "last_insert_id":
            changes.last_insert_id = value
        elif name in NEVER_CARRIED:
            continue
        elif name in PINNING or _NAME.match(name) is None:
            changes.pins.append(name)
        else:
            changes.values[name] = None if baseline.get(name) == value else value
            changes.unknown.update(COUPLED.get(name, ()))
    return changes


def question(names: Set[str]) -> bytes:
    """A query for the values of some variables, one row, in the order of the sorted names."""
    return b"SELECT " + b",".join(b"@@session." + name.encode() for name in sorted(names))


def answers(
    names: Set[str], values: list[str | None], baseline: dict[str, str]
) -> dict[str, str | None]:
    """Changes that the answer to ``question`` means, for ``SettingsTable.updated``."""
    found: dict[str, str | None] = {}
    for name, raw in zip(sorted(names), values, strict=True):
        value = raw or ""
        if baseline.get(name) in ("ON", "OFF") and value in ("0", "1"):
            # SHOW and the tracker say ON and OFF, SELECT says 1 and 0.
            value = "ON" if value == "1" else "OFF"
        found[name] = None if baseline.get(name) == value else value
    return found


def quote_literal(text: str) -> bytes:
    """Write a string as SQL of ASCII characters: it means the same under every ``sql_mode`` and
    ``character_set_client``."""
    raw = text.encode("utf-8", "surrogateescape")
    if raw.isascii() and b"\\" not in raw and b"\0" not in raw:
        return b"'" + raw.replace(b"'", b"''") + b"'"
    return b"_utf8mb4 0x" + raw.hex().encode()


def _literal(name: str, value: str) -> bytes:
    if not value and name in _NULLABLE:
        return b"NULL"
    if _NUMBER.match(value):
        return value.encode()
    return quote_literal(value)


def replay_sql(held: Settings, wanted: Settings, baseline: dict[str, str]) -> bytes:
    """One SET that turns the variables of a server connection into those a session wants.

    Empty if there is nothing to change. What the session does not have goes back to its value in
    ``baseline``, or else to the default. The assignments are made from left to right in the order
    of their names, with ``collation_connection`` instead of the character set it implies, and
    ``max_join_size`` before ``sql_big_selects``, which it changes.
    """
    if held is wanted:
        return b""
    target: dict[str, str | None] = {name: baseline.get(name) for name in held.values}
    target.update(wanted.values)
    changed = {n: v for n, v in target.items() if v is None or held.values.get(n) != v}
    for coupled in COUPLED.values():
        if any(name in changed for name in coupled):
            for name in coupled:
                value = wanted.values.get(name, baseline.get(name))
                if value is not None:
                    changed[name] = value
    names = _names(changed, wanted, baseline)
    if "collation_connection" in changed:
        changed.pop("character_set_connection", None)
    if not changed and not names:
        return b""
    return b"SET " + b",".join(
        names
        + [
            b"@@session."
            + name.encode()
            + b"="
            + (b"DEFAULT" if value is None else _literal(name, value))
            for name, value in sorted(changed.items())
        ]
    )


def _names(
    changed: dict[str, str | None], wanted: Settings, baseline: dict[str, str]
) -> list[bytes]:
    """SET NAMES in place of the variables that it sets, if these are as it would set them.

    It also sets what no variable shows: the collation that columns are said to have.
    """
    if changed.keys().isdisjoint(_NAMES):
        return []
    values = [wanted.values.get(name, baseline.get(name)) for name in _NAMES]
    charset, collation = values[0], values[-1]
    if not charset or not collation or values[:-1] != [charset] * 3:
        return []
    for name in _NAMES:
        changed.pop(name, None)
    return [b"NAMES " + quote_literal(charset) + b" COLLATE " + quote_literal(collation)]
