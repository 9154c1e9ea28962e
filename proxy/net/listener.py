"""The sockets of one endpoint."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from proxy.errors import ListenFailed
from proxy.metrics.counters import EndpointCounters
from proxy.net.address import ListenAddress, parse_listen, refuse_public
from proxy.net.conversation import ConversationProtocol
from proxy.net.doorman import Doorman
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
        self._doorman: Doorman | None = None

    async def open(self, *, allow_public: bool) -> None:
        """Start to listen. Raises ``ConfigError`` for a public address, ``ListenFailed``."""
        sockets = await open_sockets(self.endpoint.listen, allow_public=allow_public)
        self._doorman = Doorman(lambda: True, self._accepted)
        self._doorman.add(0, sockets)
        self._doorman.open()

    @property
    def addresses(self) -> list[Any]:
        """Addresses listened on, as ``getsockname`` gives them."""
        return [address for _, address in self._doorman.addresses] if self._doorman else []

    def _accepted(self, _endpoint: int, descriptor: int) -> None:
        spawn(self.admit(socket.socket(fileno=descriptor)), "admit")

    async def admit(self, client: socket.socket) -> None:
        """Serve a client that has been accepted, here or by another process."""
        client.setblocking(False)
        if client.family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, client)
        except OSError:
            client.close()

    def close(self) -> None:
        """Stop to listen; clients that are connected stay."""
        if self._doorman is not None:
            remove_socket_file(self.endpoint.listen)
            self._doorman.close()
            self._doorman = None

    def _protocol(self) -> ConversationProtocol:
        return ConversationProtocol(self._connected)

    def _connected(self, connection: ConversationProtocol) -> None:
        spawn(self.gateway.serve(connection, self.counters), "login")


async def open_sockets(listen: str, *, allow_public: bool) -> list[socket.socket]:
    """Listen on every address that ``listen`` stands for.

    Raises ``ConfigError`` for a public address, ``ListenFailed``.
    """
    address = parse_listen(listen)
    if not address.path and not allow_public:
        await refuse_public(address)
    sockets: list[socket.socket] = []
    try:
        if address.path:
            _remove_stale(address.path)
            sockets.append(_listening(socket.AF_UNIX, address.path))
        else:
            for family, place in await _places(address):
                sockets.append(_listening(family, place))
    except OSError as error:
        for opened in sockets:
            opened.close()
        raise ListenFailed(f"cannot listen on {listen}: {error.strerror or error}") from error
    return sockets


async def _places(address: ListenAddress) -> list[tuple[int, Any]]:
    found = await asyncio.get_running_loop().getaddrinfo(
        address.host or None,
        address.port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE,
    )
    return list(dict.fromkeys((entry[0], entry[4]) for entry in found))


def _listening(family: int, place: object) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setblocking(False)
        if family != socket.AF_UNIX:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(cast("Any", place))
        opened.listen(BACKLOG)
    except BaseException:
        opened.close()
        raise
    return opened


def remove_socket_file(listen: str) -> None:
    """Remove the file of a Unix socket, if ``listen`` names one."""
    path = parse_listen(listen).path
    if path:
        Path(path).unlink(missing_ok=True)


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
