"""What a statement may leave behind in the session that ran it.

PostgreSQL does not report most session state, so the proxy reads SQL for one purpose only: to know
*when to ask*. Nothing is concluded from the text; a statement that may have created a temporary
table, taken an advisory lock, changed a setting, ... makes the session ask the server at the end
of the transaction (``session.py``), and what the server answers is what counts. Text that needs no
question is recognised cheaply, text that may need one is taken apart once (``inspection.py``).

State that the server cannot be asked about (a loaded library, a seeded random generator, a dblink
connection) pins for good.
"""

from __future__ import annotations

from typing import Final

TEMPORARY_TABLE: Final = 1
ADVISORY_LOCK: Final = 2
CURSOR_WITH_HOLD: Final = 4
PREPARED_STATEMENT: Final = 8
LISTEN: Final = 16
ALL_STATE: Final = 31

REASONS: Final[dict[int, str]] = {
    TEMPORARY_TABLE: "temporary_table",
    ADVISORY_LOCK: "advisory_lock",
    CURSOR_WITH_HOLD: "cursor_with_hold",
    PREPARED_STATEMENT: "prepared_statement",
    LISTEN: "listen",
}
"""Pin reason of each kind of state, as logs and metrics show it."""


class Effects:
    """What a text may do to session state."""

    __slots__ = (
        "deallocated",
        "executes",
        "may_begin",
        "may_end",
        "permanent",
        "reads_sequences",
        "redefines",
        "reset_all",
        "resets",
        "settings",
        "statement_names",
    )

    def __init__(self) -> None:
        self.settings: set[str] = set()
        """Settings whose value may have changed, in lower case."""
        self.resets: set[str] = set()
        """Settings that go back to the session's default."""
        self.reset_all = False
        """All settings go back to the session's default (RESET ALL, DISCARD ALL)."""
        self.may_begin = 0
        self.may_end = 0
        """Kinds of state (``TEMPORARY_TABLE`` ...) that may begin or end here."""
        self.permanent = ""
        """Reason to pin for good: the server cannot be asked whether the state still exists."""
        self.executes = False
        """Runs a statement that SQL PREPARE or the extended protocol prepared."""
        self.reads_sequences = False
        """Calls currval or lastval, which depend on what the connection did before."""
        self.redefines = False
        """Changes what functions, triggers and views do (``hidden.py``)."""
        self.statement_names: list[tuple[int, int]] = []
        """Where PREPARE, EXECUTE and DEALLOCATE name a statement: offsets into the text."""
        self.deallocated: list[bytes] = []
        """Statements that DEALLOCATE names."""

    def add(self, other: Effects) -> None:
        """Do what another text does, too; places in its text are left out."""
        self.settings |= other.settings
        self.resets |= other.resets
        self.reset_all |= other.reset_all
        self.may_begin |= other.may_begin
        self.may_end |= other.may_end
        self.permanent = self.permanent or other.permanent
        self.executes |= other.executes
        self.reads_sequences |= other.reads_sequences
        self.redefines |= other.redefines

    def __bool__(self) -> bool:
        return bool(
            self.settings
            or self.resets
            or self.reset_all
            or self.may_begin
            or self.may_end
            or self.permanent
            or self.reads_sequences
            or self.redefines
            or self.executes
            or self.statement_names
        )
