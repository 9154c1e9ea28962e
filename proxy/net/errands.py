"""Does for clients what only the proxy can: end sessions, log in again, leave a database."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, cast

from proxy.errors import NotYourSession, ProxyError, SessionKilled, UnknownSession
from proxy.net.conversation import ConversationProtocol
from proxy.net.runtime import spawn
from proxy.net.vacating import Vacating
from proxy.wire.dialect import Cancel, Kill, Move, VacateDatabases

if TYPE_CHECKING:
    from proxy.net.gateway import Gateway
    from proxy.session.client_link import ClientLink
    from proxy.wire.dialect import LogInAgain


class Errands:
    """The errands of one proxy's clients."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.vacating = Vacating(gateway.pools)

    def run(self, client: ClientLink) -> None:
        """Do what a client asks; what it sent behind that is dealt with next."""
        errand = client.stream.errand
        client.stream.errand = None
        if isinstance(errand, Kill):
            error = self._kill(client, errand)
            client.stream.errand_done(error)
            client.transport.write(client.stream.to_client)
            if isinstance(error, SessionKilled):
                client.close("killed")
            else:
                # Not from here: a client may have sent any number of them at once.
                asyncio.get_running_loop().call_soon(self._go_on, client)
        elif isinstance(errand, VacateDatabases):
            for name in errand.names:
                self.vacating.begin(name, client)
                self._gateway.oversight.forward_vacate(self._gateway, name)
            asyncio.get_running_loop().call_soon(self._go_on, client)
        elif isinstance(errand, Move):
            self.move(client, errand.database)
            asyncio.get_running_loop().call_soon(self._go_on, client)
        elif errand is not None:
            self._log_in_again(client, errand)

    def move(self, client: ClientLink, database: str) -> None:
        """Have a session join the pool of another database, with its connection if that fits."""
        left = client.pool
        pool = self._gateway.pool((database, *left.key[1:]))
        left.sessions -= 1
        pool.sessions += 1
        pool.warm_from = 0.0
        client.pool = pool
        if client.stream.moved() and client.server is not None:
            pool.adopt(client.server)
            # Whoever waits for that connection needs another one.
            left.target.demand(left, monotonic())

    def _go_on(self, client: ClientLink) -> None:
        if client.closed:
            return
        server = client.server
        if server is not None:
            client.forward(b"", server, monotonic())
        elif client.stream.held and not client.parked:
            client.start(client.stream.held, monotonic())

    def _kill(self, client: ClientLink, errand: Kill) -> ProxyError | None:
        """End a session of the same user; other users' are beyond what can be decided here."""
        gateway, number = self._gateway, errand.number
        user = client.pool.key[1]
        request = Cancel(number, b"", user, whole=not errand.query_only)
        target = gateway.clients.get(number)
        if target is None:
            if gateway.oversight.forward_cancel(gateway, request):
                return None
            return UnknownSession(f"Unknown thread id: {number}")
        if target.pool.key[1] != user:
            return NotYourSession(f"You are not owner of thread {number}")
        if target is client:
            # Of itself it runs nothing but this.
            return SessionKilled("Query execution was interrupted") if request.whole else None
        gateway.cancel(request)
        return None

    def _log_in_again(self, client: ClientLink, errand: LogInAgain) -> None:
        """End a session, and begin another one on its connection with the same number."""
        leftover = client.stream.held
        client.resume_client()
        client.finish("user changed")
        connection = ConversationProtocol()
        transport = cast("asyncio.Transport", client.transport)
        connection.connection_made(transport)
        transport.set_protocol(connection)
        if leftover:
            connection.data_received(leftover)
        again = self._gateway.serve_again(connection, client.counters, client.number, errand)
        spawn(again, "login again")
