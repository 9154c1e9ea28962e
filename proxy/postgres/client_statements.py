"""The prepared statements of one client session, under the names the client gave them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.postgres import pipeline as pl
from proxy.postgres.constants import IN_FAILED_TRANSACTION
from proxy.postgres.pipeline import Reply, UnnamedReply
from proxy.postgres.prepared import (
    STALE_NAME,
    UNKNOWN,
    Preparation,
    Statement,
    close_message,
    describe_message,
    parameter_part,
    parse_message,
    unguessed,
)
from proxy.postgres.tokens import identifier

if TYPE_CHECKING:
    from proxy.postgres.effects import Effects
    from proxy.postgres.server_stream import PostgresServerStream
    from proxy.postgres.session import Session

FLUSH_MESSAGE: Final = b"H\x00\x00\x00\x04"
_NONE: Final[frozenset[bytes]] = frozenset()
_CLOSE_UNNAMED: Final = b"C\x00\x00\x00\x06S\x00"


class ClientStatements:
    """Named statements, the unnamed one, and how they come to be on a server connection."""

    def __init__(self) -> None:
        self.named: dict[bytes, Statement] = {}
        self.unnamed: Statement | None = None
        self.unseen: frozenset[bytes] = _NONE
        """Names of statements that were accepted without a server (``answer_alone``)."""
        self.stale: Statement | None = None
        """Statement that turned out to return something else than what the client was told."""
        self.lost: dict[bytes, bytes] | None = None
        """Client's names by those of statements on this server connection that are no more."""
        self.stale_parameters = b""
        """Its ParameterDescription, which a server sends ahead of the error for Describe."""

    def detach(self) -> None:
        """The session leaves the server connection."""
        self.lost = None

    def lose(self, statement: Statement, server: PostgresServerStream) -> None:
        """A statement gets another name on the server; errors may still tell the old one."""
        server_name = server.statements.names[statement]
        for reply in server.pipeline.pending():
            made = reply.preparation
            if made is not None and made.statement is statement:
                self._note_lost(server_name, made.client_name)
        for name, known in self.named.items():
            if known is statement:
                self._note_lost(server_name, name)

    def _note_lost(self, server_name: bytes, name: bytes) -> None:
        if self.lost is None:
            self.lost = {}
        self.lost[server_name] = name

    def forget_all(self, server: PostgresServerStream) -> None:
        """DISCARD ALL or DEALLOCATE ALL: there are none any more, except the unnamed one.

        Errors in answer to what was sent before that was known may still tell their names.
        """
        for name, statement in self.named.items():
            server_name = server.statements.names.get(statement)
            if server_name is not None:
                self._note_lost(server_name, name)
        self.named.clear()
        self.unseen = _NONE

    def forget(self, preparation: Preparation) -> None:
        """The server has refused to prepare a statement."""
        self._note_lost(preparation.server_name, preparation.client_name)
        if self.named.get(preparation.client_name) is preparation.statement:
            del self.named[preparation.client_name]

    def harmless_unnamed(self, definition: bytes, session: Session) -> Statement | None:
        """The unnamed statement, if the same is parsed again and it leaves nothing behind.

        Drivers that do not name statements parse the same text for every execution.
        """
        statement = self.unnamed
        if (
            statement is not None
            and statement.effects is None
            and statement.definition == definition
            and statement.context is session.parse_context()
        ):
            return statement
        return None

    def change_unnamed(
        self, server: PostgresServerStream, kind: int, statement: Statement | None
    ) -> None:
        """Note a message that makes this the unnamed statement: Parse, Close or a simple query."""
        if server.pipeline.skipping:
            return
        server.pipeline.push(UnnamedReply(kind, self.unnamed))
        self.unnamed = statement
        server.unnamed = statement

    def restore_unnamed(self, server: PostgresServerStream, dropped: list[Reply]) -> None:
        """The server has failed at the first of these messages and discarded the others."""
        first: UnnamedReply | None = None
        for reply in dropped:
            if isinstance(reply, UnnamedReply):
                first = reply
                break
        changed = None
        for reply in server.pipeline.pending():
            if isinstance(reply, UnnamedReply):
                changed = reply
                break
            if reply.kind == pl.QUERY:
                return
        if changed is None:
            server.unnamed = UNKNOWN
        if first is None:
            return
        # A Parse that fails has dropped the statement before it, one that is discarded has not.
        before = None if first is dropped[0] else first.before
        if changed is None:
            self.unnamed = before
        else:
            changed.before = before

    def deallocate(self, names: list[bytes], server: PostgresServerStream) -> None:
        """SQL DEALLOCATE goes to the server, under its name for the statement.

        That may be other sessions' statement, too: they get it prepared again. It is closed as
        well, in case that DEALLOCATE fails.
        """
        if server.status == IN_FAILED_TRANSACTION or server.pipeline.skipping:
            return
        for name in names:
            statement = self.named.pop(name, None)
            server_name = server.statements.names.get(statement) if statement else None
            if statement is not None and server_name is not None:
                self._note_lost(server_name, name)
                server.statements.drop(statement)

    def close(self, name: bytes) -> Reply:
        """Close a statement; it comes back if the server discards the message."""
        statement = self.named.pop(name, None)
        if statement is None:
            return pl.CLOSE_REPLY
        return Reply(pl.CLOSE, Preparation(statement, name, b""))

    def is_closing(self, name: bytes, server: PostgresServerStream) -> bool:
        """Whether a Close of a name not known is on its way, which the server may yet discard."""
        if server.pipeline.skipping:
            return False
        for reply in server.pipeline.pending():
            made = reply.preparation
            if reply.kind == pl.CLOSE and made is not None and made.client_name == name:
                return True
        return False

    def is_unsure_of(self, name: bytes, server: PostgresServerStream) -> bool:
        """Whether the server may yet refuse a Parse under this name that is on its way."""
        if name not in self.named or server.pipeline.skipping:
            return False
        for reply in server.pipeline.pending():
            made = reply.preparation
            if reply.kind == pl.OWN_DESCRIBE and made is not None and made.client_name == name:
                return True
        return False

    def restore(self, name: bytes, statement: Statement, server: PostgresServerStream) -> None:
        """The server has discarded a Close, of a statement that it may never have prepared."""
        if statement.description is not None or statement in server.statements.names:
            self.named.setdefault(name, statement)

    def replace(self, name: bytes, old: Statement, new: Statement) -> None:
        """A statement turned out to be one that is known already."""
        if self.named.get(name) is old:
            self.named[name] = new

    def parse(self, server: PostgresServerStream, name: bytes, statement: Statement) -> bytes:
        """Parse a named statement under a name of ours, and have it described for us."""
        prefix = b""
        existing = self.named.get(name)
        if existing is not None:
            known = server.statements.name_of(existing)
            if known is None:
                prefix, known = self._prepare(server, existing)
            server.pipeline.push(pl.PARSE_REPLY)
            return prefix + parse_message(known, statement.definition)
        server_name = server.statements.new_name()
        preparation = Preparation(statement, name, server_name)
        if not server.pipeline.skipping:
            self.named[name] = statement
            server.statements.register(statement, server_name)
        server.pipeline.push(Reply(pl.PARSE, preparation))
        message = parse_message(server_name, statement.definition)
        if server.status == IN_FAILED_TRANSACTION and server.pipeline.owed == 0:
            # Only ROLLBACK and its like can be parsed now, and they return nothing.
            return message
        server.pipeline.push(Reply(pl.OWN_DESCRIBE, preparation))
        return message + describe_message(server_name)

    def try_name(self, server: PostgresServerStream, name: bytes, definition: bytes) -> bytes:
        """Have the server say whether a name is taken by a statement that SQL PREPARE made.

        If it is, or the text is wrong, the client gets the error of this Parse.
        """
        server.pipeline.push(pl.OWN_PARSE_REPLY)
        server.pipeline.push(pl.OWN_CLOSE_REPLY)
        name = unguessed(name)
        return parse_message(name, definition) + close_message(name)

    def name_on(
        self, server: PostgresServerStream, statement: Statement, client_name: bytes
    ) -> bytes | None:
        """Name of a statement on this connection; ``None`` if it must be prepared there first."""
        if self.stale is statement:
            self.stale = None
            if client_name not in self.unseen:
                self.stale_parameters = parameter_part(statement.description or b"\0\0")
                return STALE_NAME
            # The client has not been told what this statement returns: the new one is as good.
            statement = Statement(statement.definition, statement.effects, statement.context)
            self.named[client_name] = statement
        return server.statements.name_of(statement)

    def prepare(self, server: PostgresServerStream, client_name: bytes) -> bytes:
        """Messages that prepare a statement on this connection and get the server to answer."""
        return self._prepare(server, self.named[client_name])[0] + FLUSH_MESSAGE

    def _prepare(self, server: PostgresServerStream, statement: Statement) -> tuple[bytes, bytes]:
        """Prepare a known statement on this server connection; return messages and its name."""
        server_name = server.statements.new_name()
        preparation = Preparation(statement, b"", server_name)
        if not server.pipeline.skipping:
            server.statements.register(statement, server_name)
        server.pipeline.push(Reply(pl.OWN_PARSE, preparation))
        server.pipeline.push(Reply(pl.OWN_DESCRIBE, preparation))
        messages = parse_message(server_name, statement.definition)
        return messages + describe_message(server_name), server_name

    def prepare_for_sql(self, sql: bytes, effects: Effects, server: PostgresServerStream) -> bytes:
        """Prepare here what a text names in SQL: DEALLOCATE or EXECUTE of our statements."""
        messages = b""
        for start, end in effects.statement_names:
            statement = self.named.get(identifier(sql[start:end]))
            if statement is not None and server.statements.name_of(statement) is None:
                messages += self._prepare(server, statement)[0]
        return messages

    def use_unnamed(self, server: PostgresServerStream) -> bytes:
        """Have the client's unnamed statement be the server's, never another client's."""
        if server.pipeline.skipping or server.unnamed is self:
            return b""
        statement = self.unnamed
        if statement is None:
            if server.unnamed is None:
                return b""
            server.unnamed = None
            server.pipeline.push(pl.OWN_CLOSE_REPLY)
            return _CLOSE_UNNAMED
        if server.unnamed is statement:
            return b""
        server.unnamed = statement
        server.pipeline.push(pl.OWN_PARSE_REPLY)
        return parse_message(b"", statement.definition)
