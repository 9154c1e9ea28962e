"""Nanoseconds of whole transactions in the links, streams and pool, without event loop and kernel.

Bytes of a client go into ``ClientLink``, which borrows the connection and writes to the server's
transport; the server's bytes go into ``ServerLink``, which writes to the client's transport and
gives the connection back. The transports only note what is written. Several clients take turns on
one connection, as they do in a pool: each transaction attaches another session.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

from proxy.metrics.counters import EndpointCounters, PoolCounters
from proxy.pool.limits import Target
from proxy.pool.pool import Pool
from proxy.session.client_link import ClientLink
from proxy.session.journal import Journal
from proxy.session.server_link import ServerLink
from tests.mysql import streams as mysql
from tests.postgres.streams import make_client, make_server
from tests.support import messages as postgres
from tests.support import mysql_messages
from tests.support.fake_postgres import FakePostgres

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.wire.stream import ClientStream, ServerStream

REPEATS = 5000
_BATCHES = 5
_CLIENTS = 4
_ENDLESS_S = 1e9
_SELECT = "SELECT abalance FROM pgbench_accounts WHERE aid = "


class Sink:
    """A transport that notes what was written last."""

    def __init__(self) -> None:
        self.last = b""

    def write(self, data: bytes) -> None:
        """Note what a socket would be given."""
        self.last = data

    def take(self) -> bytes:
        """Return what was written last, once."""
        taken, self.last = self.last, b""
        return taken

    def can_write_eof(self) -> bool:
        """As a connection without TLS."""
        return True

    def write_eof(self) -> None:
        """Never in a transaction."""
        raise NotImplementedError

    def close(self) -> None:
        """Never in a transaction."""
        raise NotImplementedError

    def abort(self) -> None:
        """Never in a transaction."""
        raise NotImplementedError

    def is_closing(self) -> bool:
        """Never in a transaction."""
        return False

    def pause_reading(self) -> None:
        """Nothing arrives by itself."""

    def resume_reading(self) -> None:
        """Nothing arrives by itself."""


class Stage:
    """Clients that have logged in, and the one server connection of their pool."""

    def __init__(
        self,
        shared: object,
        clients: Sequence[ClientStream],
        server: ServerStream,
        reply: Callable[[bytes], bytes],
    ) -> None:
        self._reply = reply
        """The database: what it answers to bytes."""
        journal = Journal()
        target = Target(lambda pool: None)
        self.pool = Pool(target, ("app", "app", ()), PoolCounters(), 0, shared)
        self.pool.connecting = 1
        self.to_server = Sink()
        now_s = time.monotonic()
        self.server = ServerLink(self.to_server, server, self.pool, journal, now_s, _ENDLESS_S)
        self.pool.opened(self.server, now_s)
        self.sinks = [Sink() for _ in clients]
        self.clients = [
            ClientLink(sink, stream, self.pool, EndpointCounters(), journal, number, b"", False)
            for number, (sink, stream) in enumerate(zip(self.sinks, clients, strict=True))
        ]

    def say(self, client: ClientLink, question: bytes) -> bytes:
        """Let the database answer until the connection is back; return its last answer.

        Fails where the connection does not come back: a transaction is open, the session pinned.
        """
        client.data_received(question)
        answer = b""
        while client.server is not None:
            answer = self._reply(self.to_server.take())
            assert answer, "the connection has not come back"
            self.server.data_received(answer)
        assert not client.closed
        assert self.pool.idle == [self.server]
        return answer

    def measure(self, question: bytes) -> float:
        """Return the best batch's nanoseconds of a transaction that begins with ``question``.

        The database is asked once; the answer to all of them is the same.
        """
        answers = [self.say(client, question) for client in self.clients * 2]
        answer = answers[-1]
        rounds = max(1, REPEATS // (_BATCHES * len(self.clients)))
        before = self.pool.counters.queries
        batches_ns = [self._batch(question, answer, rounds) for _ in range(_BATCHES)]
        assert self.pool.counters.queries - before == rounds * _BATCHES * len(self.clients)
        assert all(sink.last == self.sinks[0].last for sink in self.sinks)
        assert self.pool.idle == [self.server]
        return min(batches_ns) / (rounds * len(self.clients))

    def _batch(self, question: bytes, answer: bytes, rounds: int) -> int:
        clients, server = self.clients, self.server
        begin_ns = time.perf_counter_ns()
        for _ in range(rounds):
            for client in clients:
                client.data_received(question)
                server.data_received(answer)
        return time.perf_counter_ns() - begin_ns


def postgres_stage() -> Stage:
    """Clients of PostgreSQL that have prepared ``s1``."""
    from proxy.postgres.pool_state import PoolState

    shared = PoolState(max_prepared_statements=100)
    database = FakePostgres()
    clients = [make_client(shared) for _ in range(_CLIENTS)]
    stage = Stage(shared, clients, make_server(shared), database.receive)
    for client in stage.clients:
        stage.say(client, postgres.parse(_SELECT + "$1", "s1") + postgres.SYNC)
    return stage


_PREPARED = mysql_messages.packets(b"\0" + struct.pack("<IHHBH", 1, 1, 1, 0, 0), 1)
"""The answer to COM_STMT_PREPARE: statement 1 has one column and one parameter."""


def _binary_result() -> bytes:
    parts = (b"\x01", mysql.COLUMN, b"\0\0" + mysql_messages.lenenc(b"0"))
    packets = [mysql_messages.packets(part, number) for number, part in enumerate(parts, 1)]
    return b"".join(packets) + mysql.end(4)


def _mysql_reply(asked: bytes) -> bytes:
    """Answer as a server does that knows one statement, whose result is one row."""
    answer = b""
    while asked:
        code, asked = asked[4], asked[4 + int.from_bytes(asked[:3], "little") :]
        if code == mysql_messages.PREPARE:
            answer += (
                _PREPARED
                + mysql_messages.packets(mysql.COLUMN, 2)
                + mysql_messages.packets(mysql.COLUMN, 3)
            )
        elif code == mysql_messages.EXECUTE:
            answer += _binary_result()
        elif code == mysql_messages.QUERY:
            answer += mysql.result([b"0"])
    return answer


def mysql_stage() -> Stage:
    """Clients of MySQL that have prepared a statement, which is their first."""
    shared = mysql.pool_state()
    capabilities = mysql_messages.BASE | mysql.BOTH
    clients = [mysql.client_stream(shared, capabilities) for _ in range(_CLIENTS)]
    stage = Stage(shared, clients, mysql.server_stream(shared), _mysql_reply)
    for client in stage.clients:
        stage.say(client, mysql.command(mysql_messages.PREPARE, (_SELECT + "?").encode()))
        stage.say(client, _execute(with_types=True))
    return stage


def _execute(*, with_types: bool) -> bytes:
    """Encode COM_STMT_EXECUTE with a BIGINT; clients tell its type the first time only."""
    types = b"\x01\x08\0" if with_types else b"\0"
    head = struct.pack("<IBI", 1, 0, 1) + b"\0"
    return mysql.command(mysql_messages.EXECUTE, head + types + struct.pack("<q", 4711))


def run() -> dict[str, float]:
    """Measure every kind of transaction in this process's twin; nanoseconds a transaction."""
    rest = postgres.describe("P") + postgres.execute() + postgres.SYNC
    kinds = {
        "simple": postgres.query(_SELECT + "4711"),
        "extended": postgres.parse(_SELECT + "$1") + postgres.bind("4711") + rest,
        "prepared": postgres.bind("4711", name="s1") + rest,
    }
    mysql_kinds = {
        "text": mysql.query(_SELECT + "4711"),
        "prepared": _execute(with_types=False),
    }
    return {
        **{f"PostgreSQL, {kind}": postgres_stage().measure(q) for kind, q in kinds.items()},
        **{f"MySQL, {kind}": mysql_stage().measure(q) for kind, q in mysql_kinds.items()},
    }
