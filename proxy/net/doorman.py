"""Accepts clients from listening sockets, a bounded number in a row.

An event loop's own server accepts everybody who waits before it looks at anything else: a storm
of a thousand clients would hold up all that runs. When the system has no descriptors left, clients
wait in the kernel's queue and the accepting rests.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from typing import TYPE_CHECKING, Final

from proxy.net import logs

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

log = logging.getLogger("tidegate")

ACCEPT_BATCH: Final = 8
"""Clients accepted before the event loop looks at anything else."""
PAUSE_S: Final = 0.2
"""Rest after the system has run out of descriptors or memory."""
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Doorman:
    """``hand_over`` takes an endpoint's position and an accepted socket's descriptor, which is its
    from then on; ``has_room`` says whether there is a worker to hand it to."""

    def __init__(self, has_room: Callable[[], bool], hand_over: Callable[[int, int], None]) -> None:
        self._has_room = has_room
        self._hand_over = hand_over
        self._doors: list[tuple[int, socket.socket]] = []
        self._open = False

    def add(self, endpoint: int, sockets: list[socket.socket]) -> None:
        """Keep the listening sockets of an endpoint; nobody is let in yet."""
        self._doors += [(endpoint, door) for door in sockets]

    @property
    def addresses(self) -> list[tuple[int, object]]:
        """Position of the endpoint and address of every listening socket."""
        return [(endpoint, door.getsockname()) for endpoint, door in self._doors]

    def open(self) -> None:
        """Let clients in."""
        if self._open:
            return
        self._open = True
        loop = asyncio.get_running_loop()
        for endpoint, door in self._doors:
            loop.add_reader(door.fileno(), self._accept, endpoint, door)

    def shut(self) -> None:
        """Let nobody in for now; clients queue in the kernel."""
        if not self._open:
            return
        self._open = False
        loop = asyncio.get_running_loop()
        for _, door in self._doors:
            loop.remove_reader(door.fileno())

    def close(self) -> None:
        """Stop to listen."""
        self.shut()
        for _, door in self._doors:
            door.close()
        self._doors.clear()

    def _accept(self, endpoint: int, door: socket.socket) -> None:
        for _ in range(ACCEPT_BATCH):
            if not self._has_room():
                self._rest()
                return
            try:
                client, _ = door.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in EXHAUSTED:
                    logs.event(log, logging.ERROR, "accept_failed", error=str(error))
                    self._rest()
                    return
                raise
            self._hand_over(endpoint, client.detach())

    def _rest(self) -> None:
        self.shut()
        asyncio.get_running_loop().call_later(PAUSE_S, self.open)
