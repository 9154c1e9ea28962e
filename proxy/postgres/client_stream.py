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
    COPY_DATA,
    COPY_FAIL,
    EXECUTE,
    FLUSH,
    FUNCTION_CALL,
    HOLD_LIMIT_BYTES,
    NAME_LIMIT_BYTES,
    PARSE,
    QUERY,
    SYNC,
)
from proxy.postgres.hidden import read_catalogue_payloads
from proxy.postgres.messages import parameter_status
from proxy.postgres.reply import error_reply
from proxy.postgres.resting_stream import READY_IDLE
from proxy.postgres.server_stream import PostgresServerStream
from proxy.postgres.translating_stream import TranslatingStream

if TYPE_CHECKING:
    from mypy_extensions import i64

    from proxy.postgres.pipeline import Question
    from proxy.postgres.pool_state import PoolState
    from proxy.postgres.settings import Settings
    from proxy.wire.stream import ServerStream


class PostgresClientStream(TranslatingStream):
    """Protocol state of one client session."""

    def __init__(self, shared: PoolState, startup: Settings, key_data: bytes) -> None:
        super().__init__(shared, startup)
        self.key_data = key_data
        """BackendKeyData, until it has been sent."""
        self.process_id = key_data[5:9]
        """What the client takes for the process id of its server."""
        self.server: PostgresServerStream | None = None
        self.announce = b""
        """Parameter statuses to send because another server reports other values."""

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
            self.statements.detach()
            self.session.leave_to_be_cleaned(server)
        self.to_server = b""  # An idle client keeps nothing of what it sent.
        self.waiting = False

    def pin_reason(self) -> str:
        return self.session.pin_reason()

    def moving(self) -> str | None:
        return None  # A session has its database for good.

    def moved(self) -> bool:
        return False

    def forgives(self, error: ProxyError) -> bool:
        return False

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
        self.announce = b""
        if self.held:
            data = self.held + data if data else self.held
            self.held = b""
        if self.is_waiting():
            self.held = data
            self.to_server = b""
            return
        parts: list[bytes] | None = None
        if self.remain == 0 and (prefix := self.preamble(server)):
            parts = [prefix]
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
                server.executed = False
                server.pipeline.push(pl.SYNC_REPLY)
                pos = stop
                continue
            if not self.legal(kind, length):
                break
            if kind == EXECUTE:
                server.unsynced = True
                server.executed = True
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
                    parts = parts or []
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
        if parts is None:
            self.to_server = data if pos == end else data[:pos]
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
        if kind == COPY_FAIL:
            return True
        if kind == FUNCTION_CALL:
            return end - pos >= 9
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

    # What goes ahead of the client's own messages.

    def preamble(self, server: PostgresServerStream) -> bytes:
        """Replay of settings and closing of statements; ``b""`` nearly always."""
        message = b""
        # Not while anything runs: Close in the middle of COPY IN would break it.
        closing = bool(server.statements.obsolete) and server.is_quiet()
        if server.settings is not self.session.settings:
            message = self.session.replay(server)
        if closing:
            message += server.statements.close_obsolete(server.pipeline)
        return message

    def settle(self) -> bytes:
        server = self.server
        return b"" if server is None else self.session.settle(server)

    def notified(self, message: bytes, server_process_id: bytes) -> bytes:
        """What to make of a NotificationResponse; ``b""`` for nothing.

        One that the session sent itself has the process id that it was greeted with.
        """
        if message[5:9] != server_process_id:
            return b""
        return message[:5] + self.process_id + message[9:]

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
