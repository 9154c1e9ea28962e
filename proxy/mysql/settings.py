"""System variables that follow a session from server connection to server connection.

A server connection holds the values that its last session left; a session has the values it wants.
Both are interned ``Settings`` without the values that a fresh connection has anyway (the baseline),
so the usual question "is there anything to replay?" is an identity test. The difference is replayed
as one ``SET``. Observed on MySQL 9.7.4 and MariaDB 10.11.19; see ``tracking.py``.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from proxy.mysql.capabilities import is_mariadb

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

_TOGETHER: Final = (
    ("character_set_connection", "collation_connection"),
    ("character_set_server", "collation_server"),
    ("log_queries_not_using_indexes", "log_slow_filter"),
    ("log_slow_admin_statements", "log_slow_disabled_statements", "log_slow_slave_statements"),
)
COUPLED: Final = {name: group for group in _TOGETHER for name in group} | {
    "max_join_size": ("max_join_size", "sql_big_selects")
}
"""Setting one changes the others, which is not reported: they must be asked for."""

_COLLATIONS: Final = {
    "collation_connection": "character_set_connection",
    "collation_server": "character_set_server",
}
"""A collation implies a character set."""

MIXED_UP: Final = frozenset(
    {
        "autocommit",
        "check_constraint_checks",
        "explicit_defaults_for_timestamp",
        "foreign_key_checks",
        "profiling",
        "skip_parallel_replication",
        "skip_replication",
        "sql_auto_is_null",
        "sql_big_selects",
        "sql_buffer_result",
        "sql_if_exists",
        "sql_log_off",
        "sql_notes",
        "sql_quote_show_create",
        "sql_safe_updates",
        "sql_warnings",
        "system_versioning_insert_history",
        "unique_checks",
    }
)
"""MariaDB from 11.1 on keeps them in one place, takes them for one variable and reports whichever
its list of tracked ones names or a connection has set first (observed on 11.8.9)."""
_MIXED_UP_PINNING: Final = frozenset(
    {"insert_id", "last_insert_id", "rand_seed1", "rand_seed2", "timestamp"}
)
"""Likewise; what they are cannot be asked for."""
_VERSION: Final = re.compile(r"(\d+)\.(\d+)")
_FIRST_TO_MIX_UP: Final = (11, 1)

_NAMES: Final = (
    "character_set_client",
    "character_set_connection",
    "character_set_results",
    "collation_connection",
)

PARSE_TIME: Final = ("sql_mode", *_NAMES)
"""Variables that a statement is prepared under, and keeps however they are set later."""

ALIASES: Final = {
    "identity": "last_insert_id",
    "log_slow_min_examined_row_limit": "min_examined_row_limit",
    "log_slow_query": "slow_query_log",
    "log_slow_query_time": "long_query_time",
    "max_insert_delayed_threads": "max_delayed_threads",
    "storage_engine": "default_storage_engine",
    "tmp_memory_table_size": "tmp_table_size",
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
    """What a server's report of variables, or its answer, means for a session."""

    __slots__ = ("insert_id", "pins", "unknown", "values")

    def __init__(self) -> None:
        self.values: dict[str, str | None] = {}
        """For ``SettingsTable.updated``."""
        self.pins: list[str] = []
        """Names of variables that keep the session on its connection."""
        self.unknown: set[str] = set()
        """Names of variables to ask for, with ``question``: they may have changed as well."""
        self.insert_id = False
        """LAST_INSERT_ID() may have been set by a SET."""

    def take(self, name: str, value: str, baseline: dict[str, str]) -> None:
        """Note the value that a variable has."""
        changed = baseline.get(name) != value
        if name in PINNING:
            if changed:
                self.pins.append(name)
        else:
            self.values[name] = value if changed else None


@functools.cache
def mixes_up(version: str) -> bool:
    """Whether a server of this version reports variables under others' names (``MIXED_UP``)."""
    found = _VERSION.match(version)
    if found is None or not is_mariadb(version):
        return False
    return (int(found[1]), int(found[2])) >= _FIRST_TO_MIX_UP


def read_changes(variables: list[tuple[str, str]], baseline: dict[str, str]) -> Changes:
    """Read reported variables; ``baseline`` is the answer to ``BASELINE_QUERY``."""
    changes = Changes()
    mixed_up = mixes_up(baseline.get("version", ""))
    for reported, value in variables:
        name = ALIASES.get(reported, reported)
        if name not in baseline and reported in baseline:
            name = reported
        if mixed_up and name in _MIXED_UP_PINNING:
            changes.insert_id = True
            changes.pins.append("timestamp" if name in NEVER_CARRIED else name)
        elif mixed_up and name in MIXED_UP:
            changes.unknown |= MIXED_UP.intersection(baseline)
        elif name == "last_insert_id":
            changes.insert_id = True
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


def answers(names: Set[str], values: list[str | None], baseline: dict[str, str]) -> Changes:
    """Read the answer to ``question``."""
    changes = Changes()
    for name, raw in zip(sorted(names), values, strict=True):
        value = raw or ""
        if baseline.get(name) in ("ON", "OFF") and value in ("0", "1"):
            # SHOW and the tracker say ON and OFF, SELECT says 1 and 0.
            value = "ON" if value == "1" else "OFF"
        changes.take(name, value, baseline)
    return changes


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
    of their names, with collations instead of the character sets they imply, and
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
    for collation, implied in _COLLATIONS.items():
        if collation in changed:
            changed.pop(implied, None)
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
