"""Changes the head of a command of any length while it streams through.

A head that grows by k bytes shifts what follows across the boundaries of packets, which are full
(0xFFFFFF bytes) but for the last. A packet is full again exactly where the one that came was; the
last one has k bytes more, and one more packet follows if that fills it. No more than k bytes are
kept from one packet to the next.

Source: source documentation, "Sending More Than 16Mb".
"""

from __future__ import annotations

from proxy.mysql.constants import HEADER_BYTES, MAX_PAYLOAD_BYTES


class Reframing:
    """One command under way. ``feed`` takes it as it comes, each packet beginning a chunk."""

    def __init__(self, head: bytes, replaced: int, most: int = MAX_PAYLOAD_BYTES) -> None:
        """``head`` stands in place of the first ``replaced`` bytes, which come in one chunk.

        ``most`` is the length of a full packet.
        """
        self._kept = head
        self._skip = replaced
        self._more = len(head) - replaced
        self._most = most
        self._left = 0
        """Bytes that still have to come of the packet under way."""
        self._room = 0
        """Bytes that still go into the packet being made."""
        self._overflow: bytes = b""
        """Header of a packet more than came."""

    def feed(self, data: bytes) -> bytes:
        """Take a chunk that belongs to one packet; return what goes on instead."""
        header = b""
        if self._left == 0:
            header = self._begin(data[:HEADER_BYTES])
            data = data[HEADER_BYTES:]
        self._left -= len(data)
        payload = self._kept + data[self._skip :]
        self._skip = 0
        room = self._room
        out, self._kept = payload[:room], payload[room:]
        self._room -= len(out)
        if self._left == 0 and self._overflow:
            out += self._overflow + self._kept
            self._overflow = self._kept = b""
        return header + out

    def _begin(self, header: bytes) -> bytes:
        """Make the header of a packet from that of the one which comes."""
        length, sequence = int.from_bytes(header[:3], "little"), header[3]
        self._left = length
        grown = length + self._more
        if length < self._most and grown >= self._most:
            self._overflow = _header(grown - self._most, sequence + 1)
        self._room = min(grown, self._most)
        return _header(self._room, sequence)


def _header(length: int, sequence: int) -> bytes:
    return length.to_bytes(3, "little") + bytes((sequence & 0xFF,))
