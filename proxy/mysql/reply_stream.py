"""What one MySQL or MariaDB server sends, sorted into what is for the client and what is ours.

The connection has CLIENT_DEPRECATE_EOF and CLIENT_SESSION_TRACK whatever its clients have: for a
client without the one, EOF packets are put in and later sequence ids shifted, for one without the
other, or that asked for less, OK packets are written anew.

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
    LASTING_FLAGS,
    LOCAL_INFILE,
    MAX_PAYLOAD_BYTES,
    OK,
    SERVER_MORE_RESULTS_EXISTS,
    SERVER_SESSION_STATE_CHANGED,
    SERVER_STATUS_AUTOCOMMIT,
    SERVER_STATUS_CURSOR_EXISTS,
)
from proxy.mysql.lenenc import packet, read_lenenc_int
from proxy.mysql.messages import (
    STATEMENT_ID_ONLY,
    Ok,
    eof_payload,
    ok_payload,
    plain_ok_packet,
    read_ok_at,
)
from proxy.mysql.packet_stream import (
    AHEAD,
    COLUMNS,
    DEFINITIONS,
    FILE,
    FIRST,
    PASS,
    ROWS,
    SWALLOW,
    PacketStream,
)

if TYPE_CHECKING:
    from mypy_extensions import i64

    from proxy.mysql.client_stream import MysqlClientStream
    from proxy.mysql.pipeline import Question, Reply

_LONG_INT: Final = 0xFB
"""First byte from which a length-encoded integer has more, or is none."""


class ReplyStream(PacketStream):
    """The part of a server connection's state that follows its replies."""

    def __init__(self, capabilities: int) -> None:
        super().__init__()
        self.capabilities = capabilities
        """In force on this connection."""
        self.client: MysqlClientStream | None = None
        self.replies: list[Reply] = []
        """Owed, in order."""
        self.status: int = SERVER_STATUS_AUTOCOMMIT
        """Status flags as last told."""
        self.failed = False
        """The last reply was an ERR, so that the status flags are not known."""
        self.left: i64 = 0
        """Definitions still to come."""
        self.left_behind: i64 = 0
        """Definitions of columns that follow those of parameters."""
        self.eof_warnings = 0
        """What EOF packets tell of warnings while a statement is prepared."""

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
        count: int = data[pos + 4]
        position = 1
        if count >= _LONG_INT:
            try:
                count, position = read_lenenc_int(data[pos + 4 : stop], 0)
            except ProtocolError:
                count = 0
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
            ok = read_ok_at(data, pos + 4, stop)
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
            elif ok.track:
                self.heard_alone(ok.track)
            self.end_result(ok, reply)
            return SWALLOW
        verdict, sequence = PASS, data[pos + 3]
        if self.eof_due and not ok.status & SERVER_STATUS_CURSOR_EXISTS:
            self.put_in_eof(sequence, ahead=True)
            verdict = AHEAD
        self.eof_due = False
        shown = client.heard(ok, -1 if self.phase == FIRST else int(self.rows))
        if shown is ok and ends_plainly(ok) and not (client.eofs and first == EOF):
            flags = ok.status & ~SERVER_SESSION_STATE_CHANGED
            end = plain_ok_packet(first, flags, (sequence + int(self.shift)) & 0xFF)
            self.substitute = self.substitute + end if self.substitute else end
            self.end_result(ok, reply)
            return SWALLOW
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

    def heard_alone(self, track: bytes) -> None:
        """What an OK packet reports after its client has vanished."""
        raise NotImplementedError

    def prepared(self, reply: Reply, data: bytes, pos: i64, stop: i64) -> int:
        """The first packet of COM_STMT_PREPARE's response."""
        raise NotImplementedError

    def definition(self, reply: Reply, data: bytes, pos: i64) -> int:
        """One definition of a parameter or a column, of COM_STMT_PREPARE's response."""
        raise NotImplementedError


def ends_plainly(ok: Ok) -> bool:
    """Whether nothing is left but flags when what only the server's own clients see is left out."""
    return (
        ok.track is STATEMENT_ID_ONLY
        and ok.affected_rows == 0
        and ok.last_insert_id == 0
        and ok.warnings == 0
    )
