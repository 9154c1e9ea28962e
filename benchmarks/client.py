"""A PostgreSQL client that does as little as a client can: the generator must not be what is slow.

It follows https://www.postgresql.org/docs/current/protocol-message-formats.html and RFC 5802.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import hmac
import os
import struct
from typing import TYPE_CHECKING

from tests.support import messages as wire

if TYPE_CHECKING:
    import ssl


class Refused(Exception):
    """The server or the proxy answered with an error: its SQLSTATE and message."""


@functools.lru_cache(maxsize=16)
def _salted(password: bytes, salt: bytes, rounds: int) -> bytes:
    """Derive the salted password; once, as real environments do it on machines of their own."""
    return hashlib.pbkdf2_hmac("sha256", password, salt, rounds)


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def error_text(payload: bytes) -> str:
    """Return SQLSTATE and message of an ErrorResponse."""
    fields = {part[:1]: part[1:].decode(errors="replace") for part in payload.split(b"\0") if part}
    return f"{fields.get(b'C', '')} {fields.get(b'M', '')}".strip()


class Scram:
    """The client's side of SCRAM-SHA-256 without channel binding."""

    def __init__(self, password: str, nonce: bytes) -> None:
        self._password = password.encode()
        self._first = b"n=,r=" + nonce

    def hello(self) -> bytes:
        """Return the SASLInitialResponse."""
        first = b"n,," + self._first
        name = b"SCRAM-SHA-256\0"
        return wire.message("p", name + struct.pack("!I", len(first)) + first)

    def proof(self, challenge: bytes) -> bytes:
        """Return the SASLResponse to the server's first message."""
        parts = dict(item.split(b"=", 1) for item in challenge.split(b","))
        bare = b"c=biws,r=" + parts[b"r"]
        salt, rounds = base64.b64decode(parts[b"s"]), int(parts[b"i"])
        salted = _salted(self._password, salt, rounds)
        client_key = _mac(salted, b"Client Key")
        stored = hashlib.sha256(client_key).digest()
        signature = _mac(stored, self._first + b"," + challenge + b"," + bare)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return wire.message("p", bare + b",p=" + base64.b64encode(proof))


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def _message(self) -> tuple[int, bytes]:
        head = await self._reader.readexactly(5)
        payload = await self._reader.readexactly(int.from_bytes(head[1:]) - 4)
        if head[0] == ord("E"):
            raise Refused(error_text(payload))
        return head[0], payload

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Ask for TLS and begin it. Raises ``Refused`` where there is none."""
        self._writer.write(wire.SSL_REQUEST)
        if await self._reader.readexactly(1) != b"S":
            raise Refused("no TLS")
        await self._writer.start_tls(context, server_hostname="localhost")

    async def login(self, user: str, password: str, database: str) -> None:
        """Log in. Raises ``Refused``, ``OSError`` or ``IncompleteReadError``."""
        self._writer.write(wire.startup({"user": user, "database": database}))
        scram = Scram(password, base64.b64encode(os.urandom(18)))
        while True:
            code, payload = await self._message()
            if code == ord("Z"):
                return
            if code == ord("R"):
                (kind,) = struct.unpack_from("!I", payload)
                if kind == 10:
                    self._writer.write(scram.hello())
                elif kind == 11:
                    self._writer.write(scram.proof(payload[4:]))

    async def query(self, message: bytes) -> None:
        """Send a Query message and wait for the end of its reply."""
        self._writer.write(message)
        while (await self._message())[0] != ord("Z"):
            pass

    @property
    def port(self) -> int:
        """Its own TCP port."""
        own: tuple[str, int] = self._writer.get_extra_info("sockname")
        return own[1]

    def vanish(self) -> None:
        """Be gone without a word to the protocol."""
        self._writer.transport.abort()


async def connect(port: int, context: ssl.SSLContext | None) -> Client:
    """Open a connection, with TLS if there is a context."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = Client(reader, writer)
    try:
        if context is not None:
            await client.start_tls(context)
    except BaseException:
        client.vanish()
        raise
    return client
