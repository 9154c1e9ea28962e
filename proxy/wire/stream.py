"""What the link between a client and a server knows of either side, whatever the protocol.

Each engine derives one class from each of these. They are sans-I/O: bytes in, bytes and flags out.
They are classes rather than ``typing.Protocol`` because compiled calls through a native base class
cost nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.errors import ProxyError
    from proxy.wire.dialect import Kill, LogInAgain, Move, VacateDatabases

# What a client without a server connection needs (``ClientStream.demand``).
NEED_BYTES: Final = 0
"""Not even one message has arrived; wait for more."""
NEED_SERVER: Final = 1
"""A message has to go to a server: borrow a connection."""
NEED_NOTHING: Final = 2
"""What arrived has been dealt with; look at ``to_client``, ``terminated`` and ``error``."""


class ServerStream:
    """Protocol state of one server connection.

    ``receive`` takes what the server sent and leaves what is for the client in ``to_client``.
    """

    def __init__(self) -> None:
        self.to_client: bytes = b""
        self.error: str = ""
        """What the server did wrong; the connection must be closed."""
        self.farewell: bool = False
        """The server has announced that it closes the connection."""
        self.resume: bool = False
        """The client stream waits for nothing any more: feed it again."""
        self.completed: int = 0
        """Queries answered since the link last looked."""

    def receive(self, data: bytes) -> None:
        """Take bytes from the server."""
        raise NotImplementedError

    def is_idle(self) -> bool:
        """Whether nothing is owed, no transaction is open and no message is half sent."""
        raise NotImplementedError

    def is_quiet(self) -> bool:
        """Whether nothing is owed, though a transaction may be open."""
        raise NotImplementedError

    def is_forwarding(self) -> bool:
        """Whether the client has received part of a message: nothing else can be said to it."""
        raise NotImplementedError

    def awaits_client(self) -> bool:
        """Whether the server can do nothing until its client sends more."""
        raise NotImplementedError

    def has_backlog(self) -> bool:
        """Whether queries of the client's are queued behind the one that runs."""
        raise NotImplementedError

    def in_transaction(self) -> bool:
        """Whether a transaction is open (or failed) as of the last reply."""
        raise NotImplementedError

    def recover(self) -> bytes:
        """Say what to send next to bring an abandoned connection back to a clean idle state.

        Called when quiet; ``b""`` when there is nothing left to do.
        """
        raise NotImplementedError

    def unstick(self) -> bytes:
        """Say what to send so that an abandoned connection becomes quiet (end COPY, Sync)."""
        raise NotImplementedError

    def probe(self) -> bytes:
        """A query without effect whose reply is swallowed; it flushes out a late cancel."""
        raise NotImplementedError

    def needs_cleaning(self) -> bool:
        """Whether a client may have left state behind."""
        raise NotImplementedError

    def goodbye(self) -> bytes:
        """Encode the end of the connection."""
        raise NotImplementedError

    def reusable(self) -> bool:
        """Whether the connection can serve another client once recovered."""
        raise NotImplementedError


class ClientStream:
    """Protocol state of one client session.

    ``receive`` takes what the client sent while a server is attached and leaves what is for the
    server in ``to_server`` and what is for the client itself in ``to_client``.
    """

    def __init__(self) -> None:
        self.to_server: bytes = b""
        self.to_client: bytes = b""
        self.terminated: bool = False
        """The client said goodbye."""
        self.error: ProxyError | None = None
        """The client must be told this and, if fatal, be closed."""
        self.held: bytes = b""
        """Bytes received and not dealt with yet."""
        self.waiting: bool = False
        """The client's next message waits for an answer to one of ours."""
        self.errand: Kill | LogInAgain | Move | VacateDatabases | None = None
        """What the client asks of the proxy itself; what it sent behind that waits in ``held``."""

    def demand(self, data: bytes) -> int:
        """Say what these bytes need while no server is attached: ``NEED_...``.

        Bytes still to be dealt with are left in ``held``.
        """
        raise NotImplementedError

    def answer_alone(self) -> bool:
        """Answer what waits without a server, if it can be; only tried when none is free."""
        raise NotImplementedError

    def attach(self, server: ServerStream) -> None:
        """Continue on this server connection; what must be replayed precedes the next message."""
        raise NotImplementedError

    def detach(self) -> None:
        """Leave the server connection; bytes that were not sent on stay in ``held``."""
        raise NotImplementedError

    def receive(self, data: bytes) -> None:
        """Take bytes from the client while a server is attached."""
        raise NotImplementedError

    def settle(self) -> bytes:
        """At the end of a transaction: ask the server what must be known before leaving it.

        ``b""`` when nothing must be asked.
        """
        raise NotImplementedError

    def pin_reason(self) -> str:
        """Why this session keeps its server connection; empty if it does not."""
        raise NotImplementedError

    def moving(self) -> str | None:
        """The database whose pool a pinned session belongs in, if that is all that pins it."""
        raise NotImplementedError

    def moved(self) -> bool:
        """The session has joined another pool: say whether its server connection does, too."""
        raise NotImplementedError

    def forgives(self, error: ProxyError) -> bool:
        """Whether an error that would end the session only fails the held message."""
        raise NotImplementedError

    def in_message(self) -> bool:
        """Whether the client is in the middle of a message that is already going to the server."""
        raise NotImplementedError

    def errand_done(self, error: ProxyError | None) -> None:
        """Tell the client, in ``to_client``, what came of ``errand``: ``None`` is success."""
        raise NotImplementedError

    def refuse(self, error: ProxyError) -> None:
        """Answer the held message with an error that is not fatal, in ``to_client``."""
        raise NotImplementedError

    def greeting_query(self) -> bytes:
        """What to send to a server to learn what to greet the client with."""
        raise NotImplementedError

    def greeting(self) -> bytes:
        """Greet the client with what the attached server reports."""
        raise NotImplementedError

    def say(self, error: ProxyError) -> bytes:
        """Encode an error for this client."""
        raise NotImplementedError
