"""What all sessions and server connections of one user with the same parameters share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from proxy.mysql.capabilities import is_mariadb
from proxy.mysql.constants import (
    COM_STMT_BULK_EXECUTE,
    COM_STMT_FETCH,
    COM_STMT_RESET,
    SERVER_STATUS_AUTOCOMMIT,
)
from proxy.mysql.diagnostics import Diagnostics
from proxy.mysql.lenenc import read_lenenc
from proxy.mysql.prepared import StatementRegistry
from proxy.mysql.settings import NEVER_CARRIED, PINNING, Settings, SettingsTable
from proxy.mysql.tracking import variable_track

if TYPE_CHECKING:
    from proxy.mysql.hidden import HiddenEffects
    from proxy.mysql.pipeline import Question

CATALOGUE_S: Final = 60.0
"""Seconds after which a new server connection reads again what programs do (``hidden.py``)."""

_MULTIBYTE: Final = frozenset({"big5", "cp932", "gb18030", "gbk", "sjis"})
"""Character sets whose later bytes may be ASCII."""

_MARIADB_FUNCTIONS: Final = {
    COM_STMT_FETCH: "mysqld_stmt_fetch",
    COM_STMT_RESET: "mysqld_stmt_reset",
    COM_STMT_BULK_EXECUTE: "mysqld_stmt_bulk_execute",
}


class Tracking:
    """What the server reports to a session that has not asked for anything else."""

    __slots__ = (
        "begin_and_end",
        "gtids",
        "schema",
        "state_change",
        "transaction_info",
        "variables",
    )

    def __init__(self, baseline: dict[str, str]) -> None:
        names = baseline.get("session_track_system_variables", "")
        self.variables: frozenset[str] | None = (
            None if names == "*" else frozenset(n.strip().lower() for n in names.split(",") if n)
        )
        self.schema = baseline.get("session_track_schema") == "ON"
        self.state_change = baseline.get("session_track_state_change") == "ON"
        self.gtids = baseline.get("session_track_gtids", "OFF") != "OFF"
        self.transaction_info = baseline.get("session_track_transaction_info", "OFF") != "OFF"
        self.begin_and_end = not self.transaction_info and not is_mariadb(
            baseline.get("version", "")
        )
        """MySQL (9.7.4) tells when a transaction begins and ends even if that is off."""


class PoolState:
    """Interned settings and statements, and what was learned from the server."""

    def __init__(self, *, max_prepared_statements: int) -> None:
        self.settings = SettingsTable()
        self.statements = StatementRegistry()
        self.max_prepared_statements = max_prepared_statements
        self.baseline: dict[str, str] = {}
        """Session variables of a fresh server connection."""
        self.mariadb = False
        self.tracking = Tracking({})
        self.after_reset: Settings | None = None
        """Settings of a connection after COM_RESET_CONNECTION; ``None`` until one was reset."""
        self.hidden: HiddenEffects | None = None
        """What stored programs, triggers and views do to a session."""
        self.catalogue_read_at: float | None = None
        self.no_user_variables: dict[bytes, bytes] = {}
        self._no_warnings: WeakKeyDictionary[Settings, Diagnostics] = WeakKeyDictionary()
        self.connections = 0
        """Server connections made so far."""
        self.proven: set[bytes] = set()
        """Schemas that a server connection was opened with since this was last asked: logins are
        welcome."""
        self.status: int = SERVER_STATUS_AUTOCOMMIT
        """Status flags that sessions begin with."""
        self.told_at_login = ""
        """Names of the variables that the OK of a login tells of, with commas between."""

    def catalogue_is_due(self, now: float) -> bool:
        """Whether a new server connection should read the catalogue; says yes once at a time."""
        if self.catalogue_read_at is not None and now - self.catalogue_read_at < CATALOGUE_S:
            return False
        self.catalogue_read_at = now
        return True

    def has_baseline(self) -> bool:
        """Whether the variables of a fresh connection are known."""
        return bool(self.baseline)

    def learn_baseline(self, baseline: dict[str, str]) -> None:
        """Take note of a fresh connection's session variables; empty if it was not asked."""
        if baseline and baseline != self.baseline:
            self.baseline = baseline
            self.tracking = Tracking(baseline)
            self.mariadb = is_mariadb(baseline.get("version", ""))

    def learn_no_warnings(
        self, payloads: list[bytes], settings: Settings | None = None, *, extended: bool = False
    ) -> None:
        """Take note of the reply to SHOW WARNINGS where there are none.

        Its columns depend on the session's character set. Raises ``ProtocolError``.
        """
        key = settings or self.settings.none
        if key not in self._no_warnings:
            self._no_warnings[key] = Diagnostics(payloads, 0, extended=extended)

    def no_warnings(self, settings: Settings) -> Diagnostics | None:
        """Answer to SHOW WARNINGS where there are none."""
        return self._no_warnings.get(settings)

    def learn_after_reset(self, question: Question) -> Settings:
        """Take note of the variables of a connection that has been reset."""
        found: dict[str, str] = {}
        for payload in question.payloads[3:-1]:
            name, position = read_lenenc(payload, 0)
            value, _ = read_lenenc(payload, position)
            key = name.decode("utf-8", "surrogateescape").lower()
            text = value.decode("utf-8", "surrogateescape")
            if key in NEVER_CARRIED or key in PINNING or self.baseline.get(key) == text:
                continue
            if key in self.baseline:
                found[key] = text
        self.after_reset = self.settings.intern(found)
        return self.after_reset

    def login_track(self) -> bytes:
        """Session-state block with what the OK of a login tells of variables."""
        return b"".join(
            variable_track(name, self.baseline.get(name, ""))
            for name in self.told_at_login.split(",")
            if name
        )

    def unknown_statement_by(self, code: int) -> str:
        """Name of the server's function that complains of an unknown statement id."""
        if not self.mariadb:
            return "mysql_stmt_precheck"
        return _MARIADB_FUNCTIONS.get(code, "mysqld_stmt_execute")

    def is_multibyte(self, settings: Settings) -> bool:
        """Whether a character of ``character_set_client`` may end in an ASCII byte."""
        name = settings.values.get("character_set_client")
        if name is None:
            name = self.baseline.get("character_set_client", "")
        return name in _MULTIBYTE

    def forget_greetings(self) -> None:
        """Ask the server again before the next session is welcomed."""
        self.proven = set()
