"""The driver that runs conversations over asyncio transports, uvloop's included.

A connection is a ``ConversationProtocol`` while it talks; then the hot path takes the transport
over (``hand_over``). Bytes are buffered up to a cap, beyond which reading pauses.

TLS starts at once on the answer to a request for it, without a turn of the event loop in between,
so that no byte of the handshake can be taken for clear text. Where the handshake begins unasked
(direct TLS, MySQL), its first bytes have been read already and are handed to the TLS protocol ahead
of anything else.
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from proxy.errors import ClientProtocolError, ProtocolError, ProxyError, ServerProtocolError
from proxy.net.runtime import spawn
from proxy.wire.steps import Command, Conversation, InThread, Read, Send, StartTls, TlsFacts

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Coroutine

T = TypeVar("T")

BUFFER_BYTES: Final = 65536
"""Bytes received ahead of what the conversation asks for; then reading pauses."""
HANDSHAKE_S: Final = 60.0
"""Seconds a TLS handshake may take; the caller's own deadline is usually shorter."""
TLS_SHUTDOWN_S: Final = 5.0
"""Seconds to wait for the peer's part of closing TLS."""


class ConversationProtocol(asyncio.Protocol):
    """One connection, client's or server's, while conversations run on it.

    ``connected`` is called with this object once the connection is there.
    """

    transport: asyncio.Transport

    def __init__(self, connected: Callable[[ConversationProtocol], None] | None = None) -> None:
        self._connected = connected
        self._buffer = bytearray()
        self._wanted = 0
        self._paused = False
        self._ended = False
        self._lost: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._gone = False
        self._talked = False
        self._successor: asyncio.Protocol | None = None
        self.peername: object = None
        """``(host, port, ...)``; "" on a Unix socket; ``None`` if the peer was gone at once."""
        self.is_unix = False

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = cast("asyncio.Transport", transport)
        opened = transport.get_extra_info("socket")
        self.is_unix = opened is not None and opened.family == socket.AF_UNIX
        self.peername = "" if self.is_unix else transport.get_extra_info("peername")
        if self._connected is not None:
            self._connected(self)

    def data_received(self, data: bytes) -> None:
        """Keep what arrived, up to the cap."""
        if self._successor is not None:
            self._successor.data_received(data)
            return
        self._buffer += data
        if len(self._buffer) > max(BUFFER_BYTES, self._wanted) and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        if len(self._buffer) >= self._wanted:
            self._wake()

    def eof_received(self) -> bool | None:
        """The peer sends no more; close."""
        if self._successor is not None:
            return self._successor.eof_received()
        self._end(None)
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if self._successor is not None:
            self._successor.connection_lost(exc)
            return
        self._gone = True
        self._end(exc)

    def pause_writing(self) -> None:
        """Pass the news on to a successor; a conversation sends little."""
        if self._successor is not None:
            self._successor.pause_writing()

    def resume_writing(self) -> None:
        """Pass the news on to a successor."""
        if self._successor is not None:
            self._successor.resume_writing()

    def _end(self, exc: Exception | None) -> None:
        self._ended = True
        self._lost = self._lost or exc
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # Used by whoever owns the connection.

    @property
    def is_closed(self) -> bool:
        """Whether the peer has closed its side, or the connection is gone."""
        return self._ended

    async def first_byte(self) -> int:
        """Wait for the first byte and leave it unread. Raises ``EOFError``, ``OSError``."""
        await self._fill(1)
        return self._buffer[0]

    async def closed(self) -> None:
        """Wait until the peer closes its side or the connection is gone; discards what it sends."""
        while not self._ended:
            self._buffer.clear()
            self._resume()
            self._wanted = 1
            await self._wait()

    def send(self, data: bytes) -> None:
        """Send bytes, unless the connection is closing."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def close(self) -> None:
        """Close once everything is sent."""
        self.transport.close()

    def abort(self) -> None:
        """Close now."""
        self.transport.abort()

    def hand_over(self, protocol: asyncio.Protocol) -> bytes:
        """Let another protocol have the transport from now on; give the bytes left unread.

        The successor learns of the end even if the connection ended before. ``connection_made`` is
        not called on it.
        """
        leftover = bytes(self._buffer)
        self._buffer.clear()
        self._successor = protocol
        self.transport.set_protocol(protocol)
        self._resume()
        if self._gone:
            asyncio.get_running_loop().call_soon(protocol.connection_lost, self._lost)
        return leftover

    async def run(
        self,
        conversation: Conversation[T],
        *,
        context: ssl.SSLContext | None = None,
        server_side: bool = False,
        server_hostname: str | None = None,
        own_certificate: bytes = b"",
        fetch: Callable[[Any], Awaitable[Any]] | None = None,
    ) -> T:
        """Run a conversation to its end and give what it returns.

        ``context``, ``server_side``, ``server_hostname`` and ``own_certificate`` (DER) serve
        ``StartTls``; ``fetch`` answers ``Fetch`` and ``FetchTarget``. Errors of a step are raised
        into the conversation first. Raises what it lets through: ``ProxyError``, ``EOFError``,
        ``OSError``.
        """
        tls = partial(self._start_tls, context, server_side, server_hostname, own_certificate)
        step: Callable[[], Command] = partial(conversation.send, None)
        try:
            while True:
                try:
                    command = step()
                except StopIteration as end:
                    result: T = end.value
                    return result
                try:
                    answer = await self._execute(command, tls, fetch, server_side=server_side)
                except (EOFError, OSError, ProxyError) as error:
                    step = partial(conversation.throw, error)
                else:
                    step = partial(conversation.send, answer)
        finally:
            conversation.close()

    # Steps.

    async def _execute(
        self,
        command: Command,
        tls: Callable[[StartTls], Awaitable[TlsFacts]],
        fetch: Callable[[Any], Awaitable[Any]] | None,
        *,
        server_side: bool,
    ) -> object:
        if isinstance(command, Read):
            self._talked = True
            return await self._read(command.size_bytes, server_side=server_side)
        if isinstance(command, Send):
            self._talked = True
            self.send(command.data)
            return None
        if isinstance(command, StartTls):
            return await tls(command)
        if isinstance(command, InThread):
            return await asyncio.to_thread(command.work)
        if fetch is None:
            raise TypeError("this conversation fetches, and nothing was given to fetch with")
        return await fetch(command)

    async def _read(self, size_bytes: int, *, server_side: bool) -> bytes:
        try:
            await self._fill(size_bytes)
        except EOFError:
            if not self._buffer:
                raise
            raise _blame(server_side)("connection closed in the middle of a message") from None
        data = bytes(self._buffer[:size_bytes])
        del self._buffer[:size_bytes]
        return data

    async def _fill(self, size_bytes: int) -> None:
        """Wait until so many bytes are buffered. Raises ``EOFError``, ``OSError``."""
        while len(self._buffer) < size_bytes:
            if isinstance(self._lost, OSError):
                raise self._lost
            if self._ended:
                raise EOFError("connection closed by the peer")
            self._wanted = size_bytes
            self._resume()
            await self._wait()
        self._wanted = 0

    async def _wait(self) -> None:
        """Wait until ``_wake``."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self.transport.resume_reading()

    async def _start_tls(
        self,
        context: ssl.SSLContext | None,
        server_side: bool,
        server_hostname: str | None,
        own_certificate: bytes,
        command: StartTls,
    ) -> TlsFacts:
        if context is None:
            raise TypeError("this conversation starts TLS, and no context was given")
        begun = command.begun or not self._talked
        direct = bool(self._buffer) and server_side and begun
        if self._buffer and not direct:
            raise _blame(server_side)("received unencrypted data after SSL request")
        if self._ended:
            raise EOFError("connection closed by the peer")
        if command.alpn:
            context.set_alpn_protocols(list(command.alpn))
        loop = asyncio.get_running_loop()
        handshake = loop.start_tls(
            self.transport,
            self,
            context,
            server_side=server_side,
            server_hostname=server_hostname,
            ssl_handshake_timeout=HANDSHAKE_S,
            ssl_shutdown_timeout=TLS_SHUTDOWN_S,
        )
        try:
            upgraded = await (self._feed_handshake(handshake) if direct else handshake)
        except BaseException:
            # The transport tells only the TLS protocol that it is gone.
            self.transport.abort()
            self._end(None)
            raise
        self._paused = False
        if upgraded is None:
            raise EOFError("connection closed by the peer")
        self.transport = upgraded
        return _facts(upgraded, own_certificate)

    async def _feed_handshake(
        self, handshake: Coroutine[Any, Any, asyncio.Transport | None]
    ) -> asyncio.Transport | None:
        """Run a handshake whose beginning has been received already.

        ``start_tls`` schedules, in its first step, that its protocol is told of the transport and
        that reading resumes. What has been received must come right behind those two, before the
        event loop looks at the socket again: so ``feed`` must be scheduled in the same turn.
        """
        loop = asyncio.get_running_loop()
        raw = self.transport

        def feed() -> None:
            early = bytes(self._buffer)
            self._buffer.clear()
            protocol = raw.get_protocol()
            if protocol is not self:
                loop.call_soon(_feed, cast("asyncio.BufferedProtocol", protocol), early)

        task = spawn(handshake, "direct tls")
        loop.call_soon(feed)
        return await task


def _feed(protocol: asyncio.BufferedProtocol, data: bytes) -> None:
    """Hand bytes to a protocol as a transport would."""
    left = memoryview(data)
    while left:
        space = memoryview(protocol.get_buffer(len(left)))
        size = min(len(space), len(left))
        space[:size] = left[:size]
        protocol.buffer_updated(size)
        left = left[size:]


def _facts(transport: asyncio.Transport, own_certificate: bytes) -> TlsFacts:
    connection = transport.get_extra_info("ssl_object")
    cipher = connection.cipher() if connection is not None else None
    if cipher is None:
        raise EOFError("connection closed by the peer")
    return TlsFacts(
        version=connection.version() or "",
        cipher=cipher[0],
        peer_certificate=connection.getpeercert(binary_form=True) or b"",
        own_certificate=own_certificate,
        alpn=connection.selected_alpn_protocol() or "",
    )


def _blame(server_side: bool) -> type[ProtocolError]:
    return ClientProtocolError if server_side else ServerProtocolError
