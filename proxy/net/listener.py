"""The sockets of one endpoint."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.errors import ListenFailed
from proxy.metrics.counters import EndpointCounters
from proxy.net.address import parse_listen, refuse_public
from proxy.net.conversation import ConversationProtocol
from proxy.net.runtime import spawn

if TYPE_CHECKING:
    from proxy.config.model import EndpointConfig
    from proxy.net.gateway import Gateway

BACKLOG: Final = 4096
"""Connections the kernel queues while a burst is being accepted."""


class Listener:
    """Accepts the clients of one endpoint."""

    def __init__(self, endpoint: EndpointConfig, gateway: Gateway) -> None:
        self.endpoint = endpoint
        self.gateway = gateway
        self.counters = EndpointCounters()
        self._servers: list[asyncio.Server] = []

    async def open(self, *, allow_public: bool) -> None:
        """Start to listen. Raises ``ConfigError`` for a public address, ``ListenFailed``."""
        address = parse_listen(self.endpoint.listen)
        loop = asyncio.get_running_loop()
        try:
            if address.path:
                _remove_stale(address.path)
                server = await loop.create_unix_server(
                    self._protocol, address.path, backlog=BACKLOG
                )
            else:
                if not allow_public:
                    await refuse_public(address)
                server = await loop.create_server(
                    self._protocol, address.host, address.port, backlog=BACKLOG, reuse_address=True
                )
        except OSError as error:
            raise ListenFailed(
                f"cannot listen on {self.endpoint.listen}: {error.strerror or error}"
            ) from error
        self._servers.append(server)

    def close(self) -> None:
        """Stop to listen; clients that are connected stay."""
        path = parse_listen(self.endpoint.listen).path
        if path and self._servers:
            Path(path).unlink(missing_ok=True)
        for server in self._servers:
            server.close()
        self._servers.clear()

    def _protocol(self) -> ConversationProtocol:
        return ConversationProtocol(self._connected)

    def _connected(self, connection: ConversationProtocol) -> None:
        spawn(self.gateway.serve(connection, self.counters), "login")


def _remove_stale(path: str) -> None:
    """Remove a socket that a process left behind. Raises ``OSError`` if somebody listens on it.

    It must not come to the event loop, which removes any socket, in use or not.
    """
    file = Path(path)
    if not file.exists() or not stat.S_ISSOCK(os.stat(path).st_mode):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            file.unlink()
            return
        except BlockingIOError:
            # Its owner is busy: as many clients wait to be accepted as may.
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
