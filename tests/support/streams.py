"""The two protocol streams joined without links: what each sends, and what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.postgres.client_stream import PostgresClientStream
from proxy.postgres.pool_state import PoolState
from proxy.postgres.server_stream import PostgresServerStream
from tests.support.fake_postgres import Database, FakePostgres
from tests.support.stand import split

if TYPE_CHECKING:
    from tests.support.messages import Message

REPORTED = FakePostgres().reported()


def shared_state(statements: int = 100) -> PoolState:
    """Make what the streams of one pool share."""
    return PoolState(max_prepared_statements=statements)


def server_stream(shared: PoolState) -> PostgresServerStream:
    """Make the stream of a fresh server connection."""
    return PostgresServerStream(shared, shared.intern_reported(REPORTED), shared.settings.none)


def client_stream(shared: PoolState, **startup: str) -> PostgresClientStream:
    """Make the stream of a client that has been greeted."""
    client = PostgresClientStream(shared, shared.settings.intern(startup), b"")
    client.greet(shared.intern_reported(REPORTED))
    return client


class Pair:
    """A server session with its stream, lent to one client stream after the other."""

    def __init__(self, shared: PoolState | None = None, database: Database | None = None) -> None:
        self.shared = shared or shared_state()
        self.peer = FakePostgres(database)
        self.server = server_stream(self.shared)

    def say(self, client: PostgresClientStream, data: bytes) -> list[Message]:
        """Let a client say something until all is quiet; give what it hears."""
        if client.server is not self.server:
            assert client.server is None
            client.attach(self.server)
        client.receive(data)
        heard = client.to_client
        while True:
            assert client.error is None
            reply = self.peer.receive(client.to_server)
            client.to_server = b""
            self.server.receive(reply)
            assert not self.server.error
            heard += self.server.to_client
            self.server.to_client = b""
            if self.server.resume:
                self.server.resume = False
                if client.waiting:
                    client.waiting = False
                    client.receive(b"")
                    continue
            if self.server.is_idle() and not client.in_message():
                question = client.settle()
                if question:
                    client.to_server = question
                    continue
                if client.held == b"" and not client.pin_reason():
                    client.detach()
            return split(heard)

    def leave(self, client: PostgresClientStream) -> None:
        """Let a client vanish, and clean up after it."""
        client.detach()
        message = self.server.unstick() or self.server.recover()
        while message:
            self.server.receive(self.peer.receive(message))
            message = self.server.recover()
