"""A client connection, and the time it spends together with server connections.

The event loop calls the methods of ``ClientLink`` and ``ServerLink``, which know nothing of
asyncio. One transaction is: client bytes arrive, a server connection is taken from the pool, the
stream translates, one ``write``; server bytes arrive, one ``write``; the stream says the server is
idle, it goes back. Nothing is awaited and no object is made for it.

States of a client: *greeting* (first server connection, to learn what to greet with), *resting* (no
server), *parked* (waits in the pool), *attached*. States of a server connection: *lent*, *idle* in
the pool, *recovering* (its client vanished: cancel, roll back, clean), *closing*.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from proxy.errors import BorrowTimeout, ProxyError, ShuttingDown
from proxy.pool.pool import Connection, Waiter
from proxy.wire.stream import NEED_BYTES, NEED_SERVER

if TYPE_CHECKING:
    from proxy.metrics.counters import EndpointCounters
    from proxy.pool.pool import Pool
    from proxy.session.journal import Journal
    from proxy.session.server_link import ServerLink
    from proxy.session.transport import Transport
    from proxy.wire.stream import ClientStream

PARKED_BYTES: Final = 65536
"""Bytes a waiting client may send ahead. Until then it is read from, so that its end is noticed."""


class ClientLink(Waiter):
    """A client's connection after it has logged in."""

    def __init__(
        self,
        transport: Transport,
        stream: ClientStream,
        pool: Pool,
        counters: EndpointCounters,
        journal: Journal,
        number: int,
        secret: bytes,
        tls: bool,
    ) -> None:
        super().__init__()
        self.secret = secret
        """Cancel key, together with the number."""
        self.transport, self.stream, self.pool = transport, stream, pool
        self.counters, self.journal = counters, journal
        self.number, self.tls = number, tls
        self.server: ServerLink | None = None
        self.greeting = False
        """The first server connection is needed to learn what to greet the client with."""
        self.parked = self.closed = self.leaving = False
        """Leaving: Terminate was received, close when what was asked for is done."""
        self.left_at = 0.0
        """When the client closed its side without saying goodbye."""
        self.draining = False
        """The proxy is shutting down: close at the end of the transaction."""
        self.reading_paused = self.write_blocked = False
        self.blocked_at = 0.0
        """When the client last stopped reading."""
        self.query_cancelled = False
        """The query now running has been cancelled for taking too long."""
        self.last_received = monotonic()
        self.asked_at = 0.0
        """When the query now running arrived here."""
        self.sent_at = 0.0
        """When it was sent to the server."""
        self.progress_at = 0.0
        """When the server last sent anything."""
        self.pin = self.close_reason = ""

    # Called by the event loop.

    def connection_made(self, transport: Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.closed:
            return
        now = monotonic()
        self.last_received = now
        server = self.server
        if server is not None and not self.greeting:
            if server.stream.is_quiet():
                self.asked_at = now
                self.sent_at = now
            self.forward(data, server, now)
        elif self.parked or self.greeting:
            self.stream.held += data
            if len(self.stream.held) > PARKED_BYTES:
                self.pause_client()
        else:
            held = self.stream.held
            self.asked_at = now
            self.start(held + data if held else data, now)

    def eof_received(self) -> bool:
        """The client sends no more. What it asked for last is answered, if that is soon."""
        server = self.server
        if server is None or self.tls or self.closed or server.stream.is_quiet():
            return False
        self.leaving = True
        self.left_at = monotonic()
        if not (self.stream.waiting or self.stream.in_message()):
            self.leave()
        return True

    def connection_lost(self, error: BaseException | None) -> None:
        self.finish("client closed the connection")

    def pause_writing(self) -> None:
        self.write_blocked = True
        self.blocked_at = monotonic()
        server = self.server
        if server is not None:
            server.transport.pause_reading()

    def resume_writing(self) -> None:
        self.write_blocked = False
        server = self.server
        if server is not None:
            server.transport.resume_reading()

    # From resting to attached.

    def start(self, data: bytes, now: float) -> None:
        """Deal with bytes while no server is attached: borrow one if they need it."""
        stream = self.stream
        need = stream.demand(data)
        if stream.to_client:
            self.transport.write(stream.to_client)
        if need == NEED_SERVER:
            self.borrow(now)
        elif need != NEED_BYTES:
            if stream.errand is not None:
                self.journal.errand(self)
            elif stream.error is not None:
                self.fail(stream.error, "protocol error")
            elif stream.terminated:
                self.close("terminated")

    def borrow(self, now: float) -> None:
        """Take a server connection, or park until one comes."""
        if self.draining:
            self.shut_down()
            return
        pool = self.pool
        counters = pool.counters
        counters.requests += 1
        if self.tls:
            counters.requests_tls += 1
        server = pool.take(now)
        if server is None and not self.greeting and self.stream.answer_alone():
            self.transport.write(self.stream.to_client)
            if self.stream.held:
                self.start(self.stream.held, now)
            return
        if server is None:
            self.parked = True
            pool.park(self, now)
        else:
            counters.borrow_latency.observe_none()
            self.attach(cast("ServerLink", server), now)

    def lend(self, connection: Connection, now: float) -> None:
        self.parked = False
        self.pool.counters.borrow_latency.observe(now - self.waiting_since)
        self.attach(cast("ServerLink", connection), now)

    def attach(self, server: ServerLink, now: float) -> None:
        """Join the server connection; send it what the client has sent so far."""
        self.server = server
        server.client = self
        server.lent_at = now
        self.sent_at = now
        self.stream.attach(server.stream)
        if self.journal.debug:
            self.journal.borrowed(self, server)
        if self.write_blocked:
            server.transport.pause_reading()
        if self.greeting:
            server.transport.write(self.stream.greeting_query())
        else:
            self.forward(b"", server, now)
        if self.is_attached():
            self.resume_client()

    def is_attached(self) -> bool:
        return self.server is not None  # Asked anew: to a compiler, calls change no attribute.

    def turn_away(self, error: ProxyError) -> None:
        self.parked = False
        if isinstance(error, BorrowTimeout):
            self.pool.counters.borrow_timeouts += 1
        if (error.fatal and not self.stream.forgives(error)) or self.greeting:
            self.fail(error, "no server connection")
            return
        self.stream.refuse(error)
        self.transport.write(self.stream.to_client)
        self.resume_client()
        self.start(self.stream.held, monotonic())

    # While attached.

    def forward(self, data: bytes, server: ServerLink, now: float) -> None:
        """Translate client bytes and send them to the server."""
        stream = self.stream
        stream.receive(data)
        if stream.to_client:
            self.transport.write(stream.to_client)
        if stream.to_server:
            server.transport.write(stream.to_server)
        if stream.errand is not None:
            self.journal.errand(self)
        elif stream.error is not None:
            self.fail(stream.error, "protocol error")
        elif stream.terminated:
            self.leave()
        elif stream.waiting:
            self.pause_client()
        elif server.stream.is_idle() and not stream.in_message():
            self.server_idle(server, now)

    def leave(self) -> None:
        """The client sends no more: close once what it asked for is done."""
        server = self.server
        if server is None or server.stream.is_quiet():
            self.close("terminated")
        else:
            self.leaving = True
            # It will not end what it has begun, and the server answers a batch only at its end.
            server.transport.write(server.stream.unstick())

    def replied(self, server: ServerLink, now: float) -> None:
        """The server answered one or more queries."""
        counters = self.pool.counters
        completed = server.stream.completed
        server.stream.completed = 0
        counters.queries += completed
        if self.tls:
            counters.queries_tls += completed
        counters.query_latency.observe(now - self.asked_at)
        counters.database_latency.observe(now - self.sent_at)
        self.asked_at = now
        self.sent_at = now
        self.query_cancelled = False

    def resume_stream(self, server: ServerLink) -> None:
        """What the stream waited for has come."""
        server.stream.resume = False
        if self.stream.waiting:
            self.stream.waiting = False
            self.resume_client()
            self.forward(b"", server, monotonic())

    def server_quiet(self, server: ServerLink) -> None:
        """Nothing is owed any more, and a transaction may be open."""
        if self.leaving:
            self.close("terminated")

    def server_idle(self, server: ServerLink, now: float) -> None:
        """No transaction is open and nothing is owed: give the connection back if possible."""
        stream = self.stream
        if stream.error is not None:
            self.fail(stream.error, "session could not be restored")
            return
        # A client may go on sending COPY data after the server has given up on it: a question of
        # ours must not come in the middle of a message.
        question = b"" if stream.in_message() else stream.settle()
        if question:
            server.transport.write(question)
            return
        if self.greeting:
            self.greeted()
        if self.leaving:
            self.close("terminated")
            return
        reason = stream.pin_reason()
        if reason != self.pin:
            self.pin_changed(server, reason)
        if self.draining:
            self.shut_down()
            return
        if reason or stream.in_message() or server.cancelling:
            return
        self.release(server, now)

    def release(self, server: ServerLink, now: float) -> None:
        """Return the server connection; go on with what the client sent meanwhile."""
        self.stream.detach()
        self.server, stream = None, self.stream
        if self.journal.debug:
            self.journal.returned(self, server)
        if self.write_blocked:
            server.transport.resume_reading()
        server.returned(now)
        if stream.held and not self.is_attached() and not self.parked and not self.closed:
            self.asked_at = now
            self.start(stream.held, now)
        if self.reading_paused and self.server is None and not self.parked:
            self.resume_client()

    def pin_changed(self, server: ServerLink, reason: str) -> None:
        if self.journal.moves(self):
            self.server_idle(server, monotonic())
            return
        if reason:
            pins = self.pool.counters.pins_by_reason
            pins[reason] = pins.get(reason, 0) + 1
            self.journal.pinned(self, server, reason)
        else:
            self.journal.unpinned(self, server, self.pin)
        self.pin = reason

    # Greeting.

    def begin(self, greet: bytes | None, now: float) -> None:
        """Greet the client, at once or after a look at a server connection."""
        self.asked_at = now
        if greet is not None:
            self.transport.write(greet)
            return
        self.greeting = True
        self.borrow(now)

    def greeted(self) -> None:
        """The server connection has shown what to greet the client with."""
        self.greeting = False
        self.transport.write(self.stream.greeting())
        self.resume_client()

    # Reading on and off.

    def pause_client(self) -> None:
        if not self.reading_paused and not self.transport.is_closing():
            self.reading_paused = True
            self.transport.pause_reading()

    def resume_client(self) -> None:
        server = self.server
        if server is not None and server.write_blocked:
            return
        if self.reading_paused and not self.transport.is_closing():
            self.reading_paused = False
            self.transport.resume_reading()

    # The end.

    def drain(self) -> None:
        """Close as soon as no transaction is open: the proxy is shutting down."""
        self.draining = True
        server = self.server
        if server is None or (server.stream.is_idle() and not self.greeting):
            self.shut_down()

    def shut_down(self) -> None:
        """Close now, in a transaction or not, because the proxy is shutting down."""
        self.fail(ShuttingDown("terminating connection due to administrator command"), "drain")

    def fail(self, error: ProxyError, reason: str) -> None:
        """Tell the client why and close its connection."""
        if not self.closed:
            self.transport.write(self.stream.say(error))
            self.close(reason)

    def close(self, reason: str) -> None:
        """Close the client's connection after what is written to it."""
        if not self.closed:
            self.finish(reason)
            self.transport.close()

    def abort(self, reason: str) -> None:
        """Drop a client that does not read what is sent to it."""
        if not self.closed:
            self.finish(reason)
            self.transport.abort()

    def finish(self, reason: str) -> None:
        """Let go of everything; called exactly once per client."""
        if self.closed:
            return
        self.closed = True
        self.close_reason = reason
        if self.parked:
            self.parked = False
            self.pool.unpark(self)
        server = self.server
        if server is not None:
            in_message = self.stream.in_message()
            self.stream.detach()
            self.server = None
            server.abandoned(monotonic(), in_message)
        self.journal.client_closed(self, reason)
