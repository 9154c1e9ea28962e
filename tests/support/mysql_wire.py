"""A raw MySQL client on a blocking socket: every packet of every reply, with its sequence id."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from tests.support import mysql_messages as wire
from tests.support.mysql_messages import Greeting, Packet

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

TIMEOUT_S = 15.0
ANSWERED_BY_ONE = {
    wire.INIT_DB,
    wire.STATISTICS,
    wire.PING,
    wire.RESET,
    wire.SET_OPTION,
    wire.DEBUG,
    wire.RESET_CONNECTION,
}
UNANSWERED = {wire.CLOSE, wire.LONG_DATA, wire.QUIT}


class Closed(Exception):
    """The peer closed the connection where a packet should have come."""


class Refused(Exception):
    """The peer answered with an ERR packet; carries its code and message."""

    def __init__(self, packet: Packet) -> None:
        """Keep the code beside the text."""
        super().__init__(packet.errno, packet.payload[3:].decode(errors="replace"))
        self.errno = packet.errno


class MysqlClient:
    """A connection that speaks in packets; every wait ends after ``timeout_s``."""

    def __init__(self, host: str, port: int, timeout_s: float = TIMEOUT_S) -> None:
        """Connect over TCP, or to the Unix socket ``host`` if it is a path."""
        if host.startswith("/"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout_s)
            self.socket.connect(host)
        else:
            self.socket = socket.create_connection((host, port), timeout=timeout_s)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.greeting: Greeting | None = None
        self.capabilities = 0
        self.status = 0
        """Status flags of the last OK or EOF packet."""
        self.sequence = 0
        """Of the next packet to send within a login or a LOCAL INFILE."""
        self.encrypted = host.startswith("/")

    def __enter__(self) -> MysqlClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def deprecate_eof(self) -> bool:
        """Whether this client asked for OK packets in place of EOF packets."""
        return bool(self.capabilities & wire.DEPRECATE_EOF)

    def close(self) -> None:
        """Close without a COM_QUIT."""
        self.socket.close()

    def reset(self) -> None:
        """Close with a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def quit(self) -> None:
        """Send COM_QUIT and wait until the peer has closed."""
        self.send(bytes([wire.QUIT]))
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        self.close()

    def send(self, payload: bytes, sequence: int = 0) -> None:
        """Send one payload, a command unless told otherwise."""
        self.socket.sendall(wire.packets(payload, sequence))

    def _take(self, size: int) -> bytes:
        while len(self.buffer) < size:
            data = self.socket.recv(262144)
            if not data:
                raise Closed(f"closed, {len(self.buffer)} bytes of a packet left")
            self.buffer += data
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def read(self) -> Packet:
        """Read one payload. Raises ``Closed`` at the end, ``TimeoutError`` when none comes."""
        parts, first = [], -1
        while True:
            header = self._take(4)
            size = int.from_bytes(header[:3], "little")
            if first < 0:
                first = header[3]
            else:
                assert header[3] == self.sequence, "a continued packet's sequence id is wrong"
            self.sequence = header[3] + 1 & 0xFF
            parts.append(self._take(size))
            if size < wire.MAX_PAYLOAD:
                return Packet(first, b"".join(parts))

    def login(
        self,
        user: str,
        password: str,
        database: str = "",
        *,
        capabilities: int = wire.BASE,
        collation: int = 45,
        tls: ssl.SSLContext | None = None,
        extended: int = 0,
    ) -> Packet:
        """Log in and give the final OK; ``extended`` are MariaDB's own. Raises ``Refused``."""
        first = self.read()
        if first.error:
            raise Refused(first)
        self.greeting = wire.read_greeting(first.payload)
        wanted = capabilities & self.greeting.capabilities
        wanted |= wire.WITH_DB if database else 0
        self.capabilities = wanted
        flags = wanted | (wire.SSL if tls else 0)
        head = struct.pack("<IIB19xI", flags, 1 << 26, collation, extended)
        if tls:
            self.send(head, self.sequence)
            self.sequence += 1
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
            self.encrypted = True
        plugin, salt = self.greeting.plugin, self.greeting.salt
        proof = wire.scramble(plugin, password, salt)
        body = head + user.encode() + b"\0" + bytes([len(proof)]) + proof
        body += database.encode() + b"\0" if database else b""
        self.send(body + plugin.encode() + b"\0", self.sequence)
        return self._authenticate(password, salt)

    def change_user(
        self, user: str, password: str, database: str = "", collation: int = 45
    ) -> Packet:
        """Send COM_CHANGE_USER and log in again. Raises ``Refused``."""
        assert self.greeting is not None
        plugin, salt = self.greeting.plugin, self.greeting.salt
        proof = wire.scramble(plugin, password, salt)
        body = bytes([wire.CHANGE_USER]) + user.encode() + b"\0" + bytes([len(proof)]) + proof
        body += database.encode() + b"\0" + struct.pack("<H", collation) + plugin.encode() + b"\0"
        self.send(body)
        return self._authenticate(password, salt)

    def _authenticate(self, password: str, salt: bytes) -> Packet:
        while True:
            packet = self.read()
            if packet.error:
                raise Refused(packet)
            kind, rest = packet.payload[0], packet.payload[1:]
            if kind == 0:
                self.status = wire.status_of(packet.payload, deprecate_eof=True)
                return packet
            if kind == 0xFE:
                plugin, salt = rest.split(b"\0", 1)
                if plugin == b"parsec":
                    self.send(b"", self.sequence)
                    continue
                salt = salt.rstrip(b"\0")
                self.send(wire.scramble(plugin.decode(), password, salt), self.sequence)
            elif rest[:1] == b"P":
                self.send(wire.parsec_answer(password, salt, rest), self.sequence)
            elif rest == b"\x04":
                self._full_authentication(password, salt)
            else:
                assert rest == b"\x03", packet

    def _full_authentication(self, password: str, salt: bytes) -> None:
        """What caching_sha2_password asks for where the server has not cached the password."""
        if self.encrypted:
            self.send(password.encode() + b"\0", self.sequence)
            return
        self.send(b"\x02", self.sequence)
        key = self.read().payload[1:]
        self.send(wire.encrypted(password, salt, key), self.sequence)

    def _status(self, packet: Packet) -> None:
        self.status = wire.status_of(packet.payload, deprecate_eof=self.deprecate_eof)

    def _definitions(self, count: int) -> list[Packet]:
        """Read column or parameter definitions, and the EOF behind them."""
        got = [self.read() for _ in range(count)]
        if count and not self.deprecate_eof:
            got.append(self.read())
            assert got[-1].ends_rows, got[-1]
        return got

    def _rows(self) -> list[Packet]:
        got = [self.read()]
        while not (got[-1].error or got[-1].ends_rows):
            got.append(self.read())
        if not got[-1].error:
            self._status(got[-1])
        return got

    def _result(self, upload: bytes | None) -> list[Packet]:
        """Read one result of COM_QUERY or COM_STMT_EXECUTE."""
        head = self.read()
        if head.error:
            return [head]
        if head.payload[0] == 0:
            self._status(head)
            return [head]
        if head.payload[0] == 0xFB:
            if upload:
                self.send(upload, self.sequence)
                self.sequence += 1
            self.send(b"", self.sequence)
            return [head, *self._result(None)]
        count, _ = wire.read_lenenc(head.payload, 0)
        got = [head, *self._definitions(count)]
        if not self.deprecate_eof:
            self._status(got[-1])
            if self.status & wire.CURSOR_EXISTS:
                return got
        parameters = self.status & wire.OUT_PARAMETERS
        got += self._rows()
        if parameters and not got[-1].error:
            # MySQL 9 forgets to say so to clients without CLIENT_DEPRECATE_EOF.
            self.status |= wire.MORE_RESULTS
        return got

    def _prepared(self) -> list[Packet]:
        head = self.read()
        if head.error:
            return [head]
        columns, parameters = struct.unpack_from("<HH", head.payload, 5)
        return [head, *self._definitions(parameters), *self._definitions(columns)]

    def reply(self, command: int, upload: bytes | None = None) -> list[Packet]:
        """Read the whole reply to a command; ``upload`` is what LOCAL INFILE asks for."""
        if command in UNANSWERED:
            return []
        if command in ANSWERED_BY_ONE:
            got = [self.read()]
            if command != wire.STATISTICS and not got[0].error:
                self._status(got[0])
            return got
        if command == wire.PREPARE:
            return self._prepared()
        if command in (wire.FETCH, wire.FIELD_LIST):
            return self._rows()
        got = self._result(upload)
        while not got[-1].error and self.status & wire.MORE_RESULTS:
            got += self._result(upload)
        return got

    def exchange(self, payload: bytes, upload: bytes | None = None) -> list[Packet]:
        """Send a command and read its whole reply."""
        self.send(payload)
        return self.reply(payload[0], upload)

    def query(self, sql: str | bytes) -> list[Packet]:
        """Run SQL by the text protocol and give the reply."""
        text = sql.encode() if isinstance(sql, str) else sql
        return self.exchange(bytes([wire.QUERY]) + text)

    def rows(self, sql: str) -> list[tuple[str | None, ...]]:
        """Run one statement and give its rows. Raises ``Refused``."""
        reply = self.query(sql)
        if reply[-1].error:
            raise Refused(reply[-1])
        if len(reply) == 1:
            return []
        count, _ = wire.read_lenenc(reply[0].payload, 0)
        first = 1 + count + (not self.deprecate_eof)
        return [wire.text_row(packet.payload) for packet in reply[first:-1]]


def connect(host: str, port: int, user: str, password: str, database: str = "") -> MysqlClient:
    """Connect and log in."""
    client = MysqlClient(host, port)
    try:
        client.login(user, password, database)
    except BaseException:
        client.close()
        raise
    return client
