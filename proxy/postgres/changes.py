"""What a session may have changed since it was last checked, and the query that finds out.

``Changes`` collects the effects of statements (``effects.py``) during a transaction. At its end
``query`` asks the server what is really there; the ``found_...`` methods read the answer: settings
the session carries from now on, and kinds of state that pin it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.postgres import effects as fx
from proxy.postgres.settings import Settings, SettingsTable, quote_literal

if TYPE_CHECKING:
    from proxy.postgres.effects import Effects

_CHECKS: Final[tuple[tuple[int, bytes], ...]] = (
    (
        fx.TEMPORARY_TABLE,
        b"SELECT 'temporary_table',NULL,NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_class"
        b" WHERE relnamespace=pg_catalog.pg_my_temp_schema()) OR EXISTS (SELECT FROM"
        b" pg_catalog.pg_proc WHERE pronamespace=pg_catalog.pg_my_temp_schema()) OR EXISTS"
        b" (SELECT FROM pg_catalog.pg_type WHERE typnamespace=pg_catalog.pg_my_temp_schema())",
    ),
    (
        fx.ADVISORY_LOCK,
        b"SELECT 'advisory_lock',NULL,NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_locks"
        b" WHERE locktype='advisory' AND pid=pg_catalog.pg_backend_pid())",
    ),
    (
        fx.CURSOR_WITH_HOLD,
        b"SELECT 'cursor_with_hold',NULL,NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_cursors"
        b" WHERE is_holdable)",
    ),
    (
        fx.PREPARED_STATEMENT,
        b"SELECT 'prepared_statement',NULL,NULL WHERE EXISTS (SELECT FROM"
        b" pg_catalog.pg_prepared_statements WHERE from_sql)",
    ),
    (
        fx.LISTEN,
        b"SELECT 'listen',NULL,NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_listening_channels())",
    ),
)
_STATE_OF: Final = {reason.encode(): state for state, reason in fx.REASONS.items()}
SESSION_POOLING: Final = "session_pooling"
"""Reason to stay pinned in that pool mode."""
_OUTLIVES_DISCARD: Final = frozenset(
    {"load", "random_seed", "dblink_connection", "replication_origin", "replication_slot"}
)
"""Permanent reasons that DISCARD ALL does not undo."""


class Changes:
    """What must be asked at the end of the transaction."""

    __slots__ = ("completed", "permanent", "redefined", "reset", "settings", "suspects")

    def __init__(self) -> None:
        self.completed = False
        """A command has been executed since: a portal that is bound need never be."""
        self.suspects = 0
        self.settings: set[str] = set()
        self.permanent = ""
        self.redefined = False
        """What functions, triggers or views do may have changed."""
        self.reset: set[str] = set()
        """Settings put back to the session's default, and not rolled back since."""

    def note(self, effects: Effects, pins: int, known: Settings) -> None:
        """Add what a statement may do. ``pins``: state held; ``known``: settings carried."""
        self.suspects |= effects.may_begin | (effects.may_end & pins)
        self.settings |= effects.settings
        self.reset |= effects.resets
        if effects.reset_all:
            self.settings.update(known.values)
            self.reset.update(known.values)
        self.permanent = lasting(self.permanent, effects.permanent)
        if effects.redefines:
            self.redefined = True

    def rolled_back(self) -> None:
        """Note that a RESET did not happen: it was rolled back, or never executed."""
        self.reset.clear()

    def query(self) -> bytes:
        """SQL whose rows (kind, name, value) say what is there; empty if nothing need be asked."""
        parts = [check for state, check in _CHECKS if state & self.suspects]
        parts += [
            b"SELECT 'setting'," + quote_literal(name) + b","
            b"pg_catalog.current_setting(" + quote_literal(name) + b",true)"
            for name in sorted(self.settings)
        ]
        return b" UNION ALL ".join(parts)

    def found_states(self, rows: list[bytes]) -> int:
        """Kinds of state the server has, of those asked about."""
        states = 0
        for row in rows:
            for value in decode_row(row)[:1]:
                states |= _STATE_OF.get(value or b"", 0)
        return states

    def found_settings(self, rows: list[bytes]) -> dict[str, str | None]:
        """Values of the settings asked about; ``None`` for one that does not exist."""
        values: dict[str, str | None] = {}
        for row in rows:
            columns = decode_row(row)
            if len(columns) != 3 or columns[0] != b"setting" or columns[1] is None:
                continue
            value = columns[2]
            values[_text(columns[1])] = None if value is None else _text(value)
        return values


def lasting(reason: str, other: str) -> str:
    """Of two permanent reasons the one that lasts longer."""
    if reason == SESSION_POOLING or survives_discard(reason) or not other:
        return reason
    return other if survives_discard(other) or not reason else reason


def survives_discard(reason: str) -> bool:
    """Whether DISCARD ALL leaves behind what this permanent pin is about."""
    return reason in _OUTLIVES_DISCARD


def session_settings(
    table: SettingsTable,
    found: dict[str, str | None],
    reset: set[str],
    session: Settings,
    startup: Settings,
) -> Settings:
    """Settings a session carries after a check: found values, start-up values where it reset."""
    changes = dict(found)
    for name in reset:
        changes[name] = startup.values.get(name)
    return table.updated(session, changes)


def decode_row(payload: bytes) -> list[bytes | None]:
    """Decode a DataRow payload in text format (docs: "Message Formats", DataRow)."""
    values: list[bytes | None] = []
    position = 2
    for _ in range(int.from_bytes(payload[:2], "big")):
        size = int.from_bytes(payload[position : position + 4], "big", signed=True)
        position += 4
        if size < 0:
            values.append(None)
        else:
            values.append(payload[position : position + size])
            position += size
    return values


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
