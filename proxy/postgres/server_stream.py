"""What one PostgreSQL server sends, sorted into what is for the client and what is ours.

The scan walks message headers. A run of messages that go to the client unchanged is passed on as
one slice of the chunk it arrived in, usually as the chunk itself. Payload that needs no decision is
never held: ``remain`` counts what is still to come of a message that is already under way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.postgres import constants as code
from proxy.postgres import pipeline as pl
from proxy.postgres import preparations, recovery
from proxy.postgres.pipeline import Pipeline, Question, Reply
from proxy.postgres.prepared import SERVER_NAME_PREFIX, result_shape
from proxy.postgres.rename import rename_in_error
from proxy.postgres.server_statements import ServerStatements
from proxy.wire.stream import ServerStream

if TYPE_CHECKING:
    from mypy_extensions import i64

    from proxy.postgres.client_stream import PostgresClientStream
    from proxy.postgres.pool_state import PoolState
    from proxy.postgres.settings import Settings

PASS: Final = 0
SWALLOW: Final = 1

_TERMINATE: Final = b"X\x00\x00\x00\x04"


class PostgresServerStream(ServerStream):
    """Protocol state of one server connection."""

    def __init__(self, shared: PoolState, reported: dict[str, str], settings: Settings) -> None:
        super().__init__()
        self.shared = shared
        self.reported = reported
        """Parameter statuses as the server last reported them (never changed in place)."""
        self.settings = settings
        """Settings that differ from what the connection started with."""
        self.process_id = b""
        """Of the server's process, as in messages."""
        self.pipeline = Pipeline()
        self.client: PostgresClientStream | None = None
        self.status: int = code.IDLE
        self.unsynced = False
        """Extended-protocol messages were sent since the last Sync."""
        self.executed = False
        """An Execute was among them: a Sync would commit what it did."""
        self.partial = b""
        self.remain: i64 = 0
        self.remain_verdict: int = PASS
        self.statements = ServerStatements(shared.max_prepared_statements)
        self.unnamed: object = None
        """What the unnamed statement was last parsed from."""
        self.last_session: object = None
        """Session that used the connection last."""
        self.dirty = False
        """Holds state that only DISCARD ALL removes."""
        self.substitute = b""
        self.spoilt = False
        """Holds state that nothing removes, or is out of step: not for reuse."""

    # What the link asks.

    def is_idle(self) -> bool:
        return self.status == code.IDLE and self.is_quiet()

    def is_quiet(self) -> bool:
        return (
            self.pipeline.is_empty()
            and not self.unsynced
            and not self.pipeline.skipping
            and self.remain == 0
            and len(self.partial) == 0
        )

    def is_forwarding(self) -> bool:
        return self.remain > 0 and self.remain_verdict == PASS

    def awaits_client(self) -> bool:
        pipeline = self.pipeline
        return pipeline.copying or (
            pipeline.is_empty() and (self.status != code.IDLE or self.unsynced or pipeline.skipping)
        )

    def has_backlog(self) -> bool:
        return self.pipeline.owed > 1 and self.pipeline.has_backlog()

    def in_transaction(self) -> bool:
        return self.status != code.IDLE

    def needs_cleaning(self) -> bool:
        return self.dirty

    def goodbye(self) -> bytes:
        return _TERMINATE

    def reusable(self) -> bool:
        return not self.spoilt and not self.pipeline.uncertain and not self.error

    # What the server sends.

    def receive(self, data: bytes) -> None:
        if self.partial:
            data = self.partial + data
            self.partial = b""
        end: i64 = len(data)
        pos: i64 = 0
        start: i64 = 0
        parts: list[bytes] | None = None
        if self.remain > 0:
            pos = self.remain if self.remain < end else end
            self.remain -= pos
            if self.remain_verdict == SWALLOW:
                start = pos
        while end - pos >= 5:
            kind = data[pos]
            length: i64 = (
                (data[pos + 1] << 24) | (data[pos + 2] << 16) | (data[pos + 3] << 8) | data[pos + 4]
            )
            if length < 4 or length > 0x7FFFFFFF:
                self.error = "message length out of range"
                break
            stop: i64 = pos + 1 + length
            owed = self.pipeline.kind()
            if (kind == code.DATA_ROW or kind == code.COPY_DATA) and pl.NOTHING < owed < pl.OWN:
                if stop > end:
                    self.remain = stop - end
                    self.remain_verdict = PASS
                    pos = end
                    break
                pos = stop
                continue
            if stop > end and length <= code.HOLD_LIMIT_BYTES:
                break
            payload_end: i64 = stop if stop < end else end
            verdict = self.handle(kind, owed, data, pos, payload_end)
            if self.error:
                break
            if verdict == SWALLOW:
                if parts is None:
                    parts = []
                if start < pos:
                    parts.append(data[start:pos])
                if self.substitute:
                    parts.append(self.substitute)
                    self.substitute = b""
                start = payload_end
            if stop > end:
                self.remain = stop - end
                self.remain_verdict = verdict
                pos = end
                break
            pos = stop
        if pos < end and not self.error:
            self.partial = data[pos:]
        if parts is None:
            if start == 0 and pos == end:
                self.to_client = data
            else:
                self.to_client = data[start:pos]
        else:
            if start < pos:
                parts.append(data[start:pos])
            self.to_client = b"".join(parts)

    def handle(self, kind: int, owed: int, data: bytes, pos: i64, end: i64) -> int:
        """Deal with one message; say whether it goes to the client.

        ``substitute`` is sent instead of a swallowed one, if set.
        """
        if owed == pl.NOTHING:
            return self.unasked(kind, data, pos, end)
        if kind == code.READY_FOR_QUERY:
            return self.ready_for_query(owed, data, pos, end)
        if kind == code.BIND_COMPLETE:
            return self.answered(owed, pl.BIND)
        if kind == code.COMMAND_COMPLETE:
            return self.command_complete(owed, data, pos, end)
        if kind == code.ROW_DESCRIPTION or kind == code.NO_DATA:
            return self.described(owed, kind, data, pos, end)
        if kind == code.PARSE_COMPLETE:
            if owed == pl.OWN_PARSE:
                self.pipeline.pop()
                return SWALLOW
            return self.answered(owed, pl.PARSE)
        if kind == code.CLOSE_COMPLETE:
            if owed == pl.OWN_CLOSE:
                self.pipeline.pop()
                return SWALLOW
            return self.answered(owed, pl.CLOSE)
        if kind == code.EMPTY_QUERY_RESPONSE or kind == code.PORTAL_SUSPENDED:
            if owed == pl.EXECUTE:
                self.pipeline.pop()
            return PASS if owed < pl.OWN else SWALLOW
        return self.rare(kind, owed, data, pos, end)

    def answered(self, owed: int, expected: int) -> int:
        if owed != expected:
            self.error = "reply to a message that was not sent"
            return SWALLOW
        self.pipeline.pop()
        if expected != pl.BIND:
            self.reassure()
        return PASS

    def reassure(self) -> None:
        """A message of the client's is answered for which it may be waiting."""
        client = self.client
        if client is not None and client.waiting and client.unsure:
            self.resume = True

    def ready_for_query(self, owed: int, data: bytes, pos: i64, end: i64) -> int:
        if end - pos != 6:
            self.error = "malformed ReadyForQuery"
            return SWALLOW
        self.status = data[pos + 5]
        if owed == pl.QUERY or owed == pl.SYNC or owed == pl.FUNCTION_CALL:
            self.pipeline.pop()
            self.completed += 1
            if owed == pl.QUERY:
                self.reassure()
            return PASS
        if owed == pl.OWN_QUERY:
            question = self.pipeline.pop().question
            if question is not None:
                self.question_answered(question)
            return SWALLOW
        if owed == pl.OWN_SYNC:
            self.pipeline.pop()
            return SWALLOW
        self.error = "ReadyForQuery that nothing asked for"
        return SWALLOW

    def unasked(self, kind: int, data: bytes, pos: i64, end: i64) -> int:
        """A message while no reply is owed: only asynchronous ones are allowed."""
        if kind == code.PARAMETER_STATUS or kind == code.ERROR_RESPONSE:
            return self.rare(kind, pl.NOTHING, data, pos, end)
        if kind == code.NOTIFICATION_RESPONSE:
            return self.notification(data, pos, end)
        if kind == code.NOTICE_RESPONSE:
            return PASS
        if kind == code.READY_FOR_QUERY and self.pipeline.uncertain and end - pos == 6:
            self.status = data[pos + 5]
            return PASS
        self.error = "reply to a message that was not sent"
        return SWALLOW

    def command_complete(self, owed: int, data: bytes, pos: i64, end: i64) -> int:
        if owed == pl.EXECUTE:
            self.pipeline.pop()
        if self.pipeline.uncertain:
            self.pipeline.copied()
        if end - pos < 8:
            self.error = "malformed CommandComplete"
            return SWALLOW
        if data[pos + 5] == 0x44 and (data[pos + 6] == 0x49 or data[pos + 7] == 0x41):
            preparations.note_discard(self, data[pos + 5 : end - 1])
        client = self.client
        if owed < pl.OWN and client is not None and client.session.changes is not None:
            client.session.note_tag(data[pos + 5 : end - 1], self)
        return PASS if owed < pl.OWN else SWALLOW

    def described(self, owed: int, kind: int, data: bytes, pos: i64, end: i64) -> int:
        if owed == pl.OWN_DESCRIBE:
            preparation = self.pipeline.pop().preparation
            if preparation is not None:
                row = b"" if kind == code.NO_DATA else result_shape(data[pos + 5 : end])
                preparations.described(self, preparation, preparation.parameters + row)
            return SWALLOW
        if owed == pl.DESCRIBE:
            self.pipeline.pop()
            return PASS
        return PASS if owed < pl.OWN else SWALLOW

    def rare(self, kind: int, owed: int, data: bytes, pos: i64, end: i64) -> int:
        """Messages that do not occur in an ordinary query."""
        if kind == code.ERROR_RESPONSE:
            return self.error_response(owed, data, pos, end)
        if kind == code.PARAMETER_STATUS:
            return self.parameter_status(owed, data[pos + 5 : end])
        if kind == code.PARAMETER_DESCRIPTION:
            if owed == pl.OWN_DESCRIBE:
                preparation = self.pipeline.replies[self.pipeline.head].preparation
                if preparation is not None:
                    preparation.parameters = data[pos + 5 : end]
                return SWALLOW
            return PASS if owed < pl.OWN else SWALLOW
        if kind == code.COPY_IN_RESPONSE:
            synced = self.pipeline.copy_in()
            if owed == pl.EXECUTE:
                self.unsynced = not synced
                self.executed = not synced
            return PASS if owed < pl.OWN else SWALLOW
        if kind == code.DATA_ROW and owed == pl.OWN_QUERY:
            question = self.pipeline.replies[self.pipeline.head].question
            if question is not None and not _is_whole(data, pos, end):
                question.error = b"too long"
            elif question is not None:
                question.rows.append(data[pos + 5 : end])
            return SWALLOW
        if kind == code.NOTIFICATION_RESPONSE:
            return self.notification(data, pos, end)
        if (
            kind == code.NOTICE_RESPONSE
            or kind == code.COPY_OUT_RESPONSE
            or kind == code.COPY_DATA
            or kind == code.COPY_DONE
            or kind == code.FUNCTION_CALL_RESPONSE
        ):
            return PASS if owed < pl.OWN else SWALLOW
        self.error = "message that the protocol does not allow here"
        return SWALLOW

    def error_response(self, owed: int, data: bytes, pos: i64, end: i64) -> int:
        payload = data[pos + 5 : end]
        # The field V is never translated (docs: "Error and Notice Message Fields").
        if b"\0VFATAL\0" in payload[:64] or b"\0VPANIC\0" in payload[:64]:
            self.farewell = True
        if owed == pl.OWN_QUERY:
            question = self.pipeline.replies[self.pipeline.head].question
            if question is not None:
                question.error = payload
            return PASS if self.farewell else SWALLOW
        if owed == pl.OWN_ABORT:
            self.pipeline.fail()
            return PASS if self.farewell else SWALLOW
        whole = _is_whole(data, pos, end)
        if self.client is not None and SERVER_NAME_PREFIX in payload and whole:
            self.substitute = rename_in_error(data[pos:end], self.client, self)
        preparations.abandon(self, self.pipeline.fail())
        if (
            owed == pl.OWN_PARSE or owed == pl.OWN_DESCRIBE
        ) and self.pipeline.kind() == pl.OWN_SYNC:
            # Of a batch of ours ahead of a simple query, which will get an error of its own.
            self.substitute = b""
            return SWALLOW
        return SWALLOW if self.substitute else PASS

    def parameter_status(self, owed: int, payload: bytes) -> int:
        name, _, rest = payload.partition(b"\0")
        key = name.decode("utf-8", "surrogateescape")
        value = rest[:-1].decode("utf-8", "surrogateescape")
        reported = dict(self.reported)
        reported[key] = value
        self.reported = self.shared.intern_reported(reported)
        if self.client is None:
            return SWALLOW
        self.substitute = self.client.session.reported_by_server(key, value, ours=owed >= pl.OWN)
        return SWALLOW

    def notification(self, data: bytes, pos: i64, end: i64) -> int:
        if self.client is not None:
            self.substitute = self.client.notified(data[pos:end], self.process_id)
        return SWALLOW if self.substitute else PASS

    # Our own questions, and bringing an abandoned connection back.

    def ask(self, sql: bytes, question: Question) -> bytes:
        """Encode a query of ours and note that its reply is ours."""
        self.pipeline.push(Reply(pl.OWN_QUERY, None, question))
        self.unnamed = None
        return b"Q" + (len(sql) + 5).to_bytes(4, "big") + sql + b"\0"

    def question_answered(self, question: Question) -> None:
        client = self.client
        if question.purpose == pl.CLEAN:
            if question.error:
                self.spoilt = True
        elif client is not None:
            client.question_answered(question)
        elif question.error:
            self.spoilt = True

    def probe(self) -> bytes:
        return recovery.probe(self)

    def unstick(self) -> bytes:
        return recovery.unstick(self)

    def recover(self) -> bytes:
        return recovery.recover(self)


def _is_whole(data: bytes, pos: i64, end: i64) -> bool:
    """Whether a message is here from its beginning to its end; one too long to hold is not."""
    return int.from_bytes(data[pos + 1 : pos + 5], "big") == end - pos - 1
