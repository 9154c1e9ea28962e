"""What one MySQL client sends while it has a server connection.

A command is sent on when the one before it has been answered; until then it is held. Commands go
on unchanged where they can. Changed are the ids of prepared statements and CONNECTION_ID(); put in
ahead are the replay of the session's state, and COM_STMT_PREPARE for a statement that this server
connection has not prepared yet. In that last case, and when the default schema has to be changed,
the client's own command waits for the server's answer: run in another schema it would do harm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import ProxyError, ServerRefused
from proxy.mysql import effects as fx
from proxy.mysql import pipeline as pl
from proxy.mysql.binary_protocol import (
    execute_types,
    with_types,
)
from proxy.mysql.constants import (
    COM_FIELD_LIST,
    COM_INIT_DB,
    COM_QUERY,
    COM_RESET_CONNECTION,
    COM_SET_OPTION,
    COM_STATISTICS,
    COM_STMT_BULK_EXECUTE,
    COM_STMT_EXECUTE,
    COM_STMT_FETCH,
    COM_STMT_PREPARE,
    COM_STMT_RESET,
    COM_STMT_SEND_LONG_DATA,
    CURSOR_TYPE_READ_ONLY,
    HOLD_LIMIT_BYTES,
    MAX_PAYLOAD_BYTES,
    SERVER_STATUS_CURSOR_EXISTS,
    SERVER_STATUS_LAST_ROW_SENT,
)
from proxy.mysql.lenenc import packet
from proxy.mysql.messages import read_err
from proxy.mysql.pipeline import Reply
from proxy.mysql.prepared import ClientStatement, Preparation
from proxy.mysql.query_attributes import text_start
from proxy.mysql.recovery import reset
from proxy.mysql.reply import error_packet
from proxy.mysql.reply_stream import FILE
from proxy.mysql.resting_stream import RestingStream
from proxy.mysql.server_stream import MysqlServerStream
from proxy.mysql.session import SESSION_POOLING

if TYPE_CHECKING:
    from mypy_extensions import i64

    from proxy.mysql.effects import Effects
    from proxy.mysql.pipeline import Question
    from proxy.mysql.pool_state import PoolState
    from proxy.wire.dialect import Login
    from proxy.wire.stream import ServerStream

_MOST_STATEMENTS: Final = 16382
"""Prepared statements of one session: ``max_prepared_stmt_count`` of servers, by default."""
_KINDS: Final = {COM_FIELD_LIST: pl.DEFINITIONS, COM_STATISTICS: pl.TEXT}
_OF_STATEMENTS: Final = frozenset(
    {
        COM_STMT_EXECUTE,
        COM_STMT_BULK_EXECUTE,
        COM_STMT_SEND_LONG_DATA,
        COM_STMT_FETCH,
        COM_STMT_RESET,
    }
)


class MysqlClientStream(RestingStream):
    """Protocol state of one client session."""

    def __init__(
        self, shared: PoolState, login: Login, number: int, *, session_pooling: bool
    ) -> None:
        super().__init__(shared, login.facts, login.database.encode("utf-8", "surrogateescape"))
        self.number = number
        """The connection id that the client was greeted with."""
        self.server: MysqlServerStream | None = None
        self.remain: i64 = 0
        """Bytes still to come of a packet that is on its way to the server."""
        self.continued = False
        """The packet under way is continued by the next one."""
        self.file_sent = True
        """The client has sent all of the file that the server asked for."""
        self.next_statement = 1
        self.ahead = b""
        """What goes to the server ahead of the command being dealt with."""
        self.executing: ClientStatement | None = None
        if session_pooling:
            self.session.permanent = SESSION_POOLING

    # What the link asks.

    def attach(self, server: ServerStream) -> None:
        assert isinstance(server, MysqlServerStream)
        self.server = server
        server.client = self
        if self.session.permanent:
            server.dirty = True

    def detach(self) -> None:
        server = self.server
        if server is not None:
            if server.replies or server.is_forwarding():
                self.sequence = 1
            server.client = None
            self.server = None
            session = self.session
            if session.unknown or session.written or session.pin_reason():
                server.dirty = True
        self.to_server = b""
        self.waiting = False

    def settle(self) -> bytes:
        server = self.server
        return b"" if server is None else self.session.settle(server)

    def pin_reason(self) -> str:
        return self.session.pin_reason()

    def in_message(self) -> bool:
        server = self.server
        filing = server is not None and server.phase == FILE and not server.swallowing
        return self.remain > 0 or self.continued or (filing and not self.file_sent)

    def greeting_query(self) -> bytes:
        server = self.server
        assert server is not None
        return server.probe()

    def greeting(self) -> bytes:
        server = self.server
        assert server is not None
        self.shared.proven = True
        self.shared.status = server.status
        self.session.status = server.status
        return self.greet()

    def say(self, error: ProxyError) -> bytes:
        busy = self.waiting or self.held or (self.server is not None and self.server.replies)
        return error_packet(error, self.sequence or (1 if busy else 0))

    # What the client sends.

    def receive(self, data: bytes) -> None:
        server = self.server
        assert server is not None
        self.to_client = b""
        self.to_server = b""
        if self.held:
            data = self.held + data
            self.held = b""
        if self.is_waiting():
            self.held = data
            return
        data = self.drop(data)
        end: i64 = len(data)
        pos: i64 = 0
        start: i64 = 0
        parts: list[bytes] = []
        if self.remain > 0:
            pos = self.remain if self.remain < end else end
            self.remain -= pos
        while end - pos >= 4:
            length: i64 = data[pos] | (data[pos + 1] << 8) | (data[pos + 2] << 16)
            stop: i64 = pos + 4 + length
            if self.continued:
                self.continued = length == MAX_PAYLOAD_BYTES
            elif server.phase == FILE and not self.file_sent:
                self.file_sent = length == 0
                if server.shift != 0:
                    parts.append(data[start:pos])
                    sequence = (data[pos + 3] - server.shift) & 0xFF
                    parts.append(data[pos : pos + 3] + bytes((sequence,)))
                    start = pos + 4
            else:
                if server.replies:
                    self.waiting = True
                    break
                if not self.in_order(data[pos + 3], int(length)):
                    break
                arrived = end - pos
                if arrived < length + 4 and arrived < HOLD_LIMIT_BYTES:
                    break
                whole = data[pos : stop if stop < end else end]
                replacement = self.translate(server, whole, int(length))
                if self.ahead or replacement is not None:
                    parts.append(data[start:pos])
                    parts.append(self.ahead)
                    self.ahead = b""
                    start = pos
                if self.is_waiting() or self.error is not None:
                    break
                if replacement is not None:
                    parts.append(replacement)
                    start = stop if stop < end else end
                self.continued = length == MAX_PAYLOAD_BYTES
                if self.terminated:
                    pos = start
                    break
            if stop > end:
                self.remain = stop - end
                pos = end
                break
            pos = stop
        if pos < end and self.error is None and not self.terminated:
            self.held = data[pos:]
        if start < pos:
            parts.append(data[start:pos])
        self.to_server = parts[0] if len(parts) == 1 else b"".join(parts)

    def is_waiting(self) -> bool:
        # A type checker takes an attribute not to change between two looks, but not a method.
        return self.waiting

    def translate(self, server: MysqlServerStream, data: bytes, length: int) -> bytes | None:
        """Deal with a command; return what goes to the server instead, ``None`` for itself.

        ``data`` begins with its header and is all of it that has arrived.
        """
        code = data[4]
        if self.answered_alone(code, data[4:], attached=True):
            return b""
        if code == COM_QUERY:
            return self.query(server, data, length)
        if code in _OF_STATEMENTS:
            return self.of_statement(code, server, data, length)
        if code == COM_RESET_CONNECTION:
            self.reset_session()
            self.ahead = reset(server)
            server.replies[0] = pl.RESULT_REPLY
            server.begin()
            return b""
        if code == COM_STMT_PREPARE:
            return self.prepare(server, data)
        if code == COM_SET_OPTION:
            self.session.permanent = self.session.permanent or "multi_statements"
            server.spoilt = True
        self.ahead = self.preamble(server)
        if not self.waiting:
            self.session.begins(None, several=False)
            server.push(Reply(_KINDS.get(code, pl.RESULT)))
        return None

    # Queries.

    def query(self, server: MysqlServerStream, data: bytes, length: int) -> bytes | None:
        payload = data[4:]
        effects = self.inspect(payload)
        self.ahead = self.preamble(server)
        if self.waiting:
            return None
        replacement = None
        several = b";" in payload
        if effects is not None:
            if self.answered_from_kept(server, effects, payload):
                return b""
            if effects.reads_last_insert_id:
                self.ahead += self.session.replay_insert_id(server)
            if effects.connection_ids:
                replacement = self.with_connection_id(payload, effects, length)
        self.file_sent = True
        self.session.begins(effects, several=several)
        server.push(pl.RESULT_REPLY)
        return replacement

    def answered_from_kept(
        self, server: MysqlServerStream, effects: Effects, payload: bytes
    ) -> bool:
        """Answer what asks for the outcome of a statement that ran on another connection."""
        if server.last_session is self.session:
            return False
        if effects.shows != fx.SHOWS_NOTHING and self.shows_kept(payload):
            return True
        if effects.reads_diagnostics:
            self.answer_error(
                1235,
                "42000",
                "Tidegate cannot tell what the previous statement did: it ran on another server"
                " connection. Ask within the same transaction",
            )
            return True
        return False

    def with_connection_id(self, payload: bytes, effects: Effects, length: int) -> bytes | None:
        """Put our number in place of CONNECTION_ID()."""
        if len(payload) < length or self.continued:
            return None
        start = text_start(payload) if self.attributes else 1
        text = payload[start:]
        for first, last, names in reversed(effects.connection_ids):
            number = b"CAST(%d AS UNSIGNED)" % self.number
            if names:
                number += b" AS `" + text[first:last].replace(b"`", b"``") + b"`"
            text = text[:first] + number + text[last:]
        return packet(payload[:start] + text, 0)

    # Prepared statements.

    def prepare(self, server: MysqlServerStream, data: bytes) -> bytes | None:
        payload = data[4:]
        if len(self.statements) >= _MOST_STATEMENTS:
            self.answer_error(
                1461,
                "42000",
                "Can't create more than max_prepared_stmt_count statements"
                f" (current value: {_MOST_STATEMENTS})",
            )
            return b""
        effects = self.inspect(payload)
        self.ahead = self.preamble(server)
        if self.waiting:
            return None
        session = self.session
        sql = payload[1:]
        known = self.shared.statements.statement(sql, session.settings, session.schema)
        statement = ClientStatement(self.next_statement, known, effects)
        self.next_statement += 1
        self.prepared_last = None
        session.begins(None, several=False)
        server.push(Reply(pl.PREPARED, None, Preparation(statement, ours=False)))
        return None

    def prepared(self, statement: ClientStatement) -> None:
        """The server has prepared what the client asked for."""
        self.statements[statement.number] = statement
        self.prepared_last = statement

    def of_statement(
        self, code: int, server: MysqlServerStream, data: bytes, length: int
    ) -> bytes | None:
        """A command about a prepared statement."""
        statement = self.statement(data[4:])
        if statement is None or length < 5:
            if code != COM_STMT_SEND_LONG_DATA:
                self.unknown_statement(code, int.from_bytes(data[5:9], "little"))
            return b""
        self.ahead = self.preamble(server)
        if self.waiting:
            return None
        held = server.statements.find(statement.statement)
        if held is None:
            self.prepare_again(server, statement, silent=code == COM_STMT_SEND_LONG_DATA)
            return None
        number = held.number.to_bytes(4, "little")
        session = self.session
        if code == COM_STMT_SEND_LONG_DATA:
            session.holding.add(statement.number)
            server.dirty = True
            return data[:5] + number + data[9:]
        if code == COM_STMT_FETCH:
            server.push(Reply(pl.ROWS))
            self.executing = statement
            return data[:5] + number + data[9:]
        if code == COM_STMT_RESET:
            session.holding.discard(statement.number)
            statement.cursor = False
            server.push(pl.RESULT_REPLY)
            return data[:5] + number + data[9:]
        return self.execute(code, server, statement, data, length)

    def execute(
        self,
        code: int,
        server: MysqlServerStream,
        statement: ClientStatement,
        data: bytes,
        length: int,
    ) -> bytes:
        """COM_STMT_EXECUTE, or MariaDB's COM_STMT_BULK_EXECUTE, of a statement prepared here."""
        held = server.statements.find(statement.statement)
        assert held is not None
        session = self.session
        effects = statement.effects
        if effects is not None:
            if effects.reads_diagnostics and server.last_session is not session:
                self.answered_from_kept(server, effects, b"\x03")
                return b""
            if effects.reads_last_insert_id:
                self.ahead += session.replay_insert_id(server)
        payload = data[4:]
        sent = execute_types(payload, statement.parameters, attributes=self.attributes)
        insert = b""
        if sent is not None and sent.types is not None:
            statement.types = sent.types
        elif sent is not None and statement.types is not None and held.types != statement.types:
            insert = statement.types
        held.types = statement.types
        payload = payload[:1] + held.number.to_bytes(4, "little") + payload[5:]
        if insert and sent is not None:
            payload = with_types(payload, sent, insert)
            length += len(insert)
        cursor = code == COM_STMT_EXECUTE and bool(data[9] & CURSOR_TYPE_READ_ONLY)
        self.executing = statement if cursor else None
        session.holding.discard(statement.number)
        session.begins(effects, several=False)
        server.push(Reply(pl.RESULT, None, None, cursor))
        return length.to_bytes(3, "little") + b"\0" + payload

    def prepare_again(
        self, server: MysqlServerStream, statement: ClientStatement, *, silent: bool
    ) -> None:
        """Prepare on this server connection what was prepared on another; the client waits."""
        preparation = Preparation(statement, ours=True)
        preparation.silent = silent
        server.push(Reply(pl.PREPARED, None, preparation))
        self.ahead += packet(bytes((COM_STMT_PREPARE,)) + statement.statement.sql, 0)
        self.waiting = True

    def preparation_failed(self) -> None:
        """The server would not prepare a statement again: its error answers what was held."""
        length = int.from_bytes(self.held[:3], "little")
        self.dropping = max(0, length + 4 - len(self.held))
        self.held = self.held[length + 4 :]

    def heard_status(self, status: int) -> None:
        """Status flags that end a result: they tell of cursors."""
        statement = self.executing
        if statement is None:
            return
        if status & SERVER_STATUS_LAST_ROW_SENT:
            statement.cursor = False
            self.session.holding.discard(statement.number)
        elif status & SERVER_STATUS_CURSOR_EXISTS:
            statement.cursor = True
            self.session.holding.add(statement.number)

    def close_on_server(self, statement: ClientStatement) -> bool:
        server = self.server
        if server is not None and statement.number in self.session.holding:
            self.session.holding.discard(statement.number)
            number = server.statements.drop(statement.statement)
            if number is not None:
                server.obsolete.append(number)
        return False

    # What goes ahead of the client's own commands.

    def preamble(self, server: MysqlServerStream) -> bytes:
        """Closing of statements and replay of state; ``b""`` nearly always."""
        message = server.close_obsolete() if server.obsolete else b""
        session = self.session
        if server.schema != session.schema:
            server.schema = session.schema
            message += server.order(COM_INIT_DB, session.schema, pl.SCHEMA)
            self.waiting = True
        elif (
            server.settings is not session.settings
            or server.user_variables is not session.user_variables
        ):
            message += session.replay(server)
        return message

    def question_answered(self, question: Question) -> None:
        """Take the answer to one of our questions."""
        server = self.server
        if server is None:
            return
        if question.purpose == pl.REPLAY or question.purpose == pl.SCHEMA:
            if question.error:
                server.spoilt = True
                self.error = _refused(question.error)
        elif question.purpose != pl.PROBE:
            self.session.answered(question, server)


def _refused(payload: bytes) -> ServerRefused:
    """Make a server's ERR one that ends the client's session."""
    err = read_err(payload)
    text = err.message.decode("utf-8", "replace")
    return ServerRefused(text, response=payload, code=err.sqlstate)
