"""The answers of a relay worker: it asks the supervisor."""

from __future__ import annotations

import os
from itertools import count
from typing import TYPE_CHECKING, cast

from proxy.net.oversight import Oversight
from proxy.workers.desk import Desk
from proxy.workers.messages import BudgetLearned, CancelSession, Closed, Opened, VacateDatabase
from proxy.workers.mover import Mover

if TYPE_CHECKING:
    import asyncio

    from proxy.net.gateway import Gateway
    from proxy.session.server_link import ServerLink
    from proxy.wire.dialect import Cancel
    from proxy.workers.channel import Channel


class WorkerOversight(Oversight):
    """Passes on to the supervisor what one process cannot know."""

    def __init__(self, index: int, processes: int, channel: Channel) -> None:
        self.index = index
        self.processes = processes
        self.desks: dict[str, Desk] = {}
        """By proxy, like ``movers``."""
        self.movers: dict[str, Mover] = {}
        self._channel = channel
        self._numbers: dict[ServerLink, int] = {}
        """What the supervisor calls the server connections."""
        self._count = count(1)

    def attend(self, gateway: Gateway) -> None:
        """Begin without any connection."""
        desk = Desk(gateway, self._channel.send)
        mover = Mover(desk, self, self._channel)
        desk.move = mover.give_up
        self.desks[gateway.config.name] = desk
        self.movers[gateway.config.name] = mover

    def set_budget(self, gateway: Gateway, budget: int, now: float) -> None:
        """Tell what a target allows; what the configuration says the supervisor knows itself."""
        if not gateway.config.target_group.max_connections:
            self._channel.send(BudgetLearned(gateway.config.name, budget))

    def connected(self, gateway: Gateway, server: ServerLink) -> None:
        """Leave a duplicate of the socket with the supervisor."""
        connection = cast("asyncio.Transport", server.transport).get_extra_info("socket")
        number = self._numbers[server] = next(self._count)
        request, user = server.cancel_request.hex(), server.pool.key[1]
        message = Opened(gateway.config.name, number, request, server.tls, user)
        self._channel.send(message, os.dup(connection.fileno()))

    def gone(self, gateway: Gateway, server: ServerLink) -> None:
        """The duplicate is of no use any more, and the slot is free."""
        number = self._numbers.pop(server, None)
        if number is not None:
            self._channel.send(Closed(number))
        self.desks[gateway.config.name].released()

    def forward_cancel(self, gateway: Gateway, request: Cancel) -> bool:
        """Pass on what is not ours; the owner checks the secret."""
        if request.number % self.processes == self.index:
            return False
        name = gateway.config.name
        secret = request.secret.hex()
        message = CancelSession(name, request.number, secret, request.user, request.whole)
        self._channel.send(message)
        return True

    def forward_vacate(self, gateway: Gateway, database: str) -> None:
        """Have the supervisor tell the other workers."""
        self._channel.send(VacateDatabase(gateway.config.name, database))

    def forget(self, server: ServerLink) -> int | None:
        """Give the number of a connection that is about to leave the process, and forget it."""
        return self._numbers.pop(server, None)
