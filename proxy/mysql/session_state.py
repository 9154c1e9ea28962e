"""What a client session carries from one server connection to the next.

System variables, the default schema, user variables, LAST_INSERT_ID() and what can be told of the
last statement's outcome.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.mysql import pipeline as pl
from proxy.mysql import user_variables as uv
from proxy.mysql.effects import REASONS, STRAY, Effects
from proxy.mysql.pipeline import NO_NAMES, NO_VARIABLES, Due
from proxy.mysql.settings import Settings, replay_sql

if TYPE_CHECKING:
    from proxy.mysql.diagnostics import Diagnostics
    from proxy.mysql.pool_state import PoolState
    from proxy.mysql.server_stream import MysqlServerStream

SESSION_POOLING: Final = "session_pooling"
MULTI_STATEMENTS: Final = "multi_statements"
STATEMENT_OUTCOME: Final = "statement_outcome"
_NONE_HELD: Final[frozenset[int]] = frozenset()


class SessionState:
    """State of one client session."""

    def __init__(self, shared: PoolState, schema: bytes) -> None:
        self.shared = shared
        self.schema = schema
        self.rooted = bool(schema)  # The server connections of its pool have a default schema.
        self.choosing = False  # It has moved to the pool of the schema that it is choosing.
        self.settings: Settings = shared.settings.none
        self.user_variables = shared.no_user_variables
        self.insert_id = 0
        self.status: int = shared.status
        """Status flags as the client last saw them."""
        self.warnings = 0
        """Messages in the diagnostics area, as far as a reply tells."""
        self.diagnostics: Diagnostics | None = None
        """The messages, if they have been asked for."""
        self.last_server = 0  # Serial number of the connection that ran its last statement.
        self.pins = 0
        """Kinds of state on the server connection (``effects.TEMPORARY_TABLE`` ...)."""
        self.begun = False  # The client has been told that a transaction was begun.
        self.lingering = ""
        """Reason to stay pinned until the next statement."""
        self.permanent = ""
        """Reason to stay pinned until the session is reset."""
        self.asking: frozenset[int] = _NONE_HELD
        """Prepared statements that ask what a statement did; 0 for texts that did."""
        self.temporary: frozenset[bytes] = NO_NAMES
        """Temporary tables, with an unknown one for what cannot be told apart."""
        self.locks: frozenset[bytes] = NO_NAMES
        """GET_LOCK's literals, with an unknown one for what is no literal."""
        self.row_count = 0
        self.found_rows: int | None = None
        """ROW_COUNT() and FOUND_ROWS(), if that can be told without the server."""
        self.holding: frozenset[int] = _NONE_HELD
        """Prepared statements with a cursor or long data on the server connection."""
        # What the statement under way may do.
        self.effects: Effects | None = None
        self.several = False  # It may be several statements.
        self.keeps = False  # It leaves the diagnostics area as it is.
        self.due = Due()
        self.asked: frozenset[str] = NO_VARIABLES
        """System variables that the server is being asked for; user variables in the next."""
        self.asked_names: tuple[bytes, ...] = ()

    def is_fresh_on(self, server: MysqlServerStream) -> bool:
        """Whether the server connection still knows what the session's last statement did."""
        return server.last_session is self and self.last_server == server.serial

    def is_unsettled(self) -> bool:
        """Whether what the session has left on its server connection is not known."""
        due = self.due
        asked = self.asked or self.asked_names
        return bool(due.variables or due.user_variables or due.report or asked)

    def hold(self, number: int, held: bool) -> None:
        """Note whether the server connection holds a cursor or long data of a statement."""
        if held:
            self.holding |= {number}
        elif self.holding:
            self.holding -= {number}

    def note_asking(self, number: int, asks: bool) -> None:
        """Note whether the session has a prepared statement that asks what the last one did.

        Only the server can answer that; number 0 stands for texts.
        """
        if asks:
            self.asking |= {number}
        elif self.asking:
            self.asking -= {number}

    def pin_reason(self) -> str:
        """Why the session keeps its server connection; empty if it does not."""
        if self.permanent:
            return self.permanent
        if self.pins:
            return REASONS[self.pins & -self.pins]
        if self.holding:
            return "prepared_statement_in_use"
        if self.asking:
            return STATEMENT_OUTCOME
        return self.lingering

    def choose(self, schema: bytes) -> None:
        """Count as a session of a schema's pool; ``b""`` if it was not to be had."""
        self.choosing = bool(schema)
        self.schema = schema
        self.note_schema()

    def note_schema(self) -> None:
        """Note whether the session belongs in its pool."""
        stray = bool(self.schema) != self.rooted
        self.pins = self.pins | STRAY if stray else self.pins & ~STRAY

    def reset(self, settings: Settings) -> None:
        """Go back to what COM_RESET_CONNECTION leaves, which keeps the default schema."""
        session_pooling = self.permanent == SESSION_POOLING
        self.settings = settings
        self.user_variables = self.shared.no_user_variables
        self.insert_id = 0
        self.warnings = 0
        self.diagnostics = None
        self.pins = 0
        self.note_schema()
        self.temporary = NO_NAMES
        self.locks = NO_NAMES
        self.row_count = 0
        self.found_rows = None
        self.lingering = ""
        self.permanent = SESSION_POOLING if session_pooling else ""
        self.asking = _NONE_HELD
        self.holding = _NONE_HELD
        self.effects = None
        self.begun = False
        catalogue = self.due.catalogue
        self.due = Due()
        self.due.catalogue = catalogue
        self.asked = NO_VARIABLES
        self.asked_names = ()

    # Coming to a server connection.

    def replay(self, server: MysqlServerStream) -> bytes:
        """Turn the connection's variables into the session's; ``b""`` if nothing is to be done."""
        message = b""
        if server.settings is not self.settings:
            sql = replay_sql(server.settings, self.settings, self.shared.baseline)
            server.settings = self.settings
            if sql:
                message = server.ask(sql, pl.REPLAY)
        if server.user_variables is not self.user_variables:
            held = server.user_variables
            wanted = self.user_variables
            gone = [name for name in held if name not in wanted]
            new = {name: value for name, value in wanted.items() if held.get(name) != value}
            server.user_variables = wanted
            sql = uv.restore_sql(new, gone)
            if sql:
                message += server.ask(sql, pl.REPLAY)
        if message:
            server.last_session = None
        return message

    def replay_insert_id(self, server: MysqlServerStream) -> bytes:
        """Give the connection the session's LAST_INSERT_ID()."""
        if server.insert_id == self.insert_id or self.due.insert_id:
            return b""
        server.insert_id = self.insert_id
        server.last_session = None
        return server.ask(b"SET LAST_INSERT_ID=%d" % self.insert_id, pl.REPLAY)

    # The last statement's outcome.

    def pinged(self) -> None:
        """COM_PING was answered, which is a statement without rows."""
        self.row_count = 0
        self.last_server = 0

    def outcome(self, name: bytes) -> int | None:
        """What a function or variable tells of the last statement; ``None`` if unknown."""
        if name == b"row_count":
            return self.row_count
        if name == b"found_rows":
            return self.found_rows
        if self.diagnostics is None:
            return 0 if self.warnings == 0 else None
        counts = self.diagnostics.counts()
        if counts is None:
            return None
        return counts[0] if name == b"warning_count" else counts[1]
