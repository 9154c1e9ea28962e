"""How each message of a client is changed for the server connection it goes to.

Names of prepared statements become the server's; what a statement may do to the session is noted;
what must go ahead of a message is put there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.errors import ClientProtocolError
from proxy.postgres import pipeline as pl
from proxy.postgres.client_statements import FLUSH_MESSAGE
from proxy.postgres.constants import (
    BIND,
    CLOSE,
    COPY_DONE,
    COPY_FAIL,
    DESCRIBE,
    FUNCTION_CALL,
    PARSE,
    QUERY,
    TERMINATE,
)
from proxy.postgres.effects import FIRST_USER_OBJECT_ID, function_effects
from proxy.postgres.inspection import inspect
from proxy.postgres.prepared import (
    Statement,
    close_message,
    describe_message,
    parse_message,
    unguessed,
)
from proxy.postgres.recovery import SYNC_MESSAGE
from proxy.postgres.rename import rename_in_text
from proxy.postgres.resting_stream import RestingStream
from proxy.postgres.suspicion import is_plain
from proxy.wire.dialect import VacateDatabases

if TYPE_CHECKING:
    from mypy_extensions import i64

    from proxy.postgres.effects import Effects
    from proxy.postgres.pool_state import PoolState
    from proxy.postgres.server_stream import PostgresServerStream
    from proxy.postgres.settings import Settings


def _zero_at(data: bytes, start: i64) -> i64:
    """Where a string ends that begins here; -1 if it does not. Names are short: mostly no call."""
    near: i64 = min(start + 64, len(data))
    position: i64 = start
    while position < near:
        if data[position] == 0:
            return position
        position += 1
    return data.find(b"\0", start)


class TranslatingStream(RestingStream):
    """The part of a client's protocol state that deals with single messages."""

    def __init__(self, shared: PoolState, startup: Settings) -> None:
        super().__init__(shared, startup)
        self.consumed: i64 = 0
        """How far into the chunk the last replacement reaches."""
        self.unsure = False
        """``waiting`` is for an answer to a message of the client's, not to one of ours."""

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
            return self.function_call(server, data, pos)
        if kind == PARSE:
            return self.parse(server, data, pos, stop, end)
        if kind == BIND:
            return self.bind(server, data, pos, stop, end)
        server.unsynced = True
        return self.describe_or_close(kind, server, data, pos, stop)

    def query(
        self, server: PostgresServerStream, data: bytes, pos: i64, stop: i64, end: i64
    ) -> bytes | None:
        synced = not server.unsynced
        if not synced:
            # PostgreSQL then fails the next Bind, whosever it is: "unexpected state STARTED".
            server.spoilt = True
        server.unsynced = False
        if stop > end:
            self.pass_unread(server)
            self.push_query(server, synced)
            return None
        effects = self.effects_of(data, pos + 5, stop - 1)
        if effects is None:
            self.push_query(server, synced)
            return None
        sql = data[pos + 5 : stop - 1]
        prefix = self.note(effects, server)
        if effects.statement_names:
            ours = self.statements.prepare_for_sql(sql, effects, server) if synced else b""
            if ours:
                server.pipeline.push(pl.OWN_SYNC_REPLY)
                prefix += ours + SYNC_MESSAGE
            sql = rename_in_text(sql, effects.statement_names, self.statements, server)
            self.statements.deallocate(effects.deallocated, server)
        self.push_query(server, synced)
        message = prefix + b"Q" + (len(sql) + 5).to_bytes(4, "big") + sql + b"\0"
        return message + self.session.start_again(effects, server)

    def push_query(self, server: PostgresServerStream, synced: bool) -> None:
        """Note a simple query, which drops the unnamed statement."""
        if synced and not server.pipeline.skipping:
            server.unnamed = None
            self.statements.unnamed = None
            server.pipeline.push(pl.QUERY_REPLY)
        else:  # It may be discarded with the batch that no Sync has ended.
            self.statements.change_unnamed(server, pl.QUERY, None)

    def function_call(self, server: PostgresServerStream, data: bytes, pos: i64) -> bytes | None:
        object_id = int.from_bytes(data[pos + 5 : pos + 9], "big")
        effects = function_effects(object_id)
        hidden = self.shared.hidden
        if effects is not None and hidden is not None and object_id >= FIRST_USER_OBJECT_ID:
            effects.add(hidden.everything)
        prefix = b"" if effects is None else self.note(effects, server)
        server.pipeline.push(pl.FUNCTION_CALL_REPLY)
        return prefix + data[pos : self.consumed] if prefix else None

    def effects_of(self, data: bytes, start: i64, end: i64) -> Effects | None:
        """What the text here may leave behind, by itself or in functions that it calls."""
        hidden = self.shared.hidden
        plain = is_plain(data, start, end)
        if plain and hidden is None:
            return None
        sql = data[start:end]
        effects = None if plain else inspect(sql)
        return effects if hidden is None else hidden.added_to(sql, effects)

    def pass_unread(self, server: PostgresServerStream) -> None:
        """A statement too long to be read may leave anything behind."""
        self.session.permanent = self.session.permanent or "statement_size"
        server.dirty = True

    def parse(
        self, server: PostgresServerStream, data: bytes, pos: i64, stop: i64, end: i64
    ) -> bytes | None:
        named = _zero_at(data, pos + 5)
        if named < 0 or named >= stop:
            self.error = ClientProtocolError("invalid string in message")
            return None
        name = data[pos + 5 : named]
        if stop > end:
            self.parse_unread(server, name)
            return None
        if self.statements.is_unsure_of(name, server):
            return self.wait_for_answers(pos)
        definition = data[named + 1 : stop]
        if not name and self.shared.hidden is None:
            again = self.statements.harmless_unnamed(definition, self.session)
            if again is not None:
                server.unsynced = True
                self.statements.change_unnamed(server, pl.PARSE, again)
                return None
        text_end = definition.find(b"\0")
        if text_end < 0:
            self.error = ClientProtocolError("invalid string in message")
            return None
        effects = self.effects_of(definition, 0, text_end)
        prefix = b""
        if effects is not None:
            prefix = self.session.guard_sequences(effects, server)
            if effects.statement_names:
                sql = definition[:text_end]
                prefix += self.statements.prepare_for_sql(sql, effects, server)
                sql = rename_in_text(sql, effects.statement_names, self.statements, server)
                definition = sql + definition[text_end:]
        server.unsynced = True
        statement = Statement(definition, effects, self.session.parse_context())
        if name:
            if self.session.may_have_prepared() and name not in self.statements.named:
                prefix += self.statements.try_name(server, name, definition)
            return prefix + self.statements.parse(server, name, statement)
        self.statements.change_unnamed(server, pl.PARSE, statement)
        return None if effects is None else prefix + parse_message(b"", definition)

    def parse_unread(self, server: PostgresServerStream, name: bytes) -> None:
        self.pass_unread(server)
        server.unsynced = True
        if name:
            server.pipeline.push(pl.PARSE_REPLY)
        else:
            self.statements.change_unnamed(server, pl.PARSE, None)
            server.unnamed = self.statements

    def bind(
        self, server: PostgresServerStream, data: bytes, pos: i64, stop: i64, end: i64
    ) -> bytes | None:
        portal = _zero_at(data, pos + 5)
        named = _zero_at(data, portal + 1) if portal >= 0 else -1
        if named < 0 or named >= stop:
            self.error = ClientProtocolError("invalid string in message")
            return None
        if named == portal + 1:
            if server.pipeline.unnamed_is_unsure():
                return self.wait_for_answers(pos)
            prefix = self.use_unnamed(server)
            server.unsynced = True
            server.pipeline.push(pl.BIND_REPLY)
            if prefix:
                self.consumed = named + 1
                return prefix + data[pos : named + 1]
            return None
        name = data[portal + 1 : named]
        statement = self.statements.named.get(name)
        if statement is None and self.statements.is_closing(name, server):
            return self.wait_for_answers(pos)
        if statement is None or server.pipeline.skipping:
            server.unsynced = True
            server.pipeline.push(pl.BIND_REPLY)
            return self.bind_to(unguessed(name), data, pos, stop, portal, named)
        prefix = b""
        if statement.effects is not None:
            prefix = self.note(statement.effects, server)
        server.unsynced = True
        server_name = self.statements.name_on(server, statement, name)
        if server_name is None:
            self.waiting = True
            self.unsure = False
            self.consumed = pos
            return prefix + self.statements.prepare(server, name)
        server.pipeline.push(pl.BIND_REPLY)
        return prefix + self.bind_to(server_name, data, pos, stop, portal, named)

    def wait_for_answers(self, pos: i64) -> bytes:
        """Hold a message until the server has answered those before it."""
        self.waiting = True
        self.unsure = True
        self.consumed = pos
        return FLUSH_MESSAGE

    def bind_to(
        self, name: bytes, data: bytes, pos: i64, stop: i64, portal: i64, named: i64
    ) -> bytes:
        """The beginning of a Bind, with another statement name."""
        self.consumed = named + 1
        length = int(stop - pos - 1) + len(name) - int(named - portal - 1)
        head = b"B" + length.to_bytes(4, "big") + data[pos + 5 : portal + 1]
        return head + name + b"\0"

    def use_unnamed(self, server: PostgresServerStream) -> bytes:
        """Have the client's unnamed statement be the server's; note what executing it may do."""
        statement = self.statements.unnamed
        prefix = b""
        if statement is not None and statement.effects is not None:
            prefix = self.note(statement.effects, server)
            self.statements.deallocate(statement.effects.deallocated, server)
        return prefix + self.statements.use_unnamed(server)

    def describe_or_close(
        self, kind: int, server: PostgresServerStream, data: bytes, pos: i64, stop: i64
    ) -> bytes | None:
        named = _zero_at(data, pos + 6)
        if named != stop - 1:
            self.error = ClientProtocolError("invalid string in message")
            return None
        name = data[pos + 6 : named]
        if data[pos + 5] != 0x53:
            server.pipeline.push(pl.DESCRIBE_REPLY if kind == DESCRIBE else pl.CLOSE_REPLY)
            return None
        if kind == CLOSE:
            if server.pipeline.skipping:
                return None
            if not name:
                self.statements.change_unnamed(server, pl.CLOSE, None)
            else:
                server.pipeline.push(self.statements.close(name))
            other = unguessed(name)
            return None if other == name else close_message(other)
        if not name:
            if server.pipeline.unnamed_is_unsure():
                return self.wait_for_answers(pos)
            prefix = self.use_unnamed(server)
            server.pipeline.push(pl.DESCRIBE_REPLY)
            return prefix + data[pos:stop] if prefix else None
        statement = self.statements.named.get(name)
        if statement is None and self.statements.is_closing(name, server):
            return self.wait_for_answers(pos)
        if statement is None or server.pipeline.skipping:
            server.pipeline.push(pl.DESCRIBE_REPLY)
            other = unguessed(name)
            return None if other == name else describe_message(other)
        server_name = self.statements.name_on(server, statement, name)
        if self.statements.unseen:
            self.statements.unseen -= {name}
        if server_name is None:
            self.waiting = True
            self.unsure = False
            self.consumed = pos
            return self.statements.prepare(server, name)
        server.pipeline.push(pl.DESCRIBE_REPLY)
        return describe_message(server_name)

    def note(self, effects: Effects, server: PostgresServerStream) -> bytes:
        """Remember what a statement may do; return what must go to the server ahead of it."""
        prefix = self.session.note(effects, server)
        if effects.executes and self.session.changes is not None:
            for statement in self.statements.named.values():
                if statement.effects is not None:
                    prefix += self.session.note(statement.effects, server)
        if effects.databases:
            names = [name.decode("utf-8", "surrogateescape") for name in effects.databases]
            self.errand = VacateDatabases(tuple(names))
        return prefix
