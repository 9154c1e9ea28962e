"""A raw PostgreSQL client on a blocking socket: it sends what it is told, legal or not."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import socket
import ssl
import struct
import time
from typing import TYPE_CHECKING

from tests.support import messages as wire
from tests.support.messages import Message
from tests.support.servers import ROLES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

TIMEOUT_S = 15.0


class Closed(Exception):
    """The peer closed the connection where a message should have come."""


def _salted(password: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, "sha256").digest()


def tls_context(authority: Path | None = None) -> ssl.SSLContext:
    """Make a client context that offers ALPN ``postgresql``; without an authority it trusts all."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["postgresql"])
    if authority is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(authority)
    return context


class WireClient:
    """A connection that speaks in messages; every wait ends after ``timeout_s``."""

    def __init__(self, host: str, port: int, timeout_s: float = TIMEOUT_S) -> None:
        """Connect over TCP, or to the Unix socket of a folder ``host``."""
        if host.startswith("/"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout_s)
            self.socket.connect(f"{host}/.s.PGSQL.{port}")
        else:
            self.socket = socket.create_connection((host, port), timeout=timeout_s)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.last_payload = b""
        self.pid = 0
        self.key = b""
        self.parameters: dict[str, str] = {}

    def __enter__(self) -> WireClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close without a Terminate."""
        self.socket.close()

    def reset(self) -> None:
        """Close with a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def quit(self) -> None:
        """Send Terminate and wait until the peer has closed."""
        self.send(wire.TERMINATE)
        assert self.drain() == []
        self.close()

    def send(self, *data: bytes) -> None:
        """Send bytes, all in one write."""
        self.socket.sendall(b"".join(data))

    def _fill(self) -> None:
        data = self.socket.recv(262144)
        if not data:
            raise Closed(f"closed, {len(self.buffer)} bytes of a message left")
        self.buffer += data

    def read_bytes(self, size: int) -> bytes:
        """Read exactly so many bytes."""
        while len(self.buffer) < size:
            self._fill()
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def read(self) -> Message:
        """Read one message. Raises ``Closed`` at the end, ``TimeoutError`` when none comes."""
        while len(self.buffer) < 5:
            self._fill()
        size = int.from_bytes(self.buffer[1:5])
        while len(self.buffer) < size + 1:
            self._fill()
        code = chr(self.buffer[0])
        self.last_payload = bytes(self.buffer[5 : size + 1])
        del self.buffer[: size + 1]
        return Message(code, self.last_payload)

    def read_until(self, code: str = "Z", count: int = 1) -> list[Message]:
        """Read messages up to and with the ``count``-th whose type is one of ``code``."""
        got: list[Message] = []
        while count:
            got.append(self.read())
            count -= got[-1].code in code
        return got

    def drain(self) -> list[Message]:
        """Read messages until the peer closes."""
        got: list[Message] = []
        with contextlib.suppress(Closed, ConnectionResetError):
            while True:
                got.append(self.read())
        return got

    def silent(self, seconds: float = 0.3) -> bool:
        """Say whether the peer sends nothing for so long."""
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            self._fill()
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(before)
        return False

    def start_tls(self, context: ssl.SSLContext, *, direct: bool = False) -> None:
        """Upgrade to TLS by SSLRequest, or directly."""
        if not direct:
            self.send(wire.SSL_REQUEST)
            assert self.read_bytes(1) == b"S"
        assert not self.buffer
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")

    def login(
        self,
        user: str = "app",
        database: str = "app",
        *,
        password: str | None = None,
        protocol: int = wire.PROTOCOL_3_0,
        parameters: dict[str, str] | None = None,
    ) -> list[Message]:
        """Send a StartupMessage and log in; gives the messages up to ReadyForQuery or an error."""
        every = {"user": user, "database": database, **(parameters or {})}
        self.send(wire.startup(every, protocol))
        return self.authenticate(user, password)

    def authenticate(self, user: str = "app", password: str | None = None) -> list[Message]:
        """Answer the authentication and keep what the server tells about itself."""
        secret = ROLES[user].password if password is None else password
        got: list[Message] = []
        while not got or got[-1].code not in "ZE":
            message = self.read()
            got.append(message)
            if message.code == "R":
                self._answer(message.payload, user, secret)
            elif message.code == "S":
                name, value = message.payload.decode().split("\0")[:2]
                self.parameters[name] = value
            elif message.code == "K":
                (self.pid,), self.key = (
                    struct.unpack("!I", message.payload[:4]),
                    message.payload[4:],
                )
        return got

    def _answer(self, payload: bytes, user: str, password: str) -> None:
        (kind,) = struct.unpack_from("!I", payload)
        if kind == 3:
            self.send(wire.message("p", wire.text(password)))
        elif kind == 5:
            inner = hashlib.md5(password.encode() + user.encode()).hexdigest().encode()
            digest = hashlib.md5(inner + payload[4:8]).hexdigest()
            self.send(wire.message("p", wire.text("md5" + digest)))
        elif kind == 10:
            self._scram(payload, password)
        else:
            assert kind in (0, 12), f"authentication {kind}"

    def _scram(self, payload: bytes, password: str) -> None:
        """RFC 5802 without channel binding."""
        assert b"SCRAM-SHA-256\0" in payload
        first = b"n=,r=" + base64.b64encode(os.urandom(18))
        hello = wire.text("SCRAM-SHA-256") + struct.pack("!I", len(first) + 3) + b"n,," + first
        self.send(wire.message("p", hello))
        reply = self.read()
        if reply.code == "E":
            # The caller reads it next, as it would any refusal.
            self.buffer[:0] = wire.message("E", reply.payload)
            return
        challenge = reply.payload[4:]
        parts = dict(item.split(b"=", 1) for item in challenge.split(b","))
        bare = b"c=biws,r=" + parts[b"r"]
        salted = _salted(password, base64.b64decode(parts[b"s"]), int(parts[b"i"]))
        client_key = _mac(salted, b"Client Key")
        signed = first + b"," + challenge + b"," + bare
        signature = _mac(hashlib.sha256(client_key).digest(), signed)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self.send(wire.message("p", bare + b",p=" + base64.b64encode(proof)))

    def exchange(self, *data: bytes, count: int = 1) -> list[Message]:
        """Send and read up to the ``count``-th ReadyForQuery."""
        self.send(*data)
        return self.read_until("Z", count)

    def query(self, sql: str) -> list[Message]:
        """Run SQL by the simple protocol and give the reply."""
        return self.exchange(wire.query(sql))

    def value(self, sql: str) -> str:
        """Run a query by the simple protocol and give its single value as text."""
        reply = self.query(sql)
        found = wire.rows(reply)
        assert len(found) == 1, (sql, reply)
        assert found[0][0] is not None, (sql, reply)
        return found[0][0].decode()


def connect(host: str, port: int, user: str = "app", database: str = "app") -> WireClient:
    """Connect and log in."""
    client = WireClient(host, port)
    try:
        reply = client.login(user, database)
        assert reply[-1].code == "Z", reply
    except BaseException:
        client.close()
        raise
    return client


def cancel(host: str, port: int, pid: int, key: bytes) -> None:
    """Send a CancelRequest and wait until the peer has closed."""
    with WireClient(host, port) as client:
        client.send(wire.cancel(pid, key))
        # PostgreSQL never answers; an error about a malformed request does no harm.
        assert wire.codes(client.drain()) in ("", "E")


def stuff(connection: socket.socket, data: bytes) -> tuple[int, bool]:
    """Send the same over and over; how many bytes were taken, and whether they stopped to be.

    Gives up after 10 seconds.
    """
    connection.setblocking(False)
    sent = refused = 0
    deadline = time.monotonic() + 10
    while refused < 20 and time.monotonic() < deadline:
        try:
            sent += connection.send(data[sent % len(data) :])
            refused = 0
        except BlockingIOError:
            refused += 1
            time.sleep(0.05)
    return sent, refused == 20


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
    """Poll until ``condition()`` is true; for what only the server's own tables can tell."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not {what} after {timeout_s} s"
        time.sleep(0.02)
