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
        "databases",
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
        self.databases: list[bytes] = []
        """Databases that must have no other connection for this to succeed (DROP DATABASE)."""

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
            or self.databases
        )


LARGE_OBJECT_FUNCTIONS: Final = frozenset(
    {715, 764, 765, 767, 952, 953, 954, 955, 956, 957, 958, 964, 1004, 3170, 3171, 3172}
)
"""Object ids of ``lo_open`` and the like (``src/include/catalog/pg_proc.dat``), the functions that
programs use FunctionCall for. What they open ends with the transaction."""
FIRST_USER_OBJECT_ID: Final = 16384
"""Object ids below are PostgreSQL's own (``FirstNormalObjectId`` in ``access/transam.h``)."""
_SET_CONFIG_ID: Final = 2078
_SETSEED_ID: Final = 1599
_SEQUENCE_READ_IDS: Final = frozenset({1575, 2559})


def function_effects(object_id: int) -> Effects | None:
    """What a FunctionCall of one of PostgreSQL's own functions may do; ``None`` for nothing.

    Of a user's function it says only what holds for any.
    """
    if object_id in LARGE_OBJECT_FUNCTIONS:
        return None
    effects = Effects()
    effects.may_begin = effects.may_end = ALL_STATE
    effects.reads_sequences = object_id in _SEQUENCE_READ_IDS
    if object_id == _SET_CONFIG_ID:
        effects.permanent = "set_config"
    elif object_id == _SETSEED_ID:
        effects.permanent = "random_seed"
    return effects
