"""What one MySQL or MariaDB server sends, sorted into what is for the client and what is ours.

The scan walks packet headers. A run of packets that go to the client unchanged is passed on as one
slice of the chunk it arrived in, usually as the chunk itself; rows are never held. The connection
has CLIENT_DEPRECATE_EOF and CLIENT_SESSION_TRACK whatever its clients have: for a client without
the one, EOF packets are put in and later sequence ids shifted, for one without the other, or that
asked for less, OK packets are written anew.

Source: source documentation, "Text Resultset", "COM_STMT_PREPARE Response", "OK_Packet". Observed:
the flag of CLIENT_OPTIONAL_RESULTSET_METADATA comes behind the count of columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import ProtocolError
from proxy.mysql import pipeline as pl
from proxy.mysql.constants import (
    CLIENT_OPTIONAL_RESULTSET_METADATA,
    EOF,
    ERR,
    HOLD_LIMIT_BYTES,
    LASTING_FLAGS,
    LOCAL_INFILE,
    MAX_PAYLOAD_BYTES,
    OK,
    PROGRESS,
    SERVER_MORE_RESULTS_EXISTS,
    SERVER_SESSION_STATE_CHANGED,
    SERVER_STATUS_AUTOCOMMIT,
    SERVER_STATUS_CURSOR_EXISTS,
)
from proxy.mysql.lenenc import packet, read_lenenc_int
from proxy.mysql.messages import Ok, eof_payload, ok_payload, read_ok
from proxy.wire.stream import ServerStream

if TYPE_CHECKING:
    from mypy_extensions import i64

    from proxy.mysql.client_stream import MysqlClientStream
    from proxy.mysql.pipeline import Question, Reply

PASS: Final = 0
SWALLOW: Final = 1
AHEAD: Final = 2
"""Passed on, with something put in ahead of it."""

# Where in a reply the server is.
FIRST: Final = 0
"""At the first packet of a reply, or of a further result in it."""
COLUMNS: Final = 1
ROWS: Final = 2
DEFINITIONS: Final = 3
FILE: Final = 4
"""The server reads a file from the client (LOCAL INFILE)."""


class ReplyStream(ServerStream):
    """The part of a server connection's state that follows its replies, packet by packet."""

    def __init__(self, capabilities: int) -> None:
        super().__init__()
        self.capabilities = capabilities
        """In force on this connection."""
        self.client: MysqlClientStream | None = None
        self.replies: list[Reply] = []
        """Owed, in order."""
        self.phase: int = FIRST
        self.swallowing = False
        """The reply under way is ours."""
        self.status: int = SERVER_STATUS_AUTOCOMMIT
        """Status flags as last told."""
        self.failed = False
        """The last reply was an ERR, so that the status flags are not known."""
        self.partial = b""
        self.remain: i64 = 0
        self.remain_verdict: int = PASS
        self.continued = False
        """The packet under way is continued by the next one."""
        self.shift: i64 = 0
        """EOF packets put into the reply under way."""
        self.left: i64 = 0
        """Definitions still to come."""
        self.left_behind: i64 = 0
        """Definitions of columns that follow those of parameters."""
        self.rows: i64 = 0
        """Rows of the result under way."""
        self.eof_due = False
        """An EOF packet is to be put in unless the next packet ends the result."""
        self.eof_warnings = 0
        """What EOF packets tell of warnings while a statement is prepared."""
        self.told = False
        """The OK packet of the result whose definitions an EOF ended has come, with its flags."""
        self.substitute = b""
        self.fresh = True
        """Nothing has come yet of the reply owed next."""
        self.sequence: i64 = 0
        """Sequence id of the last packet that came, as its client saw it."""

    # What the server sends.

    def receive(self, data: bytes) -> None:
        if self.partial:
            data = self.partial + data
            self.partial = b""
        end: i64 = len(data)
        pos: i64 = 0
        start: i64 = 0
        parts: list[bytes] = []
        shifted: bytearray | None = None
        eof_at = -1
        if self.remain > 0:
            pos = self.remain if self.remain < end else end
            self.remain -= pos
            if self.remain_verdict == SWALLOW:
                start = pos
        while end - pos >= 4:
            length: i64 = data[pos] | (data[pos + 1] << 8) | (data[pos + 2] << 16)
            stop: i64 = pos + 4 + length
            shift: i64 = self.shift
            verdict: int = PASS
            if self.continued:
                verdict = SWALLOW if self.swallowing else PASS
            elif end - pos < 5 and length > 0:
                break
            elif length == 0:
                self.error = "empty packet"
                break
            elif self.phase == ROWS and (data[pos + 4] < EOF or length == MAX_PAYLOAD_BYTES):
                if stop > end and self.swallowing and length <= HOLD_LIMIT_BYTES:
                    break  # A row of ours is read whole.
                self.rows += 1
                self.fresh = False
                if self.swallowing or self.eof_due:
                    verdict = self.row(data, pos, stop, end)
            elif stop > end:
                if length > HOLD_LIMIT_BYTES:
                    self.error = "packet too long"
                break
            else:
                self.fresh = False
                verdict = self.handle(data[pos + 4], data, pos, stop)
                if self.error:
                    break
            self.continued = length == MAX_PAYLOAD_BYTES
            if verdict == AHEAD:
                shift = self.shift
            if shift != 0 and verdict != SWALLOW:
                shifted = shifted or bytearray(data)
                shifted[pos + 3] = (data[pos + 3] + shift) & 0xFF
            if verdict != PASS or self.substitute:
                payload_end: i64 = stop if stop < end else end
                cut: i64 = payload_end if verdict == PASS else pos
                if start < cut:
                    parts.append(_cut(data, shifted, start, cut))
                if verdict == PASS:
                    eof_at = len(parts)
                parts.append(self.take_substitute())
                start = pos if verdict == AHEAD else payload_end
            if eof_at >= 0 and self.told:
                # The result is complete already: a server tells its flags in the first EOF, too.
                parts[eof_at] = packet(self.eof(lasting=False), parts[eof_at][3])
                eof_at = -1
            self.sequence = 0 if self.fresh else data[pos + 3] + self.shift
            if stop > end:
                self.remain = stop - end
                self.remain_verdict = verdict
                pos = end
                break
            pos = stop
        if pos < end and not self.error:
            self.partial = data[pos:]
        if not parts and start == 0 and pos == end and shifted is None:
            self.to_client = data
        else:
            parts.append(_cut(data, shifted, start, pos))
            self.to_client = b"".join(parts)

    def next_sequence(self) -> int:
        """Sequence id of what would go to the client next, in the reply under way."""
        return 1 if self.swallowing else int((self.sequence + 1) & 0xFF)

    def take_substitute(self) -> bytes:
        substitute = self.substitute
        self.substitute = b""
        return substitute

    def row(self, data: bytes, pos: i64, stop: i64, end: i64) -> int:
        """A row of ours, or the first row of a client's that may have been no row."""
        if not self.swallowing:
            self.put_in_eof(data[pos + 3], ahead=True)
            return AHEAD
        question = self.replies[0].question
        if question is not None:
            if stop > end:
                question.too_long = True
            else:
                question.keep(data[pos + 4 : stop])
        return SWALLOW

    def handle(self, first: int, data: bytes, pos: i64, stop: i64) -> int:
        """Deal with a whole packet that is no row; say whether it goes to the client.

        ``substitute`` is sent instead of a swallowed one, or behind one that is passed on.
        """
        if not self.replies:
            return self.unasked(first, data, pos, stop)
        reply = self.replies[0]
        question = reply.question
        if first == ERR and data[pos + 4 : pos + 8] == PROGRESS:
            return SWALLOW if self.swallowing else PASS
        if question is not None:
            question.keep(data[pos + 4 : stop])
        if first == ERR:
            return self.ended_by_error(reply, data[pos + 4 : stop])
        if self.phase == COLUMNS:
            self.left -= 1
            if self.left == 0:
                self.phase = ROWS
                self.end_definitions(reply, data[pos + 3])
        elif self.phase == DEFINITIONS:
            return self.definition(reply, data, pos)
        elif self.phase == ROWS:
            return self.ended(reply, EOF, data, pos, stop)
        else:
            return self.first_packet(reply, first, data, pos, stop)
        return PASS if question is None else SWALLOW

    def first_packet(self, reply: Reply, first: int, data: bytes, pos: i64, stop: i64) -> int:
        """The first packet of a reply, or of a further result."""
        if reply.kind == pl.PREPARED and first == OK:
            return self.prepared(reply, data, pos, stop)
        if reply.kind == pl.TEXT:
            self.complete(reply)
        elif first == OK or (first == EOF and stop - pos - 4 < MAX_PAYLOAD_BYTES):
            return self.ended(reply, first, data, pos, stop)
        elif reply.kind == pl.PREPARED or self.phase == FILE:
            self.error = "reply to a command that was not sent"
        elif first == LOCAL_INFILE:
            self.phase = FILE
            if self.client is not None:
                self.client.file_sent = False
        elif reply.kind != pl.DEFINITIONS:
            self.column_count(reply, data, pos, stop)
        return PASS if reply.question is None else SWALLOW

    def column_count(self, reply: Reply, data: bytes, pos: i64, stop: i64) -> None:
        try:
            count, position = read_lenenc_int(data[pos + 4 : stop], 0)
        except ProtocolError:
            count, position = 0, 0
        if count == 0:
            self.error = "malformed column count"
            return
        described = True
        if self.capabilities & CLIENT_OPTIONAL_RESULTSET_METADATA and pos + 4 + position < stop:
            described = data[pos + 4 + position] == 1
        self.left = count
        self.rows = 0
        self.phase = COLUMNS
        if not described:
            self.left = 0
            self.phase = ROWS
            self.end_definitions(reply, data[pos + 3])

    # Results.

    def ended(self, reply: Reply, first: int, data: bytes, pos: i64, stop: i64) -> int:
        """An OK packet, which ends a result, and the reply unless more results follow."""
        try:
            ok = read_ok(data[pos + 4 : stop])
        except ProtocolError:
            self.error = "malformed OK packet"
            return SWALLOW
        self.status = ok.status
        self.told = True
        self.failed = False
        client = self.client
        if client is None or reply.question is not None:
            if client is not None:
                client.heard_ours(ok, reply)
            self.end_result(ok, reply)
            return SWALLOW
        verdict = PASS
        sequence = data[pos + 3]
        if self.eof_due and not ok.status & SERVER_STATUS_CURSOR_EXISTS:
            self.put_in_eof(sequence, ahead=True)
            verdict = AHEAD
        self.eof_due = False
        shown = client.heard(ok, -1 if self.phase == FIRST else int(self.rows))
        payload = client.translated(shown, first)
        if payload is None and shown is not ok:
            payload = ok_payload(shown, session_track=client.tracks, header=first)
        if payload is not None:
            self.substitute += packet(payload, sequence + int(self.shift))
            verdict = SWALLOW
        self.end_result(ok, reply)
        return verdict

    def end_result(self, ok: Ok, reply: Reply) -> None:
        self.phase = FIRST
        if not ok.status & SERVER_MORE_RESULTS_EXISTS:
            self.complete(reply)

    def ended_by_error(self, reply: Reply, payload: bytes) -> int:
        """An ERR packet, which ends a reply whatever was to follow."""
        self.failed = True
        client = self.client
        question = reply.question
        if question is not None:
            question.error = payload
            self.complete(reply)
            return SWALLOW
        if client is not None:
            client.heard_error()
            preparation = reply.preparation
            if preparation is not None and preparation.ours:
                client.preparation_failed()
                if preparation.silent:
                    self.completed -= 1
                    self.complete(reply)
                    return SWALLOW
        self.complete(reply)
        return PASS

    def complete(self, reply: Reply) -> None:
        """A reply has come to its end."""
        del self.replies[0]
        self.phase = FIRST
        self.fresh = True
        self.shift = 0
        self.eof_due = False
        self.eof_warnings = 0
        if reply.question is None:
            self.completed += 1
        self.begin()
        client = self.client
        self.resume = client is not None and client.waiting
        if reply.question is not None:
            self.answered(reply.question)

    def begin(self) -> None:
        """Get ready for the next reply owed."""
        if self.replies:
            reply = self.replies[0]
            self.swallowing = reply.question is not None
            self.phase = ROWS if reply.kind == pl.ROWS else FIRST

    def end_definitions(self, reply: Reply, sequence: int) -> None:
        """Definitions of columns are complete: a client may need an EOF packet here."""
        if reply.question is None and self.client is not None and self.client.eofs:
            if reply.cursor:
                self.eof_due = True
            else:
                self.put_in_eof(sequence, ahead=False)

    def put_in_eof(self, sequence: int, *, ahead: bool) -> None:
        """Put an EOF packet in, ahead of or behind the packet with this sequence id."""
        self.eof_due = False
        self.told = False
        position = sequence + int(self.shift) + (0 if ahead else 1)
        self.substitute += packet(self.eof(lasting=True), position)
        self.shift += 1

    def eof(self, *, lasting: bool) -> bytes:
        """Payload of an EOF packet behind definitions.

        ``lasting``: the flags are those of an earlier statement, as far as they still hold.
        """
        flags = LASTING_FLAGS if lasting else ~SERVER_SESSION_STATE_CHANGED
        return eof_payload(self.status & flags, self.eof_warnings)

    # What derived classes know more of.

    def unasked(self, first: int, data: bytes, pos: i64, stop: i64) -> int:
        """A packet while no reply is owed: only a farewell is allowed."""
        if first == ERR:
            self.farewell = True
            return PASS if self.client is not None else SWALLOW
        self.error = "reply to a command that was not sent"
        return SWALLOW

    def answered(self, question: Question) -> None:
        """The reply to a question of ours is complete."""
        raise NotImplementedError

    def prepared(self, reply: Reply, data: bytes, pos: i64, stop: i64) -> int:
        """The first packet of COM_STMT_PREPARE's response."""
        raise NotImplementedError

    def definition(self, reply: Reply, data: bytes, pos: i64) -> int:
        """One definition of a parameter or a column, of COM_STMT_PREPARE's response."""
        raise NotImplementedError


def _cut(data: bytes, shifted: bytearray | None, start: i64, stop: i64) -> bytes:
    return data[start:stop] if shifted is None else bytes(shifted[start:stop])
