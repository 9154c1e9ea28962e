"""What all sessions and server connections of one (database, user) share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.postgres.prepared import StatementRegistry
from proxy.postgres.settings import Settings, SettingsTable

_WELCOMES: Final = 1024
CATALOGUE_S: Final = 60.0
"""Seconds after which a new server connection reads again what functions do (``hidden.py``)."""


if TYPE_CHECKING:
    from proxy.postgres.hidden import HiddenEffects


class PoolState:
    """Interned settings, statements and parameter statuses, and the greetings already learned."""

    def __init__(self, *, max_prepared_statements: int) -> None:
        self.settings = SettingsTable()
        self.statements = StatementRegistry()
        self.max_prepared_statements = max_prepared_statements
        self.baseline: dict[str, str] = {}
        """Settings that ``init_query`` makes on every server connection: what is the default here.
        A connection that has them and nothing else has the settings ``settings.none``."""
        self.discarded: Settings = self.settings.none
        """Settings of a connection after DISCARD ALL, which undoes ``init_query``."""
        self.hidden: HiddenEffects | None = None
        """What functions, triggers and views of the database do to a session."""
        self.catalogue_read_at: float | None = None
        self._reported: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        self._greetings: dict[Settings, dict[str, str]] = {}

    def learn_baseline(self, baseline: dict[str, str]) -> None:
        """Take note of what ``init_query`` made on a new server connection."""
        if baseline != self.baseline:
            self.baseline = baseline
            self.discarded = self.settings.intern(dict.fromkeys(baseline, ""))

    def catalogue_is_due(self, now: float) -> bool:
        """Whether a new server connection should read the catalogue; says yes once at a time."""
        if self.catalogue_read_at is not None and now - self.catalogue_read_at < CATALOGUE_S:
            return False
        self.catalogue_read_at = now
        return True

    def intern_reported(self, values: dict[str, str]) -> dict[str, str]:
        """Return the one dictionary with these parameter statuses; it must not be changed."""
        if len(self._reported) > _WELCOMES:
            self._reported.clear()
        return self._reported.setdefault(tuple(sorted(values.items())), values)

    def greeting(self, settings: Settings) -> dict[str, str] | None:
        """Parameter statuses that a session with these start-up settings is greeted with."""
        return self._greetings.get(settings)

    def learn_greeting(self, settings: Settings, reported: dict[str, str]) -> None:
        """Remember what the server reported for these start-up settings."""
        if len(self._greetings) > _WELCOMES:
            self._greetings.clear()
        self._greetings[settings] = reported

    def forget_greetings(self) -> None:
        """Ask the server again for the next session (after a reload or another server)."""
        self._greetings.clear()
