"""Walks the packets that one MySQL or MariaDB server sends.

A run of packets that go to the client unchanged is passed on as one slice of the chunk it arrived
in, usually as the chunk itself; rows are never held. What a packet means, and whether it goes to
the client, derived classes know (``reply_stream.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.mysql.constants import EOF, HOLD_LIMIT_BYTES, MAX_PAYLOAD_BYTES
from proxy.mysql.lenenc import packet
from proxy.wire.stream import ServerStream

if TYPE_CHECKING:
    from mypy_extensions import i64

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


class PacketStream(ServerStream):
    """The part of a server connection's state that belongs to the packet under way."""

    def __init__(self) -> None:
        super().__init__()
        self.phase: int = FIRST
        self.swallowing = False
        """The reply under way is ours."""
        self.partial = b""
        self.remain: i64 = 0
        self.remain_verdict: int = PASS
        self.continued = False
        """The packet under way is continued by the next one."""
        self.shift: i64 = 0
        """EOF packets put into the reply under way."""
        self.rows: i64 = 0
        """Rows of the result under way."""
        self.eof_due = False
        """An EOF packet is to be put in unless the next packet ends the result."""
        self.told = False
        """The OK packet of the result whose definitions an EOF ended has come, with its flags."""
        self.substitute = b""
        self.fresh = True
        """Nothing has come yet of the reply owed next."""
        self.sequence: i64 = 0
        """Sequence id of the last packet that came, as its client saw it."""

    def receive(self, data: bytes) -> None:
        if self.partial:
            data = self.partial + data
            self.partial = b""
        end: i64 = len(data)
        pos: i64 = 0
        start: i64 = 0
        parts: list[bytes] | None = None
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
                parts = parts or []
                parts.append(_cut(data, shifted, start, cut))
                if verdict == PASS:
                    eof_at = len(parts)
                parts.append(self.take_substitute())
                start = pos if verdict == AHEAD else payload_end
            if eof_at >= 0 and self.told and parts is not None:
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
        if parts is not None:
            parts.append(_cut(data, shifted, start, pos))
            self.to_client = b"".join(parts)
        else:
            self.to_client = _cut(data, shifted, start, pos)

    def next_sequence(self) -> int:
        """Sequence id of what would go to the client next, in the reply under way."""
        return 1 if self.swallowing else int((self.sequence + 1) & 0xFF)

    def take_substitute(self) -> bytes:
        substitute = self.substitute
        self.substitute = b""
        return substitute

    # What derived classes know.

    def row(self, data: bytes, pos: i64, stop: i64, end: i64) -> int:
        """Deal with a row of ours, or with the first row of a client's; say where it goes."""
        raise NotImplementedError

    def handle(self, first: int, data: bytes, pos: i64, stop: i64) -> int:
        """Deal with a whole packet that is no row; say whether it goes to the client.

        ``substitute`` is sent instead of a swallowed one, or behind one that is passed on.
        """
        raise NotImplementedError

    def eof(self, *, lasting: bool) -> bytes:
        """Payload of an EOF packet behind definitions.

        ``lasting``: the flags are those of an earlier statement, as far as they still hold.
        """
        raise NotImplementedError


def _cut(data: bytes, shifted: bytearray | None, start: i64, stop: i64) -> bytes:
    if shifted is not None:
        return bytes(shifted[start:stop])
    return data if start == 0 and stop == len(data) else data[start:stop]
