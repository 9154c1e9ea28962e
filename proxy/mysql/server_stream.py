"""One MySQL or MariaDB server connection, as the pool and its clients see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.mysql import pipeline as pl
from proxy.mysql import recovery
from proxy.mysql.capabilities import is_mariadb
from proxy.mysql.constants import (
    CLIENT_QUERY_ATTRIBUTES,
    COM_QUIT,
    COM_STMT_CLOSE,
    MARIADB_CLIENT_EXTENDED_METADATA,
    SERVER_STATUS_IN_TRANS,
)
from proxy.mysql.lenenc import packet
from proxy.mysql.packet_stream import DEFINITIONS, FILE, PASS, SWALLOW
from proxy.mysql.pipeline import Question, Reply
from proxy.mysql.reply_stream import ReplyStream
from proxy.mysql.server_statements import ServerStatements
from proxy.mysql.tracking import read_track

if TYPE_CHECKING:
    from mypy_extensions import i64

    from proxy.mysql.client_statements import Preparation
    from proxy.mysql.pool_state import PoolState
    from proxy.mysql.session import Session
    from proxy.wire.dialect import ServerSession

_QUIT: Final = pl.command(COM_QUIT)


class MysqlServerStream(ReplyStream):
    """Protocol state of one server connection."""

    def __init__(self, shared: PoolState, session: ServerSession) -> None:
        super().__init__(session.capabilities)
        self.shared = shared
        self.attributes = bool(session.capabilities & CLIENT_QUERY_ATTRIBUTES)
        self.extended = bool(session.capabilities & MARIADB_CLIENT_EXTENDED_METADATA)
        self.mariadb = is_mariadb(session.reported["server_version"])
        self.reported = session.reported
        self.settings = shared.settings.none
        """System variables that differ from what the connection started with."""
        self.schema = session.reported["schema"].encode("utf-8", "surrogateescape")
        """Default schema; empty for none."""
        self.rooted = bool(self.schema)
        """Connections of its pool have a default schema."""
        self.user_variables = shared.no_user_variables
        """User variables that exist here, by name: an expression of the value."""
        self.insert_id = 0
        """What LAST_INSERT_ID() is here."""
        shared.told_at_login = session.reported.get("told_at_login", "")
        shared.connections += 1
        self.serial = shared.connections
        self.last_session: Session | None = None
        """Session whose statement was the last here: diagnostics are its own."""
        self.statements = ServerStatements(shared.max_prepared_statements)
        self.obsolete: list[int] = []
        """Ids of prepared statements to be closed."""
        self.dirty = False
        """Holds state that only COM_RESET_CONNECTION removes."""
        self.spoilt = False
        """Holds state that nothing removes: not for reuse."""

    # What the link asks.

    def is_idle(self) -> bool:
        # After an ERR nobody knows: then the session asks (``settle``).
        return (self.failed or self.status & SERVER_STATUS_IN_TRANS == 0) and self.is_quiet()

    def is_quiet(self) -> bool:
        return not self.replies and self.remain == 0 and not self.partial and not self.continued

    def is_forwarding(self) -> bool:
        return (self.remain > 0 or self.continued) and self.remain_verdict == PASS

    def awaits_client(self) -> bool:
        return self.phase == FILE or (
            not self.replies and self.status & SERVER_STATUS_IN_TRANS != 0
        )

    def has_backlog(self) -> bool:
        return False  # A client's second command is held until the first is answered.

    def in_transaction(self) -> bool:
        return self.status & SERVER_STATUS_IN_TRANS != 0

    def needs_cleaning(self) -> bool:
        return self.dirty

    def goodbye(self) -> bytes:
        return _QUIT

    def reusable(self) -> bool:
        # Nothing but another login takes a default schema away.
        return not self.spoilt and not self.error and bool(self.schema) == self.rooted

    def probe(self) -> bytes:
        return self.ask(b"DO 0", pl.PROBE)

    def unstick(self) -> bytes:
        return b""

    def recover(self) -> bytes:
        return recovery.recover(self)

    # Commands.

    def push(self, reply: Reply) -> None:
        """Note a command that is sent: its reply is owed."""
        self.replies.append(reply)
        if len(self.replies) == 1:
            self.begin()

    def ask(self, sql: bytes, purpose: int) -> bytes:
        """Encode a query of ours and note that its reply is ours."""
        self.push(Reply(pl.RESULT, Question(purpose)))
        return pl.query(sql, attributes=self.attributes)

    def order(self, code: int, payload: bytes, purpose: int) -> bytes:
        """Encode another command of ours that OK or ERR answers."""
        self.push(Reply(pl.RESULT, Question(purpose)))
        return pl.command(code, payload)

    def close_obsolete(self) -> bytes:
        """Encode the closing of statements that are not needed any more; nothing answers it."""
        numbers = self.obsolete
        self.obsolete = []
        return b"".join(pl.command(COM_STMT_CLOSE, n.to_bytes(4, "little")) for n in numbers)

    # Answers.

    def answered(self, question: Question) -> None:
        client = self.client
        purpose = question.purpose
        resets = purpose == pl.CLEAN or purpose == pl.RESET or purpose == pl.AFTER_RESET
        if resets and (question.error or question.too_long):
            # A late KILL QUERY, perhaps. Nobody knows what holds here, and nothing is learned.
            again = client is None and question.interrupted()
            self.dirty = self.dirty or again
            self.spoilt = self.spoilt or not again
            if client is not None:
                self.error = "the reset of the connection failed"
        elif purpose == pl.AFTER_RESET and not (self.dirty or self.spoilt):
            # The reset itself has succeeded.
            self.settings = self.shared.learn_after_reset(question)
            if client is not None:
                client.session.settings = self.settings
        elif resets:
            return
        elif client is not None:
            client.question_answered(question)
        elif question.error and not question.interrupted():
            self.spoilt = True

    def heard_alone(self, track: bytes) -> None:
        """What an OK packet reports after its client has vanished."""
        schema = read_track(track).schema
        if schema is not None:
            self.schema = schema.encode("utf-8", "surrogateescape")

    # Preparing.

    def prepared(self, reply: Reply, data: bytes, pos: i64, stop: i64) -> int:
        """The first packet of COM_STMT_PREPARE's response."""
        if stop - pos < 16 or reply.preparation is None:
            self.error = "malformed response to COM_STMT_PREPARE"
            return SWALLOW
        statement = reply.preparation.client_statement
        reply.preparation.server_number = int.from_bytes(data[pos + 5 : pos + 9], "little")
        columns: i64 = data[pos + 9] | (data[pos + 10] << 8)
        parameters: i64 = data[pos + 11] | (data[pos + 12] << 8)
        statement.parameters = int(parameters)
        described = stop - pos == 16 or data[pos + 16] != 0
        self.left = parameters if parameters else columns
        self.left_behind = columns if parameters else 0
        self.phase = DEFINITIONS
        self.failed = False
        self.eof_warnings = data[pos + 14] | (data[pos + 15] << 8)
        if not reply.preparation.ours:
            head = data[pos + 4 : stop]
            number = statement.number.to_bytes(4, "little")
            self.substitute = packet(head[:1] + number + head[5:], data[pos + 3])
        if not described:
            self.leave_out_definitions(reply, data[pos + 3])
        if self.left == 0:
            self.all_defined(reply)
        return SWALLOW

    def leave_out_definitions(self, reply: Reply, sequence: int) -> None:
        """The session has turned definitions off; the EOF packets behind them remain."""
        preparation = reply.preparation
        if preparation is not None and not preparation.ours:
            if self.left > 0:
                self.end_definitions(reply, sequence)
            if self.left_behind > 0:
                self.end_definitions(reply, sequence)
        self.left = 0
        self.left_behind = 0

    def definition(self, reply: Reply, data: bytes, pos: i64) -> int:
        """One definition of a parameter or a column, of COM_STMT_PREPARE's response."""
        preparation = reply.preparation
        ours = preparation is None or preparation.ours
        self.left -= 1
        if self.left == 0:
            if not ours:
                self.end_definitions(reply, data[pos + 3])
            self.left = self.left_behind
            self.left_behind = 0
            if self.left == 0:
                self.all_defined(reply)
        return SWALLOW if ours else PASS

    def all_defined(self, reply: Reply) -> None:
        """A statement is prepared."""
        preparation = reply.preparation
        if preparation is not None:
            self.statement_prepared(preparation)
            if preparation.ours:
                self.completed -= 1
        self.complete(reply)

    def statement_prepared(self, preparation: Preparation) -> None:
        statement = preparation.client_statement.statement
        self.obsolete += self.statements.add(statement, preparation.server_number)
        if self.client is not None and not preparation.ours:
            self.client.prepared(preparation.client_statement, self.eof_warnings)
