"""Client and server streams of the MySQL engine, and packets to feed them."""

from __future__ import annotations

import itertools

from proxy.mysql.capabilities import ClientFacts
from proxy.mysql.client_stream import MysqlClientStream
from proxy.mysql.lenenc import lenenc, packet
from proxy.mysql.pool_state import PoolState
from proxy.mysql.server_stream import MysqlServerStream
from proxy.wire.dialect import Login, ServerSession
from tests.support import mysql_messages as wire

BOTH = wire.SESSION_TRACK | wire.DEPRECATE_EOF
BASELINE = {
    "version": "9.7.4",
    "autocommit": "ON",
    "sql_mode": "",
    "session_track_system_variables": "autocommit",
    "session_track_schema": "ON",
}
COLUMN = lenenc(b"def") + lenenc(b"") * 3 + lenenc(b"n") * 2 + b"\x0c" + bytes(12)


def pool_state() -> PoolState:
    """Make what a pool shares, with a baseline."""
    shared = PoolState(max_prepared_statements=3)
    shared.learn_baseline(BASELINE)
    return shared


def server_stream(shared: PoolState) -> MysqlServerStream:
    """Make the stream of a server connection in schema ``app``."""
    session = ServerSession(
        reported={"server_version": "9.7.4", "schema": "app"},
        process_id=1,
        cancel_request=b"",
        tls=None,
        capabilities=wire.BASE | BOTH,
    )
    return MysqlServerStream(shared, session)


def client_stream(shared: PoolState, capabilities: int = wire.BASE) -> MysqlClientStream:
    """Make the stream of a client that logged in to schema ``app``."""
    facts = ClientFacts(capabilities=capabilities, sequence=2, collation=45)
    login = Login("app", "app", (), {}, None, 4, facts=facts)
    return MysqlClientStream(shared, login, 7, session_pooling=False)


def command(code: int, payload: bytes = b"") -> bytes:
    """Encode a command."""
    return packet(bytes((code,)) + payload, 0)


def query(sql: str) -> bytes:
    """Encode COM_QUERY."""
    return command(0x03, sql.encode())


def ok(
    sequence: int = 1, *, status: int = 2, warnings: int = 0, insert_id: int = 0, track: bytes = b""
) -> bytes:
    """Encode an OK packet as a server with SESSION_TRACK does."""
    return packet(_ok(0, status, warnings, insert_id, track), sequence)


def end(sequence: int, *, status: int = 2, warnings: int = 0, track: bytes = b"") -> bytes:
    """Encode the OK packet that ends a result set."""
    return packet(_ok(0xFE, status, warnings, 0, track), sequence)


def _ok(header: int, status: int, warnings: int, insert_id: int, track: bytes) -> bytes:
    status |= 0x4000 if track else 0
    head = bytes((header, 0, insert_id))
    head += status.to_bytes(2, "little") + warnings.to_bytes(2, "little")
    return head + b"\0" + lenenc(track) if track else head


def err(sequence: int = 1, errno: int = 1064) -> bytes:
    """Encode an ERR packet."""
    return packet(b"\xff" + errno.to_bytes(2, "little") + b"#42000no", sequence)


def result(rows: list[bytes], *, first: int = 1, status: int = 2, columns: int = 1) -> bytes:
    """Encode a result set of the text protocol, on a connection with DEPRECATE_EOF."""
    payloads = [bytes((columns,))] + [COLUMN] * columns + [lenenc(row) for row in rows]
    parts = [packet(payload, first + index) for index, payload in enumerate(payloads)]
    return b"".join(parts) + end(first + len(payloads), status=status)


def variable(name: str, value: str) -> bytes:
    """Encode a session-state block of one system variable."""
    return b"\0" + lenenc(lenenc(name.encode()) + lenenc(value.encode()))


def attached(capabilities: int, sent: bytes = b"") -> MysqlServerStream:
    """A server stream whose client has sent a command."""
    shared = pool_state()
    server, client = server_stream(shared), client_stream(shared, capabilities)
    client.attach(server)
    client.receive(sent or query("SELECT n FROM t"))
    assert client.to_server
    return server


def answer(server: MysqlServerStream, reply: bytes, cuts: list[int]) -> bytes:
    """Feed a reply in pieces; what the client gets."""
    found = b""
    bounds = [0, *sorted(cut % (len(reply) + 1) for cut in cuts), len(reply)]
    for start, stop in itertools.pairwise(bounds):
        if start < stop:
            server.receive(reply[start:stop])
            assert not server.error
            found += server.to_client
    return found
