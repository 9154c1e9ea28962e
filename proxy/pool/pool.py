"""The server connections of one (database, user) on one target, and who waits for them.

Idle connections are a stack: the one used last is lent first, so a burst that is over leaves the
others untouched at the bottom, to be stolen or trimmed oldest first. Waiters are a queue: first
come, first served, and a newcomer never overtakes. Borrowing and returning are synchronous; opening
a connection is asked of the target, which owns the budget.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proxy.errors import ProxyError
    from proxy.metrics.counters import PoolCounters
    from proxy.pool.limits import Target


PoolKey = tuple[str, str, tuple[tuple[str, str], ...]]
"""Database, user, start-up parameters that cannot be changed later."""


class Connection:
    """A server connection as the pool sees it."""

    def __init__(self, pool: Pool, now: float, lifetime_s: float) -> None:
        self.pool = pool
        self.opened_at = now
        self.idle_since = now
        self.expires_at = now + lifetime_s
        self.generation = pool.generation

    def usable(self, now: float) -> bool:
        """Whether it can be lent: still open, as far as can be told without asking the server."""
        raise NotImplementedError

    def retire(self, reason: str) -> None:
        """Close an idle connection politely; the pool hears of it through ``closed``."""
        raise NotImplementedError


class Waiter:
    """A client that waits for a server connection."""

    def __init__(self) -> None:
        self.waiting_since = 0.0

    def lend(self, connection: Connection, now: float) -> None:
        """Take the connection waited for."""
        raise NotImplementedError

    def turn_away(self, error: ProxyError) -> None:
        """Stop waiting: there will be no connection."""
        raise NotImplementedError


class Pool:
    """Server connections of one (database, user)."""

    def __init__(
        self, target: Target, key: PoolKey, counters: PoolCounters, minimum: int, shared: Any
    ) -> None:
        self.target = target
        self.key = key
        self.name = f"{key[0]}/{key[1]}"
        self.counters = counters
        self.shared = shared
        """What all sessions and connections of the pool share; the engine's business."""
        self.credential_generation: int | None = None
        """Generation of the secret that the open connections logged in with."""
        self.recovered: Any = None
        """What a client's authentication revealed that helps to log in to the server."""
        self.minimum = minimum
        """Connections kept open while the pool is in use."""
        self.warm_from = 0.0
        """Time before which the minimum is not opened: somebody needs the database empty."""
        self.idle: list[Connection] = []
        self.waiters: deque[Waiter] = deque()
        self.borrowed = 0
        self.connecting = 0
        self.closing = 0
        """Retired connections whose server process has not ended yet."""
        self.generation = 0
        """Connections of an older generation are closed instead of lent again."""
        self.sessions = 0
        """Clients that are logged in."""
        self.retry_at = 0.0
        """After a failed attempt, the time before which no connection is opened."""
        self.failures = 0

    @property
    def open(self) -> int:
        """Connections that are open at the server."""
        return len(self.idle) + self.borrowed + self.closing

    @property
    def size(self) -> int:
        """Slots of the budget in use: open connections and attempts."""
        return len(self.idle) + self.borrowed + self.closing + self.connecting

    @property
    def demand(self) -> int:
        """Connections in use or wanted."""
        return self.borrowed + len(self.waiters)

    def is_useless(self) -> bool:
        """Whether it never had a connection and nobody wants one: no such database, perhaps."""
        return self.sessions == 0 and self.size == 0 and self.counters.setup_succeeded == 0

    def take(self, now: float) -> Connection | None:
        """Borrow an idle connection; ``None`` if the caller has to wait."""
        if self.waiters:
            return None
        while self.idle:
            connection = self.idle.pop()
            self.borrowed += 1
            if connection.usable(now):
                return connection
            connection.retire("lost while idle")
        return None

    def park(self, waiter: Waiter, now: float) -> None:
        """Queue a client and see to it that a connection comes."""
        waiter.waiting_since = now
        self.waiters.append(waiter)
        self.target.demand(self, now)

    def unpark(self, waiter: Waiter) -> None:
        """Forget a client that waits no longer."""
        try:
            self.waiters.remove(waiter)
        except ValueError:
            return

    def give(self, connection: Connection, now: float) -> None:
        """Take a borrowed connection back: idle, in sync and clean."""
        if connection.generation != self.generation or now >= connection.expires_at:
            connection.retire("replaced")
            return
        if self.target.contended and self.target.owes_another(self):
            self.target.shed(connection)
            return
        self.hand_over(connection, now)

    def hand_over(self, connection: Connection, now: float) -> None:
        """Lend a connection that counts as borrowed to the next waiter, or let it rest."""
        if self.waiters:
            self.waiters.popleft().lend(connection, now)
            return
        self.borrowed -= 1
        connection.idle_since = now
        self.idle.append(connection)

    def opened(self, connection: Connection, now: float) -> None:
        """Welcome a connection that was asked for."""
        self.connecting -= 1
        self.failures = 0
        self.retry_at = 0.0
        self.borrowed += 1
        if connection.generation != self.generation:
            connection.retire("replaced")
            return
        self.hand_over(connection, now)

    def open_failed(self, error: ProxyError, now: float, backoff_s: float) -> None:
        """Note a failed attempt. Unless other connections can serve them, the waiters are told."""
        self.connecting -= 1
        self.failures += 1
        self.retry_at = now + backoff_s
        if self.borrowed == 0 and not self.idle and not self.connecting:
            waiters = self.waiters
            self.waiters = deque()
            for waiter in waiters:
                waiter.turn_away(error)
        self.target.slot_freed(now)

    def retired(self) -> None:
        """Note that a borrowed connection is closing."""
        self.borrowed -= 1
        self.closing += 1

    def adopt(self, connection: Connection) -> None:
        """Take over a borrowed connection of another pool of the same target."""
        up_to_date = connection.generation == connection.pool.generation
        connection.pool.borrowed -= 1
        self.borrowed += 1
        connection.pool = self
        connection.generation = self.generation if up_to_date else self.generation - 1

    def departed(self, now: float) -> None:
        """Note that a borrowed connection has gone to another process, and its slot with it."""
        self.borrowed -= 1
        self.target.slot_freed(now)

    def closed(self, now: float) -> None:
        """Note that a closing connection is gone."""
        self.closing -= 1
        self.target.slot_freed(now)

    def remove_idle(self, connection: Connection) -> bool:
        """Take an idle connection out to be closed; it then counts as borrowed."""
        if connection in self.idle:
            self.idle.remove(connection)
            self.borrowed += 1
            return True
        return False

    def retire_idle(self, reason: str) -> None:
        """Close the idle connections; those that are borrowed stay."""
        for connection in list(self.idle):
            if self.remove_idle(connection):
                connection.retire(reason)

    def retire_all(self) -> None:
        """Start a new generation: idle connections close now, borrowed ones when returned."""
        self.generation += 1
        while self.idle:
            connection = self.idle.pop()
            self.borrowed += 1
            connection.retire("replaced")
