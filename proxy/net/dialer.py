"""Opens connections to a target: to serve from, and to deliver cancel requests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import select
import socket
import struct
from typing import TYPE_CHECKING, Any, Final

from proxy.errors import ConnectFailed, ProxyError
from proxy.net.conversation import ConversationProtocol

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from proxy.config.model import TargetConfig
    from proxy.wire.dialect import Dialect, ServerFacts, ServerPlan, ServerSession
    from proxy.wire.steps import Conversation

BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MOST_S: Final = 10.0
CANCEL_S: Final = 10.0
"""Seconds a cancel request may take to be delivered."""


def backoff_s(failures: int) -> float:
    """Seconds to leave a server alone after so many failed attempts in a row, with jitter."""
    delay_s = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2.0 ** min(failures, 10))
    jitter = random.uniform(0.8, 1.2)  # noqa: S311
    return delay_s * jitter


class Dialer:
    """Opens connections to one target."""

    def __init__(
        self, target: TargetConfig, dialect: Dialect, context: ssl.SSLContext | None
    ) -> None:
        self.target = target
        self.dialect = dialect
        self.name = f"{target.host}:{self.port}"
        self._context = context

    @property
    def port(self) -> int:
        """The port in use."""
        return self.target.port or self.dialect.default_port

    async def connect(self) -> ConversationProtocol:
        """Open a socket to the target. Raises ``ConnectFailed``."""
        loop = asyncio.get_running_loop()
        target = self.target
        try:
            if target.host.startswith("/"):
                path = self.dialect.socket_path(target.host, self.port)
                _, protocol = await loop.create_unix_connection(ConversationProtocol, path)
            else:
                _, protocol = await loop.create_connection(
                    ConversationProtocol, target.host, self.port
                )
        except (OSError, UnicodeError) as error:
            # A host name that IDNA cannot encode is a UnicodeError.
            reason = getattr(error, "strerror", "") or str(error) or type(error).__name__
            raise ConnectFailed(
                f"could not connect to database server {self.name}: {reason}", detail=repr(error)
            ) from error
        return protocol

    async def open(
        self, plan: ServerPlan, warm_up: Callable[[ServerSession], Conversation[ServerFacts]]
    ) -> tuple[ConversationProtocol, ServerSession, ServerFacts]:
        """Open, log in and warm up a connection within ``connect_timeout_s``.

        ``warm_up`` makes what is run once the connection has logged in (``Dialect.warm_up``).
        Raises ``ConnectFailed``, ``ServerRefused``, ``ServerProtocolError``.
        """
        connection: ConversationProtocol | None = None
        try:
            async with asyncio.timeout(self.target.connect_timeout_s):
                connection = await self.connect()
                session = await self._run(connection, self.dialect.log_in(plan))
                facts = await self._run(connection, warm_up(session))
        except TimeoutError as error:
            if connection is not None:
                connection.abort()
            raise self._silent() from error
        except BaseException:
            if connection is not None:
                connection.abort()
            raise
        return connection, session, facts

    async def learn_target(self, plan: ServerPlan | None) -> Any:
        """Ask a server what it says of itself. Raises ``ConnectFailed``, ``ServerRefused``."""
        try:
            async with asyncio.timeout(self.target.connect_timeout_s):
                connection = await self.connect()
                try:
                    return await self._run(connection, self.dialect.learn_target(plan))
                finally:
                    connection.close()
        except TimeoutError as error:
            raise self._silent() from error

    async def cancel(self, request: bytes, *, tls: bool, plan: ServerPlan | None = None) -> None:
        """Deliver a cancel request and wait until the server has taken it."""
        try:
            async with asyncio.timeout(CANCEL_S):
                connection = await self.connect()
                try:
                    conversation = self.dialect.cancel(request, plan, tls=tls)
                    await self._run(connection, conversation)
                finally:
                    connection.abort()
        except (TimeoutError, ProxyError, OSError):
            # Nobody waits for an answer to a cancel request, and the protocol has none.
            return

    def _silent(self) -> ConnectFailed:
        return ConnectFailed(
            f"database server {self.name} did not answer within "
            f"{self.target.connect_timeout_s:g} seconds"
        )

    async def _run(self, connection: ConversationProtocol, conversation: Any) -> Any:
        try:
            return await connection.run(
                conversation, context=self._context, server_hostname=self.target.host
            )
        except OSError as error:
            raise ConnectFailed(
                f"connection to database server {self.name} failed: {error}", detail=repr(error)
            ) from error
        except EOFError as error:
            raise ConnectFailed(
                f"database server {self.name} closed the connection during login"
            ) from error


def poller(transport: Any) -> Any:
    """Return ``poll`` for a transport's socket, or ``None`` where there is no such thing."""
    connection = transport.get_extra_info("socket")
    if connection is None or not hasattr(select, "poll"):
        return None
    watch = select.poll()
    watch.register(connection.fileno(), select.POLLIN)
    return watch.poll


def reset(transport: Any) -> None:
    """Close a transport's connection by a TCP reset, so that the peer's next write fails.

    An ordinary close lets one more write through, behind which the peer may run a long query.
    """
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        # Event loops give sockets that cannot be configured: the option is set through a twin.
        with (
            contextlib.suppress(OSError),
            socket.socket(fileno=os.dup(connection.fileno())) as twin,
        ):
            twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
