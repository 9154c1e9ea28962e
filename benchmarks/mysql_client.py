"""A MySQL client that does as little as a client can, as ``benchmarks.client`` is for PostgreSQL.

It follows MySQL's source documentation, "Connection Lifecycle" and "Text Resultset". Where a server
has not cached the password, or a proxy wants to know it, caching_sha2_password asks for the
password itself: through TLS as it is, otherwise encrypted with the server's RSA key.
"""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

from benchmarks.client import Refused
from tests.support import mysql_messages as wire

if TYPE_CHECKING:
    import ssl

_CAPABILITIES = wire.BASE | wire.WITH_DB | wire.DEPRECATE_EOF
_COLLATION = 45
"""utf8mb4_general_ci, which MySQL and MariaDB both have."""
_MORE_DATA, _SWITCH = 0x01, 0xFE
_FULL_AUTHENTICATION = b"\x04"
_REQUEST_KEY = b"\x02"


def error_text(payload: bytes) -> str:
    """Return number and message of an ERR packet."""
    # Ahead of the login there is no SQLSTATE in it.
    words = payload[9:] if payload[3:4] == b"#" else payload[3:]
    return f"{int.from_bytes(payload[1:3], 'little')} {words.decode(errors='replace')}"


class MysqlClient:
    """One connection, whose greeting has been read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._greeting: wire.Greeting | None = None
        self._encrypted = False
        self._sequence = 0

    async def _packet(self) -> bytes:
        head = await self._reader.readexactly(4)
        payload = await self._reader.readexactly(int.from_bytes(head[:3], "little"))
        self._sequence = head[3] + 1 & 0xFF
        if payload[:1] == b"\xff":
            raise Refused(error_text(payload))
        return payload

    def _send(self, payload: bytes) -> None:
        self._writer.write(wire.packets(payload, self._sequence))
        self._sequence += 1

    def _head(self, capabilities: int) -> bytes:
        return struct.pack("<IIB23x", capabilities, 1 << 24, _COLLATION)

    async def greeted(self) -> None:
        """Read what the server says first. Raises ``Refused``."""
        self._greeting = wire.read_greeting(await self._packet())

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Ask for TLS and begin it."""
        self._send(self._head(_CAPABILITIES | wire.SSL))
        await self._writer.start_tls(context, server_hostname="localhost")
        self._encrypted = True

    async def login(self, user: str, password: str, database: str) -> None:
        """Log in. Raises ``Refused``, ``OSError`` or ``IncompleteReadError``."""
        assert self._greeting is not None
        plugin, salt = self._greeting.plugin, self._greeting.salt
        flags = _CAPABILITIES | (wire.SSL if self._encrypted else 0)
        answer = wire.scramble(plugin, password, salt)
        self._send(
            self._head(flags)
            + user.encode()
            + b"\0"
            + bytes([len(answer)])
            + answer
            + database.encode()
            + b"\0"
            + plugin.encode()
            + b"\0"
        )
        while (payload := await self._packet())[0] != 0:
            if payload[0] == _SWITCH:
                name, _, salt = payload[1:].partition(b"\0")
                salt = salt[:20]
                self._send(wire.scramble(name.decode(), password, salt))
            elif payload[0] == _MORE_DATA:
                self._more_data(payload[1:], password, salt)

    def _more_data(self, data: bytes, password: str, salt: bytes) -> None:
        if data == _FULL_AUTHENTICATION:
            self._send(password.encode() + b"\0" if self._encrypted else _REQUEST_KEY)
        elif data.startswith(b"-----BEGIN"):
            self._send(wire.encrypted(password, salt, data))

    async def query(self, message: bytes) -> None:
        """Send a COM_QUERY packet and wait for the end of its reply: OK, or rows behind columns."""
        self._writer.write(message)
        columns = await self._packet()
        if columns[0] == 0:
            return
        for _ in range(columns[0]):
            await self._packet()
        # The OK packet that ends rows looks like a row that begins with a value of 16 MiB.
        while (await self._packet())[0] != 0xFE:
            pass

    @property
    def port(self) -> int:
        """Its own TCP port."""
        own: tuple[str, int] = self._writer.get_extra_info("sockname")
        return own[1]

    def vanish(self) -> None:
        """Be gone without a word to the protocol."""
        self._writer.transport.abort()


async def connect(port: int, context: ssl.SSLContext | None) -> MysqlClient:
    """Open a connection and read its greeting, with TLS if there is a context."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = MysqlClient(reader, writer)
    try:
        await client.greeted()
        if context is not None:
            await client.start_tls(context)
    except BaseException:
        client.vanish()
        raise
    return client


def query(sql: str) -> bytes:
    """Encode COM_QUERY."""
    return wire.packets(bytes([wire.QUERY]) + sql.encode())
