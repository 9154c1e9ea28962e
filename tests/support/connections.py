"""Connections, served and dialled, on whatever event loop runs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from proxy.net.conversation import ConversationProtocol
from proxy.wire.steps import Read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from proxy.wire.steps import Conversation

Run = Callable[[Coroutine[Any, Any, None]], None]
"""The ``run`` fixture."""


class Served:
    """A listening socket, and what came of serving its connections."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.outcomes: asyncio.Queue[Any] = asyncio.Queue()
        self.connections: list[ConversationProtocol] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def outcome(self) -> Any:  # noqa: ANN401
        """Give the next result, or raise the next error."""
        found = await self.outcomes.get()
        if isinstance(found, BaseException):
            raise found
        return found


@contextlib.asynccontextmanager
async def serving(
    serve: Callable[[ConversationProtocol], Awaitable[Any]], path: str = ""
) -> AsyncIterator[Served]:
    """Serve every connection with a coroutine."""
    loop = asyncio.get_running_loop()
    served = Served(0)

    async def attend(connection: ConversationProtocol) -> None:
        try:
            served.outcomes.put_nowait(await serve(connection))
        except Exception as error:
            served.outcomes.put_nowait(error)

    def connected(connection: ConversationProtocol) -> None:
        served.connections.append(connection)
        served.tasks.add(loop.create_task(attend(connection)))

    def protocol() -> ConversationProtocol:
        return ConversationProtocol(connected)

    if path:
        server = await loop.create_unix_server(protocol, path)
    else:
        server = await loop.create_server(protocol, "127.0.0.1", 0)
        served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        for connection in served.connections:
            connection.abort()
        for task in served.tasks:
            task.cancel()
        await asyncio.gather(*served.tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def dialled(port: int) -> AsyncIterator[ConversationProtocol]:
    """Connect, with the driver on our side too."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(ConversationProtocol, "127.0.0.1", port)
    try:
        yield connection
    finally:
        connection.abort()


@contextlib.asynccontextmanager
async def raw(port: int) -> AsyncIterator[socket.socket]:
    """Connect with a bare socket (use ``sock_sendall`` and ``sock_recv``)."""
    with socket.socket() as client:
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
        yield client


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something holds."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


def reading(*sizes: int) -> Conversation[list[bytes]]:
    """Read so many bytes, again and again."""
    found = []
    for size in sizes:
        found.append((yield Read(size)))  # noqa: PERF401
    return found


class Successor(asyncio.Protocol):
    """A protocol that notes what it is told."""

    def __init__(self) -> None:
        self.data = b""
        self.lost = asyncio.get_running_loop().create_future()
        self.heard = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.heard.set()

    def connection_lost(self, exc: Exception | None) -> None:
        assert not self.lost.done(), "told twice"
        self.lost.set_result(exc)
