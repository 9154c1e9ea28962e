"""What a statement may leave behind in the session that ran it, and what it asks of the session.

The proxy reads SQL only to know *when to ask* and what to keep together: see ``inspection.py``.
"""

from __future__ import annotations

from typing import Final

USER_VARIABLE: Final = 1
TEMPORARY_TABLE: Final = 1 << 1
NAMED_LOCK: Final = 1 << 2
LOCK_TABLES: Final = 1 << 3
SQL_PREPARED_STATEMENT: Final = 1 << 4
HANDLER: Final = 1 << 5
XA_TRANSACTION: Final = 1 << 6
GLOBAL_READ_LOCK: Final = 1 << 7
BACKUP_LOCK: Final = 1 << 8
TRANSACTION_CHARACTERISTICS: Final = 1 << 9
STORED_PROGRAM: Final = 1 << 10
SET_STATEMENT: Final = 1 << 11
ROLE: Final = 1 << 12
RESOURCE_GROUP: Final = 1 << 13
SEQUENCE: Final = 1 << 14
UNREADABLE_CODE: Final = 1 << 15
"""Anything: code that nobody can read has run."""
STRAY: Final = 1 << 16
"""A default schema where the pool's sessions have none, or none where they have one."""

ENDED_BY_TEXT: Final = GLOBAL_READ_LOCK
"""Kinds of state that are over when a statement that ends them has succeeded."""

REASONS: Final[dict[int, str]] = {
    USER_VARIABLE: "user_variable",
    TEMPORARY_TABLE: "temporary_table",
    NAMED_LOCK: "named_lock",
    LOCK_TABLES: "lock_tables",
    SQL_PREPARED_STATEMENT: "sql_prepared_statement",
    HANDLER: "handler",
    XA_TRANSACTION: "xa_transaction",
    GLOBAL_READ_LOCK: "global_read_lock",
    BACKUP_LOCK: "backup_lock",
    TRANSACTION_CHARACTERISTICS: "transaction_characteristics",
    STORED_PROGRAM: "stored_program",
    SET_STATEMENT: "set_statement",
    ROLE: "role",
    RESOURCE_GROUP: "resource_group",
    SEQUENCE: "sequence",
    UNREADABLE_CODE: "unreadable_code",
    STRAY: "default_schema",
}
"""Reasons for pins, by kind of state."""

# What a whole statement shows.
SHOWS_NOTHING: Final = 0
SHOWS_WARNINGS: Final = 1
SHOWS_ERRORS: Final = 2
SHOWS_WARNING_COUNT: Final = 3
SHOWS_ERROR_COUNT: Final = 4


class Kill:
    """A KILL: of a query or a connection, by number or (``None``) by an expression."""

    __slots__ = ("number", "query_only")

    def __init__(self, *, query_only: bool, number: int | None) -> None:
        self.query_only = query_only
        self.number = number


class Effects:
    """What the text of one command says about the session; see ``inspect``."""

    __slots__ = (
        "calc_found_rows",
        "connection_ids",
        "kill",
        "lock_names",
        "may_begin",
        "may_end",
        "outcome_calls",
        "permanent",
        "reads_diagnostics",
        "reads_last_insert_id",
        "redefines",
        "show_limit",
        "shows",
        "temporary_tables",
        "user_variables",
        "writes_user_variables",
    )

    def __init__(self) -> None:
        self.may_begin = 0
        """Kinds of state that may begin."""
        self.may_end = 0
        """Kinds of state that may end."""
        self.permanent = ""
        """Reason to keep the connection until the session ends or is reset."""
        self.reads_last_insert_id = False
        self.reads_diagnostics = False
        """GET DIAGNOSTICS, or one of ``outcome_calls`` that cannot be told from the text."""
        self.outcome_calls: list[tuple[int, int, bool, bytes]] = []
        """Start and end of each ROW_COUNT(), FOUND_ROWS(), ``@@warning_count`` and
        ``@@error_count``, whether it names a column of the result, and its name in lower case."""
        self.shows = SHOWS_NOTHING
        """Whether the whole text is one SHOW WARNINGS, SHOW ERRORS or SHOW COUNT(*) of them."""
        self.show_limit: tuple[int, int] | None = None
        """Offset and count of its LIMIT."""
        self.calc_found_rows = False
        self.kill: Kill | None = None
        """The KILL that the whole text is."""
        self.connection_ids: list[tuple[int, int, bool]] = []
        """Start and end of each CONNECTION_ID(), and whether it names a column of the result."""
        self.user_variables: frozenset[bytes] = frozenset()
        """Names in lower case, without the at sign and quotes, that the text mentions."""
        self.writes_user_variables = False
        self.lock_names: frozenset[bytes] | None = frozenset()
        """Literals, as written, that GET_LOCK is called with; ``None`` if one is not literal."""
        self.temporary_tables: frozenset[bytes] = frozenset()
        """Names that CREATE TEMPORARY TABLE or DROP TABLE mentions, in lower case; of qualified
        ones, none."""
        self.redefines = False
        """Changes what stored programs, triggers and views do (``hidden.py``)."""

    def add(self, other: Effects) -> None:
        """Take in what code that the text calls may do: positions in a text are of no use."""
        self.may_begin |= other.may_begin
        self.may_end |= other.may_end
        self.permanent = self.permanent or other.permanent
        self.reads_last_insert_id |= other.reads_last_insert_id
        self.calc_found_rows |= other.calc_found_rows
        self.writes_user_variables |= other.writes_user_variables
        self.user_variables |= other.user_variables
        if self.lock_names is None or other.lock_names is None:
            self.lock_names = None
        else:
            self.lock_names |= other.lock_names

    def copy(self) -> Effects:
        """Make one that may be changed."""
        made = Effects()
        made.add(self)
        made.outcome_calls = self.outcome_calls
        made.connection_ids = self.connection_ids
        made.reads_diagnostics = self.reads_diagnostics
        made.shows = self.shows
        made.show_limit = self.show_limit
        made.kill = self.kill
        made.temporary_tables = self.temporary_tables
        made.redefines = self.redefines
        return made


def reasons(kinds: int) -> list[str]:
    """Names of the kinds of state in a mask."""
    return [reason for kind, reason in REASONS.items() if kinds & kind]
