"""One client stream on one server stream, and what a server says to them."""

from __future__ import annotations

from proxy.postgres.client_stream import PostgresClientStream
from proxy.postgres.pool_state import PoolState
from proxy.postgres.server_stream import PostgresServerStream
from tests.support.messages import message, text

KEY_DATA = b"K\0\0\0\x0c\0\0\0\x07\0\0\0\x09"
REPORTED = {"client_encoding": "UTF8", "application_name": "", "TimeZone": "UTC"}

PARSED = message("1")
BOUND = message("2")
CLOSED = message("3")
NO_PARAMETERS = message("t", b"\0\0")
NO_DATA = message("n")
IDLE = message("Z", b"I")
IN_TRANSACTION = message("Z", b"T")
FAILED = message("Z", b"E")
PREPARED = PARSED + NO_PARAMETERS + NO_DATA


def completed(tag: str) -> bytes:
    """CommandComplete."""
    return message("C", text(tag))


def refused(code: str = "42601", words: str = "no") -> bytes:
    """ErrorResponse."""
    return message("E", b"SERROR\0VERROR\0C" + text(code) + b"M" + text(words) + b"\0")


def reports(name: str, value: str) -> bytes:
    """ParameterStatus."""
    return message("S", text(name) + text(value))


def row(*values: str | bytes | None) -> bytes:
    """DataRow."""
    payload = len(values).to_bytes(2, "big")
    for value in values:
        raw = value.encode() if isinstance(value, str) else value
        payload += b"\xff\xff\xff\xff" if raw is None else len(raw).to_bytes(4, "big") + raw
    return message("D", payload)


def answered(*rows: bytes) -> bytes:
    """The whole answer to a simple query with these rows."""
    return message("T", b"\0\0") + b"".join(rows) + completed(f"SELECT {len(rows)}") + IDLE


def make_server(shared: PoolState, **reported: str) -> PostgresServerStream:
    """A server connection that has just logged in."""
    known = shared.intern_reported({**REPORTED, **reported})
    return PostgresServerStream(shared, known, shared.settings.none)


def make_client(shared: PoolState, **startup: str) -> PostgresClientStream:
    """A session that has been greeted."""
    stream = PostgresClientStream(shared, shared.settings.intern(startup), KEY_DATA)
    stream.greet(shared.intern_reported(dict(REPORTED)))
    return stream


class Pair:
    """A session on a server connection."""

    def __init__(self, *, maximum: int = 100, shared: PoolState | None = None) -> None:
        self.shared = shared or PoolState(max_prepared_statements=maximum)
        self.client = make_client(self.shared)
        self.server = make_server(self.shared)
        self.client.attach(self.server)

    def send(self, *data: bytes) -> bytes:
        """What goes to the server when the client sends this."""
        self.client.receive(b"".join(data))
        return self.client.to_server

    def answer(self, *data: bytes) -> bytes:
        """What goes to the client when the server sends this."""
        self.server.receive(b"".join(data))
        assert not self.server.error
        return self.server.to_client

    def other(self) -> PostgresClientStream:
        """Another session takes the server connection over."""
        self.client.detach()
        self.client = make_client(self.shared)
        self.client.attach(self.server)
        return self.client

    def elsewhere(self) -> PostgresServerStream:
        """The session goes on on another server connection."""
        self.client.detach()
        self.server = make_server(self.shared)
        self.client.attach(self.server)
        return self.server

    def prepare(self, name: str, sql: str) -> None:
        """Prepare a statement without parameters and results, to the end."""
        self.send(wire_parse(sql, name), message("S"))
        self.answer(PREPARED, IDLE)


def wire_parse(sql: str, name: str) -> bytes:
    """Parse without parameter types."""
    return message("P", text(name) + text(sql) + b"\0\0")
