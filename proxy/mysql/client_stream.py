"""What one MySQL client sends while it has a server connection.

A command is sent on when the one before it has been answered; until then it is held. Commands go
on unchanged where they can. See ``statement_stream.py`` for what is changed and put in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import ProxyError, ServerRefused
from proxy.mysql import effects as fx
from proxy.mysql import pipeline as pl
from proxy.mysql.constants import (
    COM_FIELD_LIST,
    COM_INIT_DB,
    COM_PING,
    COM_QUERY,
    COM_RESET_CONNECTION,
    COM_SET_OPTION,
    COM_STATISTICS,
    COM_STMT_PREPARE,
    HOLD_LIMIT_BYTES,
    LASTING_FLAGS,
    MAX_PAYLOAD_BYTES,
    SERVER_STATUS_CURSOR_EXISTS,
    SERVER_STATUS_LAST_ROW_SENT,
)
from proxy.mysql.diagnostics import CLEAR as CLEAR_WARNINGS
from proxy.mysql.messages import Ok, read_err
from proxy.mysql.packet_stream import FILE
from proxy.mysql.pipeline import Reply
from proxy.mysql.plain_stream import PlainStream
from proxy.mysql.recovery import reset
from proxy.mysql.reply import error_packet
from proxy.mysql.server_stream import MysqlServerStream
from proxy.mysql.session_state import MULTI_STATEMENTS, SESSION_POOLING
from proxy.mysql.statement_stream import OF_STATEMENTS

if TYPE_CHECKING:
    from mypy_extensions import i64

    from proxy.mysql.client_statements import ClientStatement
    from proxy.mysql.effects import Effects
    from proxy.mysql.pipeline import Question
    from proxy.mysql.pool_state import PoolState
    from proxy.wire.dialect import Login
    from proxy.wire.stream import ServerStream

_KEEPING: Final = (COM_INIT_DB, COM_PING, COM_SET_OPTION)
"""MySQL leaves the diagnostics area alone for these, and tells how many messages are there."""
_KINDS: Final = {COM_FIELD_LIST: pl.DEFINITIONS, COM_STATISTICS: pl.TEXT}


class MysqlClientStream(PlainStream):
    """Protocol state of one client session."""

    def __init__(
        self, shared: PoolState, login: Login, number: int, *, session_pooling: bool
    ) -> None:
        super().__init__(shared, login.facts, login.database.encode("utf-8", "surrogateescape"))
        self.number = number
        self.remain: i64 = 0
        """Bytes still to come of a packet that is on its way to the server."""
        self.continued = False
        """The packet under way is continued by the next one."""
        self.file_sent = True
        """The client has sent all of the file that the server asked for."""
        self.parting = False  # The server connection is of a pool that the session has left.
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
                self.sequence = server.next_sequence()
                server.dirty = True  # Nobody will hear what the command has changed.
            server.client = None
            self.server = None
            session = self.session
            if server.replies or session.is_unsettled() or session.pin_reason():
                # What is still to come says what it changed to nobody.
                server.dirty = True
            if session.due.insert_id:
                server.insert_id = -1  # Nobody has asked.
            if session.due.catalogue is not None:
                self.shared.catalogue_read_at = None
        self.to_server = b""
        self.waiting = self.parting = False

    def settle(self) -> bytes:
        server = self.server
        return b"" if server is None else self.session.settle(server)

    def pin_reason(self) -> str:
        return self.session.pin_reason()

    def moving(self) -> str | None:
        stays = not self.session.rooted and self.prepared_without_schema()
        if self.session.pin_reason() != fx.REASONS[fx.STRAY] or stays:
            return None
        return self.session.schema.decode("utf-8", "surrogateescape")

    def moved(self) -> bool:
        server, session = self.server, self.session
        session.rooted = bool(session.schema)
        session.note_schema()
        if server is None or bool(server.schema) != session.rooted:
            self.parting = server is not None
            return False
        self.shared.proven.add(session.schema)
        server.rooted = session.rooted
        return True

    def in_message(self) -> bool:
        server = self.server
        filing = server is not None and server.phase == FILE and not server.swallowing
        passing = self.remain > 0 or self.continued or self.reframing is not None
        return passing or (filing and not self.file_sent)

    def greeting_query(self) -> bytes:
        server = self.server
        assert server is not None
        return server.probe()

    def greeting(self) -> bytes:
        server = self.server
        assert server is not None
        self.shared.proven.add(self.session.schema)
        self.shared.status = server.status & LASTING_FLAGS
        self.session.status = self.shared.status
        return self.greet()

    def say(self, error: ProxyError) -> bytes:
        server = self.server
        if server is not None and server.replies:
            return error_packet(error, server.next_sequence())
        return error_packet(error, self.sequence or (1 if self.waiting or self.held else 0))

    # What the client sends.

    def receive(self, data: bytes) -> None:
        server = self.server
        assert server is not None
        self.to_client = b""
        self.to_server = b""
        if self.held:
            data = self.held + data if data else self.held
            self.held = b""
        if self.is_waiting():
            self.held = data
            return
        data = self.drop(data)
        end: i64 = len(data)
        pos: i64 = 0
        start: i64 = 0
        parts = self.take_reframed()
        if self.remain > 0:
            pos = self.remain if self.remain < end else end
            self.remain -= pos
        while end - pos >= 4:
            length: i64 = data[pos] | (data[pos + 1] << 8) | (data[pos + 2] << 16)
            stop: i64 = pos + 4 + length
            if self.continued or (server.phase == FILE and not self.file_sent):
                if not self.continued:
                    self.file_sent = length == 0
                self.continued = length == MAX_PAYLOAD_BYTES
                if server.phase == FILE and server.shift != 0:
                    sequence = (data[pos + 3] - server.shift) & 0xFF
                    head = data[pos : pos + 3] + bytes((sequence,))
                    parts = [*(parts or []), data[start:pos], head]
                    start = pos + 4
            else:
                if server.replies:
                    self.waiting = True
                    break
                if not self.in_order(data[pos + 3], int(length)):
                    break
                if self.begin_plainly(server, data, pos, stop):
                    self.file_sent = True
                    pos = stop
                    continue
                arrived = end - pos
                if arrived < length + 4 and arrived < HOLD_LIMIT_BYTES:
                    break
                whole = data[pos : stop if stop < end else end]
                replacement = self.translate(server, whole, int(length))
                if self.ahead or replacement is not None:
                    parts = [*(parts or []), data[start:pos], self.ahead]
                    self.ahead = b""
                    start = pos
                if self.is_waiting() or self.error is not None:
                    break
                if replacement is not None:
                    parts = [*(parts or []), replacement]
                    start = stop if stop < end else end
                    if not replacement and (stop > end or length == MAX_PAYLOAD_BYTES):
                        # Dealt with here: the server must not get the rest of it either.
                        start = end - len(self.drop_command(data[pos:]))
                        parts += self.take_reframed() or []
                        stop, length = start, 0
                self.continued = length == MAX_PAYLOAD_BYTES
                if self.terminated or self.errand is not None:
                    pos = start
                    break
            if stop > end:
                self.remain = stop - end
                pos = end
                break
            pos = stop
        if pos < end and self.error is None and not self.terminated:
            self.held = data[pos:]
        if parts is not None:
            parts.append(data[start:pos])
            self.to_server = b"".join(parts)
        else:
            self.to_server = data[start:pos] if start or pos < end else data

    def is_waiting(self) -> bool:
        # A type checker takes an attribute not to change between two looks, but not a method.
        return self.waiting or self.parting

    def translate(self, server: MysqlServerStream, data: bytes, length: int) -> bytes | None:
        """Deal with a command; return what goes to the server instead, ``None`` for itself.

        ``data`` begins with its header and is all of it that has arrived.
        """
        plain = self.execute_plainly(server, data, length)
        if plain is not None:
            return plain
        code = data[4]
        payload = data[4:]
        if self.answered_alone(code, payload, attached=True):
            return b""
        if self.statements and not self.session.schema and self.prepares_ahead(server, payload):
            return None
        if code == COM_QUERY:
            return self.query(server, payload, length)
        if code in OF_STATEMENTS:
            return self.of_statement(code, server, data, payload, length)
        if code == COM_RESET_CONNECTION:
            self.reset_session()
            self.ahead = reset(server)
            server.replies[0] = pl.RESULT_REPLY
            server.begin()
            return b""
        if code == COM_STMT_PREPARE:
            return self.prepare(server, data, length)
        if code == COM_SET_OPTION:
            self.session.permanent = self.session.permanent or MULTI_STATEMENTS
            server.spoilt = True
        self.ahead = self.preamble(server)
        if not self.waiting:
            self.session.begins(None, keeps=code in _KEEPING and not self.shared.mariadb)
            server.push(Reply(_KINDS.get(code, pl.RESULT)))
        return None

    # Queries.

    def query(self, server: MysqlServerStream, payload: bytes, length: int) -> bytes | None:
        effects = self.inspect(payload)
        self.harmless = b""
        if effects is not None and effects.kill is not None:
            kill = effects.kill
            if self.kills(kill.number, query_only=kill.query_only):
                return b""
        self.ahead = self.preamble(server)
        if self.waiting:
            return None
        replacement = None
        several = False
        if effects is not None:
            several = b";" in payload
            if self.answered_from_kept(server, effects, payload):
                return b""
            if effects.reads_last_insert_id:
                self.ahead += self.session.replay_insert_id(server)
            literals = self.literals(server, effects)
            if literals:
                replacement = self.with_literals(payload, literals, length)
        self.file_sent = True
        if len(payload) < length or length == MAX_PAYLOAD_BYTES:
            # What is still to come may take a lock or make a temporary table.
            self.session.permanent = self.session.permanent or "long_statement"
            server.dirty = True
        self.session.begins(effects, several=several)
        server.push(pl.RESULT_REPLY)
        return replacement

    def answered_from_kept(
        self, server: MysqlServerStream, effects: Effects, payload: bytes
    ) -> bool:
        """Answer what asks for the outcome of a statement that ran on another connection."""
        session = self.session
        if effects.reads_diagnostics and effects.shows == fx.SHOWS_NOTHING:
            session.note_asking(0, True)
        if session.is_fresh_on(server):
            return False
        if effects.shows != fx.SHOWS_NOTHING:
            if self.shows_kept(payload):
                return True
            if session.warnings == 0:
                self.ahead += server.ask(CLEAR_WARNINGS, pl.PROBE)
                return False
            self.answer_outcome_unknown()
            return True
        known = all(session.outcome(name) is not None for _, _, _, name in effects.outcome_calls)
        if effects.reads_diagnostics or not known:
            self.answer_outcome_unknown()
            return True
        return False

    # What the server answers.

    def heard(self, ok: Ok, rows: int) -> Ok:
        """An OK packet for the client, which ends this many rows; returns what it is to see."""
        session = self.session
        if self.server is not None:
            session.heard(ok, self.server, rows=rows)
        if self.executing is not None:
            self.heard_of_cursor(self.executing, ok.status)
        if session.keeps and ok.warnings != session.warnings:
            return Ok(
                ok.affected_rows, ok.last_insert_id, ok.status, session.warnings, ok.info, ok.track
            )
        return ok

    def heard_of_cursor(self, statement: ClientStatement, status: int) -> None:
        """Status flags that tell of a cursor."""
        if status & SERVER_STATUS_LAST_ROW_SENT:
            statement.cursor = False
            self.session.hold(statement.number, False)
        elif status & SERVER_STATUS_CURSOR_EXISTS:
            statement.cursor = True
            self.session.hold(statement.number, True)

    def heard_error(self) -> None:
        """An ERR packet for the client."""
        server = self.server
        if server is None:
            return
        self.session.heard_error(server)
        if server.phase == FILE and not self.file_sent:
            # The client sends its file to the end before it looks at what it is told.
            server.spoilt = True
            self.file_sent = True
            self.drops_file = True
            self.dropping = int(self.remain)
            self.drop_continues = self.continued
            self.remain = 0
            self.continued = False

    def heard_ours(self, ok: Ok, reply: Reply) -> None:
        """An OK packet that answers a question of ours."""
        if self.server is not None:
            self.session.heard_ours(ok, self.server, reply)

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
