"""A server of our own, and one that passes everything on to a real server until it does not."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Protocol

from tests.support.local_postgres import free_port
from tests.support.proxy import ProxyProcess

Behaviour = Callable[[socket.socket], None]
"""What a server does with one connection."""


class Address(Protocol):
    """Where a real server listens."""

    host: str
    port: int


class Impostor:
    """A server of our own: it runs one function per connection."""

    def __init__(self, behave: Behaviour) -> None:
        self.behave = behave
        self.host, self.port = "127.0.0.1", free_port()
        self.accepted = 0
        self._listener = socket.create_server((self.host, self.port))
        self._threads = [threading.Thread(target=self._run, daemon=True)]
        self._threads[0].start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.accepted += 1
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(20)
            self.behave(connection)

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()


class Tap:
    """Passes everything on to a real server until a client says the word."""

    def __init__(
        self, server: Address, word: bytes, then: Behaviour, *, resume: bool = False
    ) -> None:
        self.server, self.word, self.then, self.resume = server, word, then, resume

    def __call__(self, connection: socket.socket) -> None:
        with socket.create_connection((self.server.host, self.server.port)) as real:
            back = threading.Thread(target=self._back, args=(real, connection), daemon=True)
            back.start()
            while data := connection.recv(65536):
                if self.word not in data:
                    real.sendall(data)
                    continue
                self.then(connection)
                if not self.resume:
                    return

    def _back(self, real: socket.socket, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := real.recv(65536):
                connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)


def reset_at_close(connection: socket.socket) -> None:
    """Have the connection end in a RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


StartImpostor = Callable[[Behaviour], tuple[Impostor, ProxyProcess]]
"""Starts a server of our own and a proxy before it: what a fixture gives."""
