"""A server connection: lent to a client, idle in the pool, recovering, or closing.

*Recovering* means that its client vanished in the middle of something: what runs is cancelled, the
transaction rolled back, state discarded; then it goes back to the pool. *Closing* means that it has
been told goodbye and keeps its slot in the budget until the server's process has ended. One whose
client left a queue of queries behind is *severed*: reset, so that the server process ends with the
query it is at instead of running them all.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from proxy.errors import ServerLost
from proxy.pool.pool import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.pool.pool import Pool
    from proxy.session.client_link import ClientLink
    from proxy.session.journal import Journal
    from proxy.session.transport import Transport
    from proxy.wire.stream import ServerStream

RECOVERY_S: Final = 10.0
"""Seconds an abandoned server connection gets to become clean before it is closed."""
POLL_AFTER_S: Final = 0.02
"""Seconds of rest after which a connection is looked at before it is lent: in a busy pool never.

Looking costs a system call. A goodbye can go unnoticed only while the event loop is in one round.
"""
FAREWELL_S: Final = 5.0
"""Seconds a server gets to end its process after we said goodbye; until then it counts against the
budget. A process that hears neither a cancel request nor a goodbye must not hold a slot for good.
"""
SEVERED_S: Final = 0.5
"""Seconds a severed connection keeps its slot, and at least until its cancel request is in: the
server's process ends at its next write, but no more is heard of it."""


class ServerLink(Connection):
    """A server connection after it has logged in."""

    def __init__(
        self,
        transport: Transport,
        stream: ServerStream,
        pool: Pool,
        journal: Journal,
        now: float,
        lifetime_s: float,
    ) -> None:
        super().__init__(pool, now, lifetime_s)
        self.transport = transport
        self.stream = stream
        self.journal = journal
        self.client: ClientLink | None = None
        self.number = 0
        """Process id the server gave, for logs."""
        self.cancel_request = b""
        """What to send on another connection to cancel what this one runs."""
        self.tls = False
        self.poll: Callable[[int], list[tuple[int, int]]] | None = None
        """``poll`` of a ``select.poll`` object with the connection's socket, if there is one."""
        self.lent_at = now
        self.write_blocked = False
        self.cancelling = 0
        """Cancel requests on their way: the connection stays with its client until they are in."""
        self.recovering_since = 0.0
        self.closing_since = 0.0
        self.recovery_cancelled = False
        self.attempts = 0
        self.reset: Callable[[], None] | None = None
        """Resets the connection, so that the server's next write to it fails."""
        self.severed = False
        self.holds_slot = True
        """Counts against the budget."""

    # Called by the event loop.

    def connection_made(self, transport: Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        stream = self.stream
        stream.receive(data)
        client = self.client
        if client is None:
            self.unattended()
            return
        if stream.to_client:
            client.transport.write(stream.to_client)
        if stream.error or stream.farewell:
            self.lose(stream.error)
            return
        now = monotonic()
        client.progress_at = now
        if stream.completed:
            client.replied(self, now)
        if stream.resume:
            client.resume_stream(self)
        if self.client is client and stream.is_quiet():
            if stream.is_idle():
                client.server_idle(self, now)
            else:
                client.server_quiet(self)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: BaseException | None) -> None:
        if self.closing_since == 0.0:
            self.lose("")
        if not self.severed:
            self.let_go()

    def pause_writing(self) -> None:
        self.write_blocked = True
        if self.client is not None:
            self.client.pause_client()

    def resume_writing(self) -> None:
        self.write_blocked = False
        client = self.client
        if client is not None and not client.stream.waiting:
            client.resume_client()

    # In the pool.

    def usable(self, now: float) -> bool:
        if self.transport.is_closing():
            return False
        # An idle server only ever speaks to say goodbye. Asked of the kernel, because the event
        # loop may not have got round to it, and a query sent now would be lost with its client.
        if self.poll is None or now - self.idle_since < POLL_AFTER_S:
            return True
        return not self.poll(0)

    def retire(self, reason: str) -> None:
        if self.closing_since:
            return
        self.pool.retired()
        self.closing_since = monotonic()
        self.journal.server_closed(self, reason)
        if not self.transport.is_closing():
            self.transport.write(self.stream.goodbye())

    def returned(self, now: float) -> None:
        """The client is done with the connection: back to the pool, if it can serve another."""
        self.client = None
        if self.stream.reusable():
            self.pool.give(self, now)
        else:
            self.retire("not reusable")

    def unattended(self) -> None:
        """Bytes from a server that serves no client."""
        if self.closing_since:
            return
        if self.stream.error or self.stream.farewell:
            self.lose(self.stream.error)
        elif self.recovering_since:
            self.recover()

    def lose(self, error: str) -> None:
        """The server closed the connection, or broke the protocol: its client alone is told."""
        if self.closing_since:
            return
        client = self.client
        self.client = None
        self.pool.remove_idle(self)
        self.pool.retired()
        self.closing_since = monotonic()
        self.journal.server_closed(self, error or "closed by the server")
        if client is not None:
            client.stream.detach()
            client.server = None
            if self.stream.farewell or self.stream.is_forwarding():
                client.close("server closed the connection")
            elif error:
                client.fail(ServerLost("server sent an invalid message", detail=error), "server")
            else:
                lost = ServerLost("server closed the connection unexpectedly")
                client.fail(lost, "server closed the connection")
        self.transport.close()

    # After a client has vanished.

    def abandoned(self, now: float, in_message: bool) -> None:
        """The client is gone: bring the connection back to a clean state, or close it."""
        self.client = None
        if self.closing_since:
            return
        if self.stream.has_backlog():
            self.sever("client left queries behind")
            return
        if in_message or not self.stream.reusable():
            self.hang_up("client left in the middle of a message")
            return
        # The client may have left while it did not read, and the server had to wait for it.
        self.transport.resume_reading()
        if self.stream.is_idle() and not self.cancelling and not self.stream.needs_cleaning():
            self.pool.give(self, now)
            return
        self.recovering_since = now
        self.recovery_cancelled = False
        self.attempts = 0
        message = self.stream.unstick()
        if message:
            self.transport.write(message)
        self.recover()

    def recover(self) -> None:
        """Take the next step towards a clean state; called whenever the server has spoken."""
        stream = self.stream
        if not stream.is_quiet():
            if not self.recovery_cancelled:
                self.recovery_cancelled = True
                self.journal.cancel(self)
            return
        if self.cancelling:
            return
        self.attempts += 1
        message = stream.recover() if self.attempts < 5 else b""
        if message:
            self.transport.write(message)
            return
        self.recovering_since = 0.0
        if stream.is_idle() and stream.reusable() and not stream.needs_cleaning():
            self.pool.give(self, monotonic())
        else:
            self.retire("not clean after its client left")

    def cancel_done(self) -> None:
        """A cancel request has been delivered: flush it out before anything else runs here."""
        self.cancelling -= 1
        if self.cancelling or self.closing_since:
            return
        client = self.client
        if self.stream.is_quiet() and (client is None or not client.stream.in_message()):
            self.transport.write(self.stream.probe())

    def hang_up(self, reason: str) -> None:
        """Close without a goodbye, which the server could not read in the middle of a message.

        Where the transport can, only our side is closed, so that the end of the server's process is
        seen and its slot stays taken until then.
        """
        if self.closing_since:
            return
        self.recovering_since = 0.0
        self.pool.retired()
        self.closing_since = monotonic()
        self.journal.server_closed(self, reason)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.cut_off()

    def sever(self, reason: str) -> None:
        """Reset the connection and cancel what runs: what is queued behind it must not run on.

        A server that is sent an end of file reads and runs everything before it; one that cannot
        send an answer gives up.
        """
        if self.closing_since:
            return
        self.recovering_since = 0.0
        self.pool.retired()
        self.closing_since = monotonic()
        self.journal.server_closed(self, reason)
        self.cut_off()

    def cut_off(self) -> None:
        self.severed = True
        if self.reset is not None:
            self.reset()
        else:
            self.transport.abort()
        self.journal.cancel(self)

    def closing(self, now: float) -> None:
        """Bound the time that a closing connection takes; called every now and then."""
        if not self.severed:
            if now - self.closing_since > FAREWELL_S:
                self.transport.abort()
        elif not self.cancelling and now - self.closing_since > SEVERED_S:
            self.let_go()

    def let_go(self) -> None:
        """Give up the slot: the server's process has ended."""
        if self.holds_slot:
            self.holds_slot = False
            self.journal.server_gone(self)
            self.pool.closed(monotonic())
