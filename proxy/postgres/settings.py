"""Session settings that follow a session from server connection to server connection.

A server connection holds the settings that its last session left; a session has the settings it
wants. Both are interned ``Settings``, so the usual question "is there anything to replay?" is an
identity test. The difference is replayed as one simple query in front of the session's own message.
"""

from __future__ import annotations

from typing import Final
from weakref import WeakValueDictionary

START_ONLY_PARAMETERS: Final = frozenset(
    {
        "ignore_system_indexes",
        "jit_debugging_support",
        "jit_profiling_support",
        "local_preload_libraries",
        "log_connections",
        "log_disconnections",
        "post_auth_delay",
        "session_preload_libraries",
    }
)
"""Parameters that only a connection's start can set (``PGC_BACKEND`` and ``PGC_SU_BACKEND`` in
``src/backend/utils/misc/guc_parameters.dat``). Sessions that give them share server connections
only with sessions that give the same."""


PARSE_SETTINGS: Final = frozenset(
    {
        "array_nulls",
        "backslash_quote",
        "client_encoding",
        "datestyle",
        "intervalstyle",
        "lc_monetary",
        "role",
        "search_path",
        "standard_conforming_strings",
        "timezone",
        "timezone_abbreviations",
        "xmloption",
    }
)
"""Settings that decide what a text means when it is parsed: its names, and its literals, which
PostgreSQL turns into values then."""


class Settings:
    """An immutable set of setting values, by name in lower case. Compare with ``is``."""

    __slots__ = ("__weakref__", "parse_context", "values")

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values
        self.parse_context = frozenset(
            (name, value) for name, value in values.items() if name in PARSE_SETTINGS
        )
        """Those of the values that texts are read under."""


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
        return self._table.setdefault(frozenset(values.items()), Settings(values))

    def updated(self, settings: Settings, changes: dict[str, str | None]) -> Settings:
        """Return ``settings`` with some values changed, ``None`` meaning taken out."""
        values = dict(settings.values)
        for name, value in changes.items():
            if value is None:
                values.pop(name, None)
            else:
                values[name] = value
        return self.intern(values)


def quote_literal(text: str, encoding: str = "UTF8") -> bytes:
    """Write a text as an SQL expression of ASCII characters alone.

    It must mean the same whatever ``client_encoding`` and ``standard_conforming_strings`` are on
    the connection at that moment. ``encoding`` is the PostgreSQL name of what the text's bytes are
    in.
    """
    raw = text.encode("utf-8", "surrogateescape")
    if raw.isascii() and b"\\" not in raw:
        return b"'" + raw.replace(b"'", b"''") + b"'"
    if raw.isascii():
        return b"E'" + raw.replace(b"\\", b"\\\\").replace(b"'", b"''") + b"'"
    hexadecimal = raw.hex().encode()
    name = encoding.encode("ascii", "ignore").replace(b"'", b"").replace(b"\\", b"")
    return (
        b"pg_catalog.convert_from(pg_catalog.decode('" + hexadecimal + b"','hex'),'" + name + b"')"
    )


def quote_name(name: str) -> bytes:
    """Quote a possibly dotted setting name for RESET."""
    parts = name.encode("utf-8", "surrogateescape").split(b".")
    return b".".join(b'"' + part.replace(b'"', b'""') + b'"' for part in parts)


def replay_query(current: Settings, wanted: Settings, baseline: dict[str, str]) -> bytes:
    """SQL that turns the settings of a server connection into those a session wants.

    A setting that the session does not have goes back to its value in ``baseline``, or else to the
    server's default. ``role`` is reset first and set last: it decides what else may be set.
    """
    lost = {name: value for name, value in baseline.items() if name in current.values}
    target = {**lost, **wanted.values}
    gone = [name for name in current.values if name not in target]
    statements = [_reset(name) for name in sorted(gone, key=_role_first)]
    encoding = wanted.values.get("client_encoding", "UTF8")
    changed = {name: value for name, value in target.items() if current.values.get(name) != value}
    if changed:
        statements.append(set_query(changed, encoding))
    return b";".join(statements)


def set_query(values: dict[str, str], encoding: str) -> bytes:
    """SQL that sets some settings; ``encoding`` is the PostgreSQL name of what they are in."""
    calls = [
        b"pg_catalog.set_config("
        + quote_literal(name)
        + b","
        + quote_literal(value, encoding)
        + b",false)"
        for name, value in sorted(values.items(), key=lambda item: item[0] == "role")
    ]
    return b"SELECT " + b",".join(calls)


def _reset(name: str) -> bytes:
    if name.isascii():
        return b"RESET " + quote_name(name)
    # Nobody knows the connection's client_encoding here. Only custom settings have such names, and
    # RESET leaves those empty, too.
    return b"SELECT pg_catalog.set_config(" + quote_literal(name) + b",'',false)"


def _role_first(name: str) -> bool:
    return name != "role"
