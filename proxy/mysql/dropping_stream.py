"""What a client sends that the server must not get, or not as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.mysql.constants import MAX_PAYLOAD_BYTES
from proxy.wire.stream import ClientStream

if TYPE_CHECKING:
    from proxy.mysql.reframing import Reframing


class DroppingStream(ClientStream):
    """The part of a client's protocol state that takes packets out of what it sends."""

    def __init__(self) -> None:
        super().__init__()
        self.dropping = 0
        """Bytes still to be dropped of a command that has been answered here."""
        self.drop_continues = False
        """The packet being dropped is continued by the next one."""
        self.drops_file = False
        """A file that the server no longer wants is dropped up to the empty packet behind it."""
        self.reframing: Reframing | None = None
        """What is dropped goes to the server in other packets, by way of ``reframed``."""
        self.reframed = b""

    def take_reframed(self) -> list[bytes] | None:
        """What has been reframed since this was last asked; ``None`` if nothing."""
        if not self.reframed:
            return None
        taken = [self.reframed]
        self.reframed = b""
        return taken

    def drop(self, data: bytes) -> bytes:
        """Drop what still comes of a command that has been answered here."""
        while self.dropping or self.drop_continues or self.drops_file:
            if not self.dropping:
                if len(data) < 4:
                    break
                self.begin_dropping(data)
            dropped = min(self.dropping, len(data))
            self.dropping -= dropped
            if self.reframing is not None:
                self.reframed += self.reframing.feed(data[:dropped])
                if not self.dropping and not self.drop_continues:
                    self.reframing = None
            data = data[dropped:]
            if self.dropping:
                break
        return data

    def drop_command(self, data: bytes) -> bytes:
        """Drop the command that ``data`` begins with, be it there or not; return what follows."""
        self.begin_dropping(data)
        return self.drop(data)

    def begin_dropping(self, data: bytes) -> None:
        """Drop the packet whose header ``data`` begins with."""
        length = int.from_bytes(data[:3], "little")
        self.dropping = length + 4
        if length == 0 and not self.drop_continues:
            self.drops_file = False
        self.drop_continues = length == MAX_PAYLOAD_BYTES
