"""What one PostgreSQL client sends, translated for the server connection it has at the moment.

Messages go on unchanged where they can. Changed are statement names (the client's are put into the
server's, see ``prepared.py``); put in between are the replay of settings, and Parse for a statement
that this server connection has not prepared yet. In that last case the client's own message waits
until the server has described the statement: had the schema changed, the client must get the error
it would get directly, before anything is executed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.errors import ClientProtocolError, ProxyError
from proxy.postgres import pipeline as pl
from proxy.postgres.constants import (
    BIND,
    CLOSE,
    COPY_DATA,
    COPY_DONE,
    COPY_FAIL,
    DESCRIBE,
    EXECUTE,
    FLUSH,
    FUNCTION_CALL,
    HOLD_LIMIT_BYTES,
    NAME_LIMIT_BYTES,
    PARSE,
    QUERY,
    SYNC,
    TERMINATE,
)
from proxy.postgres.effects import inspect
from proxy.postgres.hidden import read_catalogue_payloads
from proxy.postgres.messages import parameter_status
from proxy.postgres.prepared import Statement, describe_message, parse_message
from proxy.postgres.recovery import SYNC_MESSAGE
from proxy.postgres.rename import rename_in_text
from proxy.postgres.reply import error_reply
from proxy.postgres.resting_stream import READY_IDLE, RestingStream
from proxy.postgres.server_stream import PostgresServerStream
from proxy.postgres.session import Session

if TYPE_CHECKING:
    from mypy_extensions import i64

    from proxy.postgres.effects import Effects
    from proxy.postgres.pipeline import Question
    from proxy.postgres.pool_state import PoolState
    from proxy.postgres.settings import Settings
    from proxy.wire.stream import ServerStream


class PostgresClientStream(RestingStream):
    """Protocol state of one client session."""

    def __init__(self, shared: PoolState, startup: Settings, key_data: bytes) -> None:
        super().__init__(shared)
        self.session = Session(shared, startup)
        self.key_data = key_data
        """BackendKeyData, until it has been sent."""
        self.server: PostgresServerStream | None = None
        self.announce = b""
        """Parameter statuses to send because another server reports other values."""
        self.consumed: i64 = 0

    # What the link asks.

    def attach(self, server: ServerStream) -> None:
        assert isinstance(server, PostgresServerStream)
        self.server = server
        server.client = self
        if self.session.permanent:
            server.dirty = True
        self.announce = self.session.news(server)

    def detach(self) -> None:
        server = self.server
        if server is not None:
            server.client = None
            self.server = None
            if self.session.is_unsettled():
                server.dirty = True
        self.waiting = False

    def pin_reason(self) -> str:
        return self.session.pin_reason()

    def in_message(self) -> bool:
        return self.remain > 0

    def say(self, error: ProxyError) -> bytes:
        return error_reply(error)

    def greeting(self) -> bytes:
        server = self.server
        assert server is not None
        self.shared.learn_greeting(self.session.startup, server.reported)
        return self.greet(server.reported)

    def greet(self, reported: dict[str, str]) -> bytes:
        """Encode the end of the start-up phase (docs: "Start-up")."""
        self.session.reported = reported
        messages = [parameter_status(name, value) for name, value in reported.items()]
        messages += [self.key_data, READY_IDLE]
        self.key_data = b""
        return b"".join(messages)

    def greeting_query(self) -> bytes:
        server = self.server
        assert server is not None
        return self.preamble(server) + server.probe()

    # What the client sends.

    def receive(self, data: bytes) -> None:
        server = self.server
        assert server is not None
        self.to_client = self.announce
        if self.announce:
            self.announce = b""
        if self.held:
            data = self.held + data
            self.held = b""
        if self.is_waiting():
            self.held = data
            self.to_server = b""
            return
        parts: list[bytes] = []
        prefix = self.preamble(server)
        if prefix:
            parts.append(prefix)
        end: i64 = len(data)
        pos: i64 = 0
        start: i64 = 0
        if self.remain > 0:
            pos = self.remain if self.remain < end else end
            self.remain -= pos
        while end - pos >= 5:
            kind = data[pos]
            length: i64 = (
                (data[pos + 1] << 24) | (data[pos + 2] << 16) | (data[pos + 3] << 8) | data[pos + 4]
            )
            stop: i64 = pos + 1 + length
            if kind == SYNC and length == 4:
                server.unsynced = server.pipeline.copying
                server.pipeline.push(pl.SYNC_REPLY)
                pos = stop
                continue
            if not self.legal(kind, length):
                break
            if kind == EXECUTE:
                server.unsynced = True
                server.pipeline.push(pl.EXECUTE_REPLY)
            elif kind == COPY_DATA or kind == FLUSH:
                pass
            else:
                if stop > end and not self.can_start(kind, data, pos, end, length):
                    break
                replacement = self.translate(kind, server, data, pos, stop, end)
                if self.terminated or self.error is not None:
                    break
                if replacement is not None:
                    if start < pos:
                        parts.append(data[start:pos])
                    parts.append(replacement)
                    start = self.consumed
                    if self.is_waiting():
                        pos = start
                        break
            if stop > end:
                self.remain = stop - end
                pos = end
                break
            pos = stop
        if pos < end and self.error is None and not self.terminated:
            self.held = data[pos:]
        if not parts and start == 0 and pos == end:
            self.to_server = data
        else:
            if start < pos:
                parts.append(data[start:pos])
            self.to_server = b"".join(parts)
        server.last_session = self.session

    def is_waiting(self) -> bool:
        # A type checker takes an attribute not to change between two looks, but not a method.
        return self.waiting

    def can_start(self, kind: int, data: bytes, pos: i64, end: i64, length: i64) -> bool:
        """Whether a message can be dealt with though it has not arrived whole."""
        if kind == COPY_FAIL or kind == FUNCTION_CALL:
            return True
        if kind == BIND:
            named = data.find(b"\0", pos + 5)
            named = data.find(b"\0", named + 1) if named >= 0 else -1
            if named >= 0:
                return True
            if end - pos > 2 * NAME_LIMIT_BYTES:
                self.error = ClientProtocolError("statement or portal name too long")
            return False
        if kind == QUERY or kind == PARSE:
            return length > HOLD_LIMIT_BYTES and end - pos > NAME_LIMIT_BYTES
        if length > HOLD_LIMIT_BYTES:
            self.error = ClientProtocolError(f"invalid message length {length}")
        return False

    def translate(
        self, kind: int, server: PostgresServerStream, data: bytes, pos: i64, stop: i64, end: i64
    ) -> bytes | None:
        """Note a message in the pipeline; return what replaces it, ``None`` if it goes as it is.

        The replacement stands for the bytes up to ``consumed``.
        """
        self.consumed = stop if stop < end else end
        if kind == QUERY:
            return self.query(server, data, pos, stop, end)
        if kind == TERMINATE:
            self.terminated = True
            return None
        if kind == COPY_DONE or kind == COPY_FAIL:
            server.pipeline.push(pl.COPY_END_REPLY)
            return None
        if kind == FUNCTION_CALL:
            server.pipeline.push(pl.FUNCTION_CALL_REPLY)
            return None
        if kind == PARSE:
            return self.parse(server, data, pos, stop, end)
        if kind == BIND:
            return self.bind(server, data, pos, stop, end)
        server.unsynced = True
        return self.describe_or_close(kind, server, data, pos, stop)

    def query(
        self, server: PostgresServerStream, data: bytes, pos: i64, stop: i64, end: i64
    ) -> bytes | None:
        if server.unsynced:
            # PostgreSQL then fails the next Bind, whosever it is: "unexpected state STARTED".
            server.spoilt = True
        server.unsynced = False
        server.unnamed = None
        self.statements.unnamed = None
        if stop > end:
            self.pass_unread(server)
            server.pipeline.push(pl.QUERY_REPLY)
            return None
        sql = data[pos + 5 : stop - 1]
        effects = self.effects_of(sql)
        if effects is None:
            server.pipeline.push(pl.QUERY_REPLY)
            return None
        prefix = self.note(effects, server)
        if effects.statement_names and self.statements.named:
            ours = self.statements.prepare_for_sql(sql, effects, server)
            if ours:
                server.pipeline.push(pl.OWN_SYNC_REPLY)
                prefix += ours + SYNC_MESSAGE
            sql = rename_in_text(sql, effects.statement_names, self, server)
        server.pipeline.push(pl.QUERY_REPLY)
        return prefix + b"Q" + (len(sql) + 5).to_bytes(4, "big") + sql + b"\0"

    def effects_of(self, sql: bytes) -> Effects | None:
        """What a text may leave behind, by itself or in functions that it calls."""
        effects = inspect(sql)
        hidden = self.shared.hidden
        return effects if hidden is None else hidden.added_to(sql, effects)

    def pass_unread(self, server: PostgresServerStream) -> None:
        """A statement too long to be read may leave anything behind."""
        self.session.permanent = self.session.permanent or "statement_size"
        server.dirty = True

    def parse(
        self, server: PostgresServerStream, data: bytes, pos: i64, stop: i64, end: i64
    ) -> bytes | None:
        named = data.find(b"\0", pos + 5)
        if named < 0 or named >= stop:
            self.error = ClientProtocolError("invalid string in message")
            return None
        name = data[pos + 5 : named]
        if stop > end:
            self.pass_unread(server)
            server.unsynced = True
            if not name:
                self.statements.unnamed = None
                server.unnamed = self.statements
            server.pipeline.push(pl.PARSE_REPLY)
            return None
        definition = data[named + 1 : stop]
        text_end = definition.find(b"\0")
        if text_end < 0:
            self.error = ClientProtocolError("invalid string in message")
            return None
        effects = self.effects_of(definition[:text_end])
        prefix = b""
        if effects is not None:
            prefix = self.session.guard_sequences(effects, server)
            if effects.statement_names and self.statements.named:
                sql = definition[:text_end]
                prefix += self.statements.prepare_for_sql(sql, effects, server)
                sql = rename_in_text(sql, effects.statement_names, self, server)
                definition = sql + definition[text_end:]
        server.unsynced = True
        statement = Statement(definition, effects)
        if name:
            return prefix + self.statements.parse(server, name, statement)
        self.statements.unnamed = statement
        server.unnamed = statement
        server.pipeline.push(pl.PARSE_REPLY)
        return None if effects is None else prefix + parse_message(b"", definition)

    def bind(
        self, server: PostgresServerStream, data: bytes, pos: i64, stop: i64, end: i64
    ) -> bytes | None:
        portal = data.find(b"\0", pos + 5)
        named = data.find(b"\0", portal + 1) if portal >= 0 else -1
        if named < 0 or named >= stop:
            self.error = ClientProtocolError("invalid string in message")
            return None
        if named == portal + 1:
            prefix = self.use_unnamed(server)
            server.unsynced = True
            server.pipeline.push(pl.BIND_REPLY)
            if prefix:
                self.consumed = named + 1
                return prefix + data[pos : named + 1]
            return None
        name = data[portal + 1 : named]
        statement = self.statements.named.get(name)
        if statement is None or server.pipeline.skipping:
            server.unsynced = True
            server.pipeline.push(pl.BIND_REPLY)
            return None
        prefix = b""
        if statement.effects is not None:
            prefix = self.note(statement.effects, server)
        server.unsynced = True
        server_name = self.statements.name_on(server, statement, name)
        if server_name is None:
            self.waiting = True
            self.consumed = pos
            return prefix + self.statements.prepare(server, name)
        server.pipeline.push(pl.BIND_REPLY)
        self.consumed = named + 1
        length = int(stop - pos - 1) + len(server_name) - (named - portal - 1)
        head = b"B" + length.to_bytes(4, "big") + data[pos + 5 : portal + 1]
        return prefix + head + server_name + b"\0"

    def use_unnamed(self, server: PostgresServerStream) -> bytes:
        """Have the client's unnamed statement be the server's; note what executing it may do."""
        statement = self.statements.unnamed
        prefix = b""
        if statement is not None and statement.effects is not None:
            prefix = self.note(statement.effects, server)
        return prefix + self.statements.use_unnamed(server)

    def describe_or_close(
        self, kind: int, server: PostgresServerStream, data: bytes, pos: i64, stop: i64
    ) -> bytes | None:
        named = data.find(b"\0", pos + 6)
        if named != stop - 1:
            self.error = ClientProtocolError("invalid string in message")
            return None
        name = data[pos + 6 : named]
        if data[pos + 5] != 0x53:
            server.pipeline.push(pl.DESCRIBE_REPLY if kind == DESCRIBE else pl.CLOSE_REPLY)
            return None
        if kind == CLOSE:
            if not name:
                self.statements.unnamed = None
                server.unnamed = None
                server.pipeline.push(pl.CLOSE_REPLY)
            elif not server.pipeline.skipping:
                server.pipeline.push(self.statements.close(name))
            return None
        if not name:
            prefix = self.use_unnamed(server)
            server.pipeline.push(pl.DESCRIBE_REPLY)
            return prefix + data[pos:stop] if prefix else None
        statement = self.statements.named.get(name)
        if statement is None or server.pipeline.skipping:
            server.pipeline.push(pl.DESCRIBE_REPLY)
            return None
        server_name = self.statements.name_on(server, statement, name)
        self.statements.unseen.discard(name)
        if server_name is None:
            self.waiting = True
            self.consumed = pos
            return self.statements.prepare(server, name)
        server.pipeline.push(pl.DESCRIBE_REPLY)
        return describe_message(server_name)

    # What goes ahead of the client's own messages.

    def preamble(self, server: PostgresServerStream) -> bytes:
        """Replay of settings and closing of statements; ``b""`` nearly always."""
        if self.remain > 0:
            return b""
        message = b""
        if server.settings is not self.session.settings:
            message = self.session.replay(server)
        if server.statements.obsolete:
            message += server.statements.close_obsolete(server.pipeline)
        return message

    def note(self, effects: Effects, server: PostgresServerStream) -> bytes:
        """Remember what a statement may do; return what must go to the server ahead of it."""
        prefix = self.session.note(effects, server)
        if effects.executes and self.session.changes is not None:
            for statement in self.statements.named.values():
                if statement.effects is not None:
                    prefix += self.session.note(statement.effects, server)
        return prefix

    def settle(self) -> bytes:
        server = self.server
        return b"" if server is None else self.session.settle(server)

    def question_answered(self, question: Question) -> None:
        """Take the answer to one of our questions."""
        server = self.server
        if server is None:
            return
        if question.purpose == pl.SETTLE:
            self.session.settled(question, server)
        elif question.purpose == pl.CATALOGUE:
            self.shared.hidden = read_catalogue_payloads(question.rows)
        elif question.purpose == pl.REPLAY:
            self.error = self.session.replayed(question, server)
