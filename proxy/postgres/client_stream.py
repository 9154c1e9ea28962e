"""What one PostgreSQL client sends, translated for the server connection it has at the moment.

Messages go on unchanged where they can. Changed are statement names (the client's are put into the
server's, see ``prepared.py``); put in between are the replay of settings, and Parse for a statement
that this server connection has not prepared yet. In that last case the client's own message waits
until the server has described the statement: had the schema changed, the client must get the error
it would get directly, before anything is executed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import ClientProtocolError, ProxyError, ServerRefused
from proxy.postgres import pipeline as pl
from proxy.postgres.changes import Changes, session_settings, survives_discard
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
    IN_FAILED_TRANSACTION,
    NAME_LIMIT_BYTES,
    PARSE,
    QUERY,
    SYNC,
    TERMINATE,
)
from proxy.postgres.effects import PREPARED_STATEMENT, REASONS, Effects, inspect
from proxy.postgres.messages import parameter_status, parse_error_fields
from proxy.postgres.pipeline import Question, Reply
from proxy.postgres.prepared import STALE_NAME, Preparation, Statement
from proxy.postgres.rename import identifier, rename_in_text
from proxy.postgres.reply import error_reply
from proxy.postgres.server_stream import PostgresServerStream
from proxy.postgres.settings import Settings, replay_query
from proxy.wire.stream import NEED_BYTES, NEED_NOTHING, NEED_SERVER, ClientStream, ServerStream

if TYPE_CHECKING:
    from mypy_extensions import i64

    from proxy.postgres.pool_state import PoolState

_FLUSH: Final = b"H\x00\x00\x00\x04"
_PARSE_COMPLETE: Final = b"1\x00\x00\x00\x04"
_READY_IDLE: Final = b"Z\x00\x00\x00\x05I"
_CLOSE_UNNAMED: Final = b"C\x00\x00\x00\x06S\x00"
_DISCARD_SEQUENCES: Final = b"DISCARD SEQUENCES"
_LEGAL: Final = frozenset(b"BCdcfDEHFPQSX")
SESSION_POOLING: Final = "session_pooling"


def _parse_message(name: bytes, definition: bytes) -> bytes:
    length = len(name) + 5 + len(definition)
    return b"P" + length.to_bytes(4, "big") + name + b"\0" + definition


def _describe_message(name: bytes) -> bytes:
    return b"D" + (len(name) + 6).to_bytes(4, "big") + b"S" + name + b"\0"


def _fatal(payload: bytes) -> ServerRefused:
    """Make a server's error (an ErrorResponse payload) one that ends the client's session."""
    payload = payload.replace(b"SERROR\0VERROR\0", b"SFATAL\0VFATAL\0", 1)
    fields = parse_error_fields(payload)
    return ServerRefused(
        fields.get("M", ""),
        response=b"E" + (len(payload) + 4).to_bytes(4, "big") + payload,
        code=fields.get("C", ""),
    )


class PostgresClientStream(ClientStream):
    """Protocol state of one client session."""

    def __init__(self, shared: PoolState, startup: Settings, key_data: bytes) -> None:
        super().__init__()
        self.shared = shared
        self.startup = startup
        """Settings the session starts with, and goes back to with RESET ALL."""
        self.settings = startup
        """Settings the session has now."""
        self.key_data = key_data
        """BackendKeyData, until it has been sent."""
        self.reported: dict[str, str] | None = None
        """Parameter statuses as the client knows them; ``None`` before it was greeted."""
        self.server: PostgresServerStream | None = None
        self.remain: i64 = 0
        self.statements: dict[bytes, Statement] | None = None
        self.unseen: set[bytes] | None = None
        """Names of statements that were accepted without a server (``answer_alone``)."""
        self.unnamed: Statement | None = None
        self.stale: Statement | None = None
        self.changes: Changes | None = None
        """What statements may have changed since the session was last checked."""
        self.settling: Changes | None = None
        """What the server is being asked about."""
        self.execute_effects: Effects | None = None
        """What SQL EXECUTE may do, from what SQL PREPARE prepared."""
        self.announce = b""
        """Parameter statuses to send because another server reports other values."""
        self.consumed: i64 = 0
        self.pins = 0
        self.permanent = ""
        self.skipping = False
        """Messages are discarded up to the next Sync (after ``refuse``)."""

    # What the link asks.

    def demand(self, data: bytes) -> int:
        """Look at the first messages; those that need no server are answered here.

        What remains is left in ``held``.
        """
        self.to_client = b""
        while True:
            if self.skipping or self.remain > 0:
                data = self.discard(data)
            self.held = data
            if len(data) < 5:
                return NEED_BYTES
            kind = data[0]
            length = int.from_bytes(data[1:5], "big")
            if not self.legal(kind, length):
                return NEED_NOTHING
            if kind == TERMINATE:
                self.terminated = True
                return NEED_NOTHING
            if kind == SYNC:
                self.to_client += _READY_IDLE
                data = data[5:]
            elif kind == FLUSH:
                data = data[5:]
            elif length + 1 > len(data) and (
                length <= HOLD_LIMIT_BYTES or len(data) <= 3 * NAME_LIMIT_BYTES
            ):
                return NEED_BYTES
            else:
                return NEED_SERVER

    def discard(self, data: bytes) -> bytes:
        """Discard messages up to the next Sync, as a server does after an error."""
        while len(data) >= 5 or (self.remain > 0 and data):
            if self.remain > 0:
                skipped = min(int(self.remain), len(data))
                self.remain -= skipped
                data = data[skipped:]
                continue
            if not self.skipping:
                return data
            kind = data[0]
            length = int.from_bytes(data[1:5], "big")
            if kind == SYNC or kind == TERMINATE or not self.legal(kind, length):
                self.skipping = False
                return data
            self.remain = length + 1
        return data

    def refuse(self, error: ProxyError) -> None:
        """Answer the held messages up to the next ReadyForQuery with an error."""
        kind = self.held[0]
        self.to_client = error_reply(error)
        if kind == QUERY or kind == FUNCTION_CALL:
            self.to_client += _READY_IDLE
            length = int.from_bytes(self.held[1:5], "big")
            self.remain = max(0, length + 1 - len(self.held))
            self.held = self.held[length + 1 :]
        else:
            self.skipping = True

    def answer_alone(self) -> bool:
        """Accept Parse of statements that are known, followed by Sync, while no server is free.

        Some drivers block their whole program until Parse is answered, and may hold the very
        connections that would have to come free (pgbench with fewer threads than clients does).
        The statements are parsed for real before they are first used.
        """
        accepted: dict[bytes, Statement] = {}
        data = self.held
        pos = 0
        while len(data) - pos >= 5:
            kind = data[pos]
            stop = pos + 1 + int.from_bytes(data[pos + 1 : pos + 5], "big")
            if kind == SYNC and accepted:
                self.accept_unseen(accepted)
                self.to_client = _PARSE_COMPLETE * len(accepted) + _READY_IDLE
                self.held = data[stop:]
                return True
            named = data.find(b"\0", pos + 5)
            if kind != PARSE or stop > len(data) or named < 0:
                return False
            name = data[pos + 5 : named]
            statement = self.shared.statements.latest(data[named + 1 : stop])
            taken = name in accepted or name in (self.statements or {})
            if statement is None or not name or taken:
                return False
            accepted[name] = statement
            pos = stop
        return False

    def accept_unseen(self, accepted: dict[bytes, Statement]) -> None:
        """Take statements into the session that no server has prepared for it yet."""
        self.statements = {**(self.statements or {}), **accepted}
        self.unseen = (self.unseen or set()) | accepted.keys()

    def attach(self, server: ServerStream) -> None:
        assert isinstance(server, PostgresServerStream)
        self.server = server
        server.client = self
        if self.permanent:
            server.dirty = True
        if self.reported is not None and self.reported is not server.reported:
            self.announce = self.reported_elsewhere(server)

    def reported_elsewhere(self, server: PostgresServerStream) -> bytes:
        """Parameter statuses that this server reports and a replay will not change."""
        assert self.reported is not None
        carried = self.settings.values.keys() | server.settings.values.keys()
        if "role" in carried:
            carried |= {"is_superuser"}
        news = {
            name: value
            for name, value in server.reported.items()
            if self.reported.get(name) != value and name.lower() not in carried
        }
        if not news:
            return b""
        self.reported = self.shared.intern_reported({**self.reported, **news})
        return b"".join(parameter_status(name, value) for name, value in news.items())

    def detach(self) -> None:
        server = self.server
        if server is not None:
            server.client = None
            self.server = None
            if self.changes is not None or self.settling is not None:
                server.dirty = True
        self.waiting = False

    def pin_reason(self) -> str:
        if self.permanent:
            return self.permanent
        if self.pins:
            return REASONS[self.pins & -self.pins]
        return ""

    def in_message(self) -> bool:
        return self.remain > 0

    def say(self, error: ProxyError) -> bytes:
        return error_reply(error)

    def greeting(self) -> bytes:
        server = self.server
        assert server is not None
        self.reported = server.reported
        self.shared.learn_greeting(self.startup, server.reported)
        return self.greet(server.reported)

    def greet(self, reported: dict[str, str]) -> bytes:
        """Encode the end of the start-up phase (docs: "Start-up")."""
        self.reported = reported
        messages = [parameter_status(name, value) for name, value in reported.items()]
        messages += [self.key_data, _READY_IDLE]
        self.key_data = b""
        return b"".join(messages)

    def greeting_query(self) -> bytes:
        server = self.server
        assert server is not None
        return self.preamble(server) + server.probe()

    # What the client sends.

    def legal(self, kind: int, length: int) -> bool:
        """Check a message's code and length; sets ``error`` if the session cannot go on."""
        if length < 4 or length > 0x7FFFFFFF:
            self.error = ClientProtocolError(f"invalid message length {length}")
        elif kind not in _LEGAL:
            self.error = ClientProtocolError(f"invalid frontend message type {kind}")
        elif (kind == SYNC or kind == FLUSH or kind == COPY_DONE) and length != 4:
            self.error = ClientProtocolError("invalid message format")
        return self.error is None

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
        server.last_client = self

    def is_waiting(self) -> bool:
        # A method, because a type checker takes an attribute not to change between two looks.
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
        server.unsynced = False
        server.unnamed = None
        self.unnamed = None
        if stop > end:
            self.permanent = self.permanent or "statement_size"
            server.dirty = True
            server.pipeline.push(pl.QUERY_REPLY)
            return None
        sql = data[pos + 5 : stop - 1]
        effects = inspect(sql)
        if effects is None:
            server.pipeline.push(pl.QUERY_REPLY)
            return None
        prefix = self.note(effects, server)
        if effects.statement_names and self.statements:
            prefix += self.prepare_named(sql, effects, server)
            sql = rename_in_text(sql, effects.statement_names, self, server)
        server.pipeline.push(pl.QUERY_REPLY)
        return prefix + b"Q" + (len(sql) + 5).to_bytes(4, "big") + sql + b"\0"

    def parse(
        self, server: PostgresServerStream, data: bytes, pos: i64, stop: i64, end: i64
    ) -> bytes | None:
        named = data.find(b"\0", pos + 5)
        if named < 0 or named >= stop:
            self.error = ClientProtocolError("invalid string in message")
            return None
        name = data[pos + 5 : named]
        if stop > end:
            self.permanent = self.permanent or "statement_size"
            server.dirty = True
            server.unsynced = True
            if not name:
                self.unnamed = None
                server.unnamed = self
            server.pipeline.push(pl.PARSE_REPLY)
            return None
        definition = data[named + 1 : stop]
        text_end = definition.find(b"\0")
        if text_end < 0:
            self.error = ClientProtocolError("invalid string in message")
            return None
        effects = inspect(definition[:text_end])
        prefix = b""
        if effects is not None:
            prefix = self.guard_sequences(effects, server)
            if effects.statement_names and self.statements:
                sql = definition[:text_end]
                prefix += self.prepare_named(sql, effects, server)
                sql = rename_in_text(sql, effects.statement_names, self, server)
                definition = sql + definition[text_end:]
        server.unsynced = True
        statement = Statement(definition, effects)
        if name:
            return prefix + self.parse_named(server, name, statement)
        self.unnamed = statement
        server.unnamed = statement
        server.pipeline.push(pl.PARSE_REPLY)
        return None if effects is None else prefix + _parse_message(b"", definition)

    def parse_named(self, server: PostgresServerStream, name: bytes, statement: Statement) -> bytes:
        """Parse a named statement under a name of ours, and have it described for us."""
        if self.statements is None:
            self.statements = {}
        prefix = b""
        existing = self.statements.get(name)
        if existing is not None:
            known = server.name_of(existing)
            if known is None:
                prefix, known = self.prepare_here(server, existing)
            server.pipeline.push(pl.PARSE_REPLY)
            return prefix + _parse_message(known, statement.definition)
        server_name = server.new_name()
        if server.status == IN_FAILED_TRANSACTION and server.is_quiet():
            server.pipeline.push(pl.PARSE_REPLY)
            return _parse_message(server_name, statement.definition)
        preparation = Preparation(statement, name, server_name)
        if not server.pipeline.skipping:
            self.statements[name] = statement
            server.register(statement, server_name)
        server.pipeline.push(Reply(pl.PARSE, preparation))
        server.pipeline.push(Reply(pl.OWN_DESCRIBE, preparation))
        return _parse_message(server_name, statement.definition) + _describe_message(server_name)

    def prepare_here(
        self, server: PostgresServerStream, statement: Statement
    ) -> tuple[bytes, bytes]:
        """Prepare a known statement on this server connection; return messages and its name."""
        server_name = server.new_name()
        preparation = Preparation(statement, b"", server_name)
        if not server.pipeline.skipping:
            server.register(statement, server_name)
        server.pipeline.push(Reply(pl.OWN_PARSE, preparation))
        server.pipeline.push(Reply(pl.OWN_DESCRIBE, preparation))
        messages = _parse_message(server_name, statement.definition)
        return messages + _describe_message(server_name), server_name

    def prepare_named(self, sql: bytes, effects: Effects, server: PostgresServerStream) -> bytes:
        """Prepare here what a text names in SQL: DEALLOCATE or EXECUTE of our statements."""
        messages = b""
        for start, end in effects.statement_names:
            statement = (self.statements or {}).get(identifier(sql[start:end]))
            if statement is not None and server.name_of(statement) is None:
                messages += self.prepare_here(server, statement)[0]
        return messages

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
        statements = self.statements
        name = data[portal + 1 : named]
        statement = statements.get(name) if statements is not None else None
        if statement is None or server.pipeline.skipping:
            server.unsynced = True
            server.pipeline.push(pl.BIND_REPLY)
            return None
        prefix = b""
        if statement.effects is not None:
            prefix = self.note(statement.effects, server)
        server.unsynced = True
        server_name = self.name_on(server, statement, name)
        if self.waiting:
            self.consumed = pos
            return prefix + server_name
        server.pipeline.push(pl.BIND_REPLY)
        self.consumed = named + 1
        length = int(stop - pos - 1) + len(server_name) - (named - portal - 1)
        head = b"B" + length.to_bytes(4, "big") + data[pos + 5 : portal + 1]
        return prefix + head + server_name + b"\0"

    def name_on(
        self, server: PostgresServerStream, statement: Statement, client_name: bytes
    ) -> bytes:
        """Name of a statement on this connection.

        If it must be prepared first, ``waiting`` is set and the messages that do so are returned.
        """
        if self.stale is statement:
            self.stale = None
            if self.unseen is None or client_name not in self.unseen or self.statements is None:
                return STALE_NAME
            # The client has not been told what this statement returns: the new one is as good.
            statement = Statement(statement.definition, statement.effects)
            self.statements[client_name] = statement
        name = server.name_of(statement)
        if name is None:
            self.waiting = True
            return self.prepare_here(server, statement)[0] + _FLUSH
        return name

    def use_unnamed(self, server: PostgresServerStream) -> bytes:
        """Have the client's unnamed statement be the server's; note what executing it may do."""
        statement = self.unnamed
        if server.pipeline.skipping or server.unnamed is self:
            return b""
        if statement is None:
            if server.unnamed is None:
                return b""
            server.unnamed = None
            server.pipeline.push(pl.OWN_CLOSE_REPLY)
            return _CLOSE_UNNAMED
        prefix = b""
        if statement.effects is not None:
            prefix = self.note(statement.effects, server)
        if server.unnamed is not statement:
            server.unnamed = statement
            server.pipeline.push(pl.OWN_PARSE_REPLY)
            prefix += _parse_message(b"", statement.definition)
        return prefix

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
                self.unnamed = None
                server.unnamed = None
            elif self.statements is not None and not server.pipeline.skipping:
                self.statements.pop(name, None)
            server.pipeline.push(pl.CLOSE_REPLY)
            return None
        if not name:
            prefix = self.use_unnamed(server)
            server.pipeline.push(pl.DESCRIBE_REPLY)
            return prefix + data[pos:stop] if prefix else None
        statement = self.statements.get(name) if self.statements is not None else None
        if statement is None or server.pipeline.skipping:
            server.pipeline.push(pl.DESCRIBE_REPLY)
            return None
        server_name = self.name_on(server, statement, name)
        if self.unseen is not None:
            self.unseen.discard(name)
        if self.waiting:
            self.consumed = pos
            return server_name
        server.pipeline.push(pl.DESCRIBE_REPLY)
        return _describe_message(server_name)

    # What goes ahead of the client's own messages.

    def preamble(self, server: PostgresServerStream) -> bytes:
        """Replay of settings and closing of statements; ``b""`` nearly always."""
        if self.remain > 0:
            return b""
        message = server.close_obsolete() if server.obsolete else b""
        if (
            server.settings is not self.settings
            and self.changes is None
            and self.settling is None
            and server.is_idle()
        ):
            query = replay_query(server.settings, self.settings)
            server.settings = self.settings
            if query:
                message += server.ask(query, Question(pl.REPLAY))
        return message

    def note(self, effects: Effects, server: PostgresServerStream) -> bytes:
        """Remember what a statement may do; return what must go to the server ahead of it."""
        if self.changes is None:
            self.changes = Changes()
        self.changes.note(effects, self.pins, self.settings)
        if effects.may_begin & PREPARED_STATEMENT:
            self.execute_effects = effects
        if effects.executes:
            if self.execute_effects is not None:
                self.changes.note(self.execute_effects, self.pins, self.settings)
            for statement in (self.statements or {}).values():
                if statement.effects is not None:
                    self.changes.note(statement.effects, self.pins, self.settings)
        return self.guard_sequences(effects, server)

    def guard_sequences(self, effects: Effects, server: PostgresServerStream) -> bytes:
        """Make currval and lastval fail rather than answer with another session's number.

        They are right on the connection that the session itself used last.
        """
        if not effects.reads_sequences or server.last_client is self or not server.is_idle():
            return b""
        server.last_client = self
        return server.ask(_DISCARD_SEQUENCES, Question(pl.PROBE))

    # What the server's answers mean for the session.

    def note_tag(self, tag: bytes) -> None:
        """Note a CommandComplete tag while changes are being collected."""
        changes = self.changes
        if changes is None:
            return
        if tag == b"ROLLBACK":
            changes.rolled_back()
        elif tag == b"DISCARD ALL":
            self.execute_effects = None
            if self.permanent and not survives_discard(self.permanent):
                self.permanent = ""
                self.settings = self.startup
                if self.server is not None:
                    self.server.settings = self.shared.settings.none
            if not survives_discard(changes.permanent):
                changes.permanent = ""

    def settle(self) -> bytes:
        changes = self.changes
        server = self.server
        if changes is None or server is None:
            return b""
        self.changes = None
        if changes.permanent:
            self.permanent = self.permanent or changes.permanent
            server.dirty = True
            server.spoilt = server.spoilt or survives_discard(changes.permanent)
        if self.permanent:
            return b""
        query = changes.query()
        if not query:
            return b""
        self.settling = changes
        return server.ask(query, Question(pl.SETTLE))

    def question_answered(self, question: Question) -> None:
        """Take the answer to one of our questions."""
        if question.purpose == pl.SETTLE:
            self.settled(question)
        elif question.purpose == pl.REPLAY and question.error:
            self.error = _fatal(question.error)
            server = self.server
            if server is not None:
                server.settings = self.shared.settings.none
                server.dirty = True

    def settled(self, question: Question) -> None:
        changes = self.settling
        server = self.server
        self.settling = None
        if changes is None or server is None:
            return
        if question.error:
            self.permanent = self.permanent or "unreadable_setting"
            server.dirty = True
            return
        found = changes.found_settings(question.rows)
        table = self.shared.settings
        self.settings = session_settings(table, found, changes.reset, self.settings, self.startup)
        for name in changes.reset:
            found[name] = None
        server.settings = table.updated(server.settings, found)
        self.pins = (self.pins & ~changes.suspects) | changes.found_states(question.rows)
        if self.pins:
            server.dirty = True
        elif not self.permanent:
            server.dirty = False

    # Statements the server has dropped or found to be others.

    def forget_statements(self) -> None:
        """DISCARD ALL or DEALLOCATE ALL: the session has no prepared statements any more."""
        self.statements = None
        self.unnamed = None

    def forget_statement(self, name: bytes, statement: Statement) -> None:
        if self.statements is not None and self.statements.get(name) is statement:
            del self.statements[name]

    def replace_statement(self, name: bytes, old: Statement, new: Statement) -> None:
        if self.statements is not None and self.statements.get(name) is old:
            self.statements[name] = new
