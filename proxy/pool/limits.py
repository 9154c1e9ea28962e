"""The connection budget of one target, shared by the pools of its (database, user) pairs.

Every open connection, every attempt to open one and every one still closing takes a slot. A pool
that wants a connection when no slot is free takes one from a pool that has idle ones; when all are
busy, pools get shares of the budget in proportion to what they use and want, and a pool above its
share gives a connection up, when a client returns it, to one below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.pool.pool import Connection, Pool

UNKNOWN_LIMIT: Final = 1
"""Budget until the server has said what it allows."""


class Target:
    """One database server's budget and the pools that share it."""

    def __init__(self, open_connection: Callable[[Pool], None]) -> None:
        self.open_connection = open_connection
        """Starts to open a connection; later calls ``Pool.opened`` or ``Pool.open_failed``."""
        self.maximum = UNKNOWN_LIMIT
        self.pools: list[Pool] = []
        self.contended = False
        """A pool has waiters and found no slot, as of the last look."""
        self.closed = False
        self.starved: Callable[[], None] = _nobody_to_tell
        """Told when waiters find no slot, each time they ask."""
        self.give_up: Callable[[Connection], bool] = _nobody_to_take
        """Offers a connection that is lent to nobody, and counts as borrowed, to another process;
        says whether it is gone."""

    def set_maximum(self, maximum: int, now: float) -> None:
        """Change the budget; connections above it are closed as they are returned."""
        self.maximum = maximum
        self.contended = self.used > maximum
        self.slot_freed(now)

    @property
    def used(self) -> int:
        """Slots in use."""
        total = 0
        for pool in self.pools:  # Asked at every wait: a generator would double its cost.
            total += pool.size
        return total

    def demand(self, pool: Pool, now: float) -> None:
        """Open what a pool's waiters need, as far as the budget and its back-off allow."""
        if self.closed or now < pool.retry_at:
            return
        while len(pool.waiters) > pool.connecting:
            if pool.failures and pool.connecting:
                return
            if self.used >= self.maximum and not self.steal(pool):
                self.contended = self.contended or len(self.pools) > 1
                self.starved()
                return
            if self.used >= self.maximum:
                return
            pool.connecting += 1
            self.open_connection(pool)

    def steal(self, pool: Pool) -> bool:
        """Close the longest idle connection of another pool; its slot is free once it is gone."""
        if len(self.pools) == 1 and self.pools[0] is pool:
            return pool.closing >= len(pool.waiters)
        if sum(other.closing for other in self.pools) >= len(pool.waiters):
            return True
        victims = [other for other in self.pools if other is not pool and other.idle]
        if not victims:
            return False
        victim = min(victims, key=_longest_idle)
        connection = victim.idle[0]
        victim.remove_idle(connection)
        connection.retire("given to another pool")
        return True

    def shed(self, connection: Connection) -> None:
        """Part with an idle connection, which counts as borrowed, for others' sake."""
        if self.used <= self.maximum or not self.give_up(connection):
            connection.retire("given to another pool")

    def share(self, pool: Pool) -> int:
        """Connections a pool is entitled to: in proportion to demand, at least one."""
        total = sum(other.demand for other in self.pools)
        return max(1, self.maximum * pool.demand // max(1, total))

    def owes_another(self, pool: Pool) -> bool:
        """Whether a pool above its share has to give way to one below that waits."""
        if self.used > self.maximum:
            return True
        waiting = [other for other in self.pools if other is not pool and other.waiters]
        if not waiting:
            self.contended = any(other.waiters for other in self.pools)
            return False
        if self.used < self.maximum:
            return False
        if sum(other.closing for other in self.pools) >= len(waiting):
            return False
        poorer = any(other.size < self.share(other) for other in waiting)
        return poorer and pool.size > self.share(pool)

    def slot_freed(self, now: float) -> None:
        """Offer a free slot to the pool that is furthest below its share, oldest waiter first."""
        waiting = [pool for pool in self.pools if len(pool.waiters) > pool.connecting]
        waiting.sort(key=lambda pool: (pool.size - self.share(pool), pool.waiters[0].waiting_since))
        for pool in waiting:
            self.demand(pool, now)


def _nobody_to_tell() -> None:
    return


def _nobody_to_take(_connection: Connection) -> bool:
    return False


def _longest_idle(pool: Pool) -> float:
    return pool.idle[0].idle_since
