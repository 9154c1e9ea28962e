"""Clients, links, a pool and server sessions, joined by transports of bytes in memory.

Nothing happens by itself: ``Stand.run`` delivers bytes, in order or as a random generator says, in
chunks of any size, until nobody has anything to say. All objects under test are the real ones, so
the same tests run on the compiled twin.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from proxy.metrics.counters import EndpointCounters, PoolCounters
from proxy.pool.limits import Target
from proxy.pool.pool import Pool
from proxy.postgres.client_stream import PostgresClientStream
from proxy.postgres.pool_state import PoolState
from proxy.postgres.server_stream import PostgresServerStream
from proxy.session.client_link import ClientLink
from proxy.session.journal import Journal
from proxy.session.server_link import ServerLink
from tests.support.fake_postgres import Database, FakePostgres
from tests.support.messages import Message

if TYPE_CHECKING:
    from random import Random

    from proxy.errors import ProxyError

KEY_DATA = b"K\0\0\0\x0c\0\0\0\x07\0\0\0\x09"
ENDLESS = 1 << 40


def split(data: bytes) -> list[Message]:
    """Cut bytes into messages; all must be whole."""
    found: list[Message] = []
    while data:
        size = int.from_bytes(data[1:5], "big") + 1
        assert 5 <= size <= len(data), f"broken message: {data[:60]!r}"
        found.append(Message(chr(data[0]), data[5:size]))
        data = data[size:]
    return found


class FakeTransport:
    """One end of a connection: what is written waits to be delivered."""

    def __init__(self, high: int = ENDLESS) -> None:
        self.link: ClientLink | ServerLink | None = None
        self.high = high
        self.unsent = b""
        self.paused = False
        self.blocked = False
        self.closing = False
        self.aborted = False
        self.lost = False
        self.pauses = 0
        self.writes = 0

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        self.writes += 1
        if self.closing:
            return
        self.unsent += data
        if len(self.unsent) > self.high and not self.blocked and self.link is not None:
            self.blocked = True
            self.link.pause_writing()

    def can_write_eof(self) -> bool:
        return False

    def write_eof(self) -> None:
        raise NotImplementedError

    def take(self, size: int = ENDLESS) -> bytes:
        """Deliver written bytes to the peer."""
        data, self.unsent = self.unsent[:size], self.unsent[size:]
        if self.blocked and len(self.unsent) <= self.high // 2 and self.link is not None:
            self.blocked = False
            if not self.lost:
                self.link.resume_writing()
        return data

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True
        self.unsent = b""

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        assert not self.closing
        self.paused = True
        self.pauses += 1

    def resume_reading(self) -> None:
        self.paused = False


class Client:
    """A client program: what it will send, and what it got."""

    def __init__(self, link: ClientLink, stream: PostgresClientStream) -> None:
        self.link = link
        self.stream = stream
        self.transport = link.transport
        assert isinstance(self.transport, FakeTransport)
        self.wire: FakeTransport = self.transport
        self.outgoing = b""
        self.got = b""
        self.reads = True
        self.gone = False

    def send(self, data: bytes) -> None:
        """Send in time; ``Stand.run`` delivers it."""
        self.outgoing += data

    def vanish(self) -> None:
        """Close without a word."""
        self.gone = True
        self.outgoing = b""

    def messages(self) -> list[Message]:
        """Take what has been received since the last look."""
        got, self.got = self.got, b""
        return split(got)


class Server:
    """A server session, behind its link."""

    def __init__(self, link: ServerLink, stream: PostgresServerStream, peer: FakePostgres) -> None:
        self.link = link
        self.stream = stream
        self.peer = peer
        self.wire: FakeTransport
        self.incoming = b""
        self.gone = False
        self.frozen = False

    def say(self, data: bytes) -> None:
        """Have the server send something, or close if it has closed."""
        self.incoming += data


class Recorder(Journal):
    """Remembers what the links told."""

    def __init__(self, stand: Stand) -> None:
        self.stand = stand
        self.events: list[str] = []

    def client_closed(self, client: ClientLink, reason: str) -> None:
        self.events.append(f"client closed: {reason}")

    def pinned(self, client: ClientLink, server: ServerLink, reason: str) -> None:
        self.events.append(f"pinned: {reason}")

    def unpinned(self, client: ClientLink, server: ServerLink, reason: str) -> None:
        self.events.append(f"unpinned: {reason}")

    def borrowed(self, client: ClientLink, server: ServerLink) -> None:
        self.events.append("borrowed")

    def returned(self, client: ClientLink, server: ServerLink) -> None:
        self.events.append("returned")

    def server_closed(self, server: ServerLink, reason: str) -> None:
        self.events.append(f"server closed: {reason}")

    def cancel(self, server: ServerLink) -> None:
        self.events.append("cancel")
        server.cancelling += 1
        self.stand.cancels.append(server)


class Stand:
    """A pool of one (database, user) and everybody around it."""

    def __init__(
        self, maximum: int = 1, *, statements: int = 100, high: int = ENDLESS, connect: bool = True
    ) -> None:
        self.shared = PoolState(max_prepared_statements=statements)
        self.journal = Recorder(self)
        self.database = Database()
        self.target = Target(self._open)
        self.target.maximum = maximum
        self.pool = Pool(self.target, ("db", "user", ()), PoolCounters(), 0, self.shared)
        self.target.pools.append(self.pool)
        self.high = high
        self.connect = connect
        self.opening: list[Pool] = []
        self.clients: list[Client] = []
        self.servers: list[Server] = []
        self.cancels: list[ServerLink] = []
        self.endpoint = EndpointCounters()

    # People.

    def _open(self, pool: Pool) -> None:
        self.opening.append(pool)

    def opened(self) -> Server:
        """Let the oldest attempt to open a server connection succeed."""
        pool = self.opening.pop(0)
        peer = FakePostgres(self.database)
        stream = PostgresServerStream(
            self.shared,
            self.shared.intern_reported(peer.reported()),
            self.shared.settings.none,
        )
        wire = FakeTransport(self.high)
        link = ServerLink(wire, stream, pool, self.journal, monotonic(), 1e9)
        wire.link = link
        server = Server(link, stream, peer)
        server.wire = wire
        self.servers.append(server)
        pool.opened(link, monotonic())
        return server

    def refused(self, error: ProxyError, backoff_s: float = 0.0) -> None:
        """Let the oldest attempt fail."""
        self.opening.pop(0).open_failed(error, monotonic(), backoff_s)

    def client(self, *, greeted: bool = True, **startup: str) -> Client:
        """Log a client in."""
        settings = self.shared.settings.intern(startup)
        stream = PostgresClientStream(self.shared, settings, KEY_DATA)
        wire = FakeTransport(self.high)
        link = ClientLink(
            wire, stream, self.pool, self.endpoint, self.journal, len(self.clients) + 1, b"", False
        )
        wire.link = link
        client = Client(link, stream)
        self.clients.append(client)
        greet = None
        if greeted:
            reported = FakePostgres(None, **startup).reported()
            greet = stream.greet(self.shared.intern_reported(reported))
        link.begin(greet, monotonic())
        if greeted:
            wire.take()
        return client

    # Events.

    def _events(self) -> list[tuple[str, object]]:
        found: list[tuple[str, object]] = []
        if self.opening and self.connect:
            found.append(("open", None))
        for client in self.clients:
            wire = client.wire
            if wire.unsent and client.reads and not client.gone:
                found.append(("to client", client))
            elif wire.closing and not wire.lost and (not wire.unsent or client.gone):
                found.append(("client lost", client))
            if client.gone and not wire.lost:
                found.append(("client lost", client))
            elif client.outgoing and not wire.paused and not wire.closing:
                found.append(("from client", client))
        for server in self.servers:
            wire = server.wire
            if server.frozen:
                continue
            if wire.unsent and not server.gone:
                found.append(("to server", server))
            if server.incoming and not wire.paused and not wire.closing:
                found.append(("from server", server))
            elif not wire.lost and (
                (server.peer.closed and not server.incoming and not wire.paused) or wire.closing
            ):
                found.append(("server lost", server))
        if self.cancels:
            found.append(("cancel", None))
        found += [
            ("slot", server)
            for server in self.servers
            if server.link.severed and server.link.holds_slot and not server.link.cancelling
        ]
        return found

    def _do(self, what: str, who: object, size: int) -> None:
        if what == "open":
            self.opened()
        elif what == "cancel":
            link = self.cancels.pop(0)
            server = next(server for server in self.servers if server.link is link)
            server.incoming += server.peer.wake(cancelled=True)
            link.cancel_done()
        elif what == "slot":
            assert isinstance(who, Server)
            who.link.let_go()
        elif isinstance(who, Client):
            self._do_client(what, who, size)
        else:
            assert isinstance(who, Server)
            self._do_server(what, who, size)

    def _do_client(self, what: str, client: Client, size: int) -> None:
        if what == "to client":
            client.got += client.wire.take(size)
        elif what == "client lost":
            client.wire.lost = client.wire.closing = True
            client.link.connection_lost(None)
        else:
            data, client.outgoing = client.outgoing[:size], client.outgoing[size:]
            client.link.data_received(data)

    def _do_server(self, what: str, server: Server, size: int) -> None:
        if what == "to server":
            data = server.wire.take(size)
            server.incoming += server.peer.receive(data)
        elif what == "server lost":
            server.wire.lost = server.wire.closing = server.gone = True
            server.link.connection_lost(None)
        else:
            data, server.incoming = server.incoming[:size], server.incoming[size:]
            server.link.data_received(data)

    def run(self, random: Random | None = None, largest: int = 1 << 16) -> None:
        """Deliver everything, and check what must always hold."""
        for _ in range(200_000):
            events = self._events()
            if not events:
                return
            what, who = random.choice(events) if random is not None else events[0]
            size = random.randint(1, largest) if random is not None else ENDLESS
            self._do(what, who, size)
            self.check()
        raise AssertionError("it never ends")

    def check(self) -> None:
        """Check what holds at every moment."""
        pool = self.pool
        assert self.target.used <= self.target.maximum
        assert min(pool.borrowed, pool.connecting, pool.closing) >= 0
        assert pool.open == sum(server.link.holds_slot for server in self.servers)
        for server in self.servers:
            client = server.link.client
            if client is not None:
                assert client.server is server.link
                assert server.link not in pool.idle
        for resting in pool.idle:
            assert isinstance(resting, ServerLink)
            assert resting.stream.is_idle()
            assert resting.stream.reusable()
