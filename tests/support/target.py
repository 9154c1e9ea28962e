"""A database server of sessions in memory, on a real socket; the event loop of the test runs it."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import TYPE_CHECKING

from tests.support import messages as wire
from tests.support.fake_postgres import Database, FakePostgres, data_row, error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Session(FakePostgres):
    """A session that also tells how many connections the server allows."""

    def _select(self, sql: str, protocol: str) -> None:
        if "max_connections" not in sql:
            super()._select(sql, protocol)
            return
        self._output += data_row("10", "2", "1") + wire.message("C", wire.text("SELECT 1"))


class FakeTarget:
    """The server. It lets everybody in who knows ``password``; none is asked for if empty."""

    def __init__(self) -> None:
        self.port = 0
        self.password = ""
        self.refusal = b""
        """An ErrorResponse for whoever logs in."""
        self.silent = False
        """Takes connections and says nothing."""
        self.stays = False
        """Does not close when told goodbye."""
        self.logins = 0
        """Start-up messages received."""
        self.passwords: list[str] = []
        self.cancels: list[int] = []
        """Process ids in the cancel requests received."""
        self.connections: list[Served] = []
        """Those that are open, logged in or not."""
        self.database = Database()


class Served(asyncio.Protocol):
    """One connection to the server."""

    transport: asyncio.Transport

    def __init__(self, target: FakeTarget) -> None:
        self.target = target
        self.session: Session | None = None
        self.process_id = 0
        self.asked = False
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.target.connections.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.target.connections.remove(self)

    def data_received(self, data: bytes) -> None:
        if self.session is not None:
            self.say(self.session.receive(data))
            if self.session.closed and not self.target.stays:
                self.transport.close()
            return
        self._buffer += data
        if self.target.silent:
            return
        size = 5 if self.asked else 4
        while len(self._buffer) >= size:
            (length,) = struct.unpack_from("!I", self._buffer, size - 4)
            if len(self._buffer) < length + size - 4:
                return
            payload = self._buffer[size : length + size - 4]
            self._buffer = self._buffer[length + size - 4 :]
            self._begin(payload)
            size = 5 if self.asked else 4

    def say(self, data: bytes) -> None:
        """Send to the client."""
        if data:
            self.transport.write(data)

    def _begin(self, payload: bytes) -> None:
        target = self.target
        (code,) = struct.unpack_from("!I", payload)
        if self.asked:
            target.passwords.append(payload[:-1].decode())
            self._admit(payload[:-1].decode() == target.password)
        elif code == wire.SSL_CODE:
            self.say(b"N")
        elif code == wire.CANCEL_CODE:
            self._cancel(*struct.unpack_from("!I", payload, 4))
        else:
            target.logins += 1
            self.process_id = target.logins
            if target.refusal:
                self.say(target.refusal)
                self.transport.close()
            elif target.password:
                self.asked = True
                self.say(wire.message("R", struct.pack("!I", 3)))
            else:
                self._admit(True)

    def _admit(self, welcome: bool) -> None:
        if not welcome:
            self.say(error("28P01", "password authentication failed", "FATAL"))
            self.transport.close()
            return
        self.session = Session(self.target.database)
        told = (wire.text(n) + wire.text(v) for n, v in self.session.reported().items())
        self.say(
            wire.message("R", struct.pack("!I", 0))
            + b"".join(wire.message("S", status) for status in told)
            + wire.message("K", struct.pack("!II", self.process_id, 77))
            + wire.message("Z", b"I")
        )

    def _cancel(self, process_id: int) -> None:
        self.target.cancels.append(process_id)
        for other in self.target.connections:
            if other.process_id == process_id and other.session is not None:
                other.say(other.session.wake(cancelled=True))
        self.transport.close()


@contextlib.asynccontextmanager
async def running_target() -> AsyncIterator[FakeTarget]:
    """Run a server on a port of loopback."""
    target = FakeTarget()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Served(target), "127.0.0.1", 0)
    target.port = server.sockets[0].getsockname()[1]
    try:
        yield target
    finally:
        server.close()
        for connection in list(target.connections):
            connection.transport.abort()
        await server.wait_closed()
