"""One end of the socket pair between the supervisor and a worker: messages and descriptors.

Event loops' own transports neither send nor receive descriptors, so this reads and writes the
socket itself when the loop says that it can.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Final

from proxy.errors import ProtocolError
from proxy.workers.messages import Decoder, Message, encode

if TYPE_CHECKING:
    from collections.abc import Callable

RECEIVE_BYTES: Final = 65536
RECEIVE_DESCRIPTORS: Final = 64
NO_ROOM: Final = frozenset({errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM})
"""The kernel holds as many descriptors under way as it may, or has no memory: it passes."""
CLOSE_ON_EXEC: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Channel:
    """A connected Unix stream socket.

    ``received`` is called with each message and its descriptor (-1 without), which then belongs to
    the callee; ``ended`` once, when the other side is gone or has broken the protocol.
    """

    def __init__(
        self,
        connection: socket.socket,
        received: Callable[[Message, int], None],
        ended: Callable[[str], None],
    ) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._received = received
        self._ended = ended
        self._decoder = Decoder()
        self._descriptors: deque[int] = deque()
        self._outgoing: deque[tuple[memoryview, int]] = deque()
        self._loop = asyncio.get_running_loop()
        self._writing = False
        self.closed = False
        self._loop.add_reader(connection.fileno(), self._readable)

    @property
    def backlog(self) -> int:
        """Messages that wait to be sent."""
        return len(self._outgoing)

    def send(self, message: Message, descriptor: int = -1) -> None:
        """Send a message; a descriptor is taken over and closed once it is sent."""
        assert (descriptor >= 0) == bool(message.DESCRIPTORS)
        if self.closed:
            _discard(descriptor)
            return
        self._outgoing.append((memoryview(encode(message)), descriptor))
        if not self._writing:
            self._flush()

    def close(self) -> None:
        """Close without telling ``ended``."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._socket.fileno())
        if self._writing:
            self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        for _, descriptor in self._outgoing:
            _discard(descriptor)
        self._outgoing.clear()
        for descriptor in self._descriptors:
            _discard(descriptor)

    def _flush(self) -> None:
        while self._outgoing:
            data, descriptor = self._outgoing[0]
            try:
                if descriptor >= 0:
                    sent = socket.send_fds(self._socket, [data], [descriptor])
                else:
                    sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                self._write_later()
                return
            except OSError as error:
                if error.errno in NO_ROOM:
                    self._write_later()
                    return
                self._end(error.strerror or str(error))
                return
            _discard(descriptor)
            if sent == len(data):
                self._outgoing.popleft()
            else:
                self._outgoing[0] = (data[sent:], -1)
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._socket.fileno())

    def _write_later(self) -> None:
        if not self._writing:
            self._writing = True
            self._loop.add_writer(self._socket.fileno(), self._flush)

    def _readable(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(
                self._socket, RECEIVE_BYTES, RECEIVE_DESCRIPTORS, CLOSE_ON_EXEC
            )
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error.strerror or str(error))
            return
        self._descriptors += descriptors
        if not data:
            self._end("closed")
            return
        try:
            messages = self._decoder.feed(data)
        except ProtocolError as error:
            self._end(str(error))
            return
        for message in messages:
            if self.closed:
                return
            if message.DESCRIPTORS and not self._descriptors:
                self._end("a descriptor is missing")
                return
            self._received(message, self._descriptors.popleft() if message.DESCRIPTORS else -1)

    def _end(self, reason: str) -> None:
        if not self.closed:
            self.close()
            self._ended(reason)


def _discard(descriptor: int) -> None:
    if descriptor >= 0:
        with contextlib.suppress(OSError):
            os.close(descriptor)
