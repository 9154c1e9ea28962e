"""What a proxy asks of whoever owns the budget and knows the other processes.

Alone in its process it asks nobody, and this class answers. In a relay worker a class derived from
it passes the questions on to the supervisor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.net.gateway import Gateway
    from proxy.session.server_link import ServerLink
    from proxy.wire.dialect import Cancel


class Oversight:
    """The answers of a process that has everything to itself."""

    index = 0
    """Which of the processes that share the endpoints this is, from 0."""
    processes = 1
    """How many processes share the endpoints."""

    def attend(self, gateway: Gateway) -> None:
        """Take note of a proxy that has just been made, and give it what it may use at first."""
        budget = gateway.config.target_group.max_connections
        if budget:
            gateway.target.maximum = budget

    def share(self, total: int) -> int:
        """This process's part, rounded up, of a number that is meant for all processes."""
        return -(-total // self.processes)

    def set_budget(self, gateway: Gateway, budget: int, now: float) -> None:
        """The target's budget is known, or has changed: connections over all processes."""
        gateway.target.set_maximum(budget, now)

    def connected(self, gateway: Gateway, server: ServerLink) -> None:
        """A server connection has logged in."""

    def gone(self, gateway: Gateway, server: ServerLink) -> None:
        """The server has closed a connection on its side, too."""

    def forward_cancel(self, gateway: Gateway, request: Cancel) -> bool:
        """Pass on a cancel request for a session of another process; says whether it did."""
        return False

    def forward_vacate(self, gateway: Gateway, database: str) -> None:
        """Have other processes leave a database, too."""
