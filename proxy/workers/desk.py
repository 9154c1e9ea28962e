"""A worker's side of the budget: obeys the quota of each proxy, and says how it is used.

A report goes out when clients wait and no slot is left: at once if nothing is borrowed, so that
nothing can come back by itself; otherwise after ``STARVED_S``, because a connection that returns
meanwhile is nearer than one that another worker must give up. While clients wait it is repeated
every ``REPEAT_S``; otherwise changes are told with the periodic upkeep.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, cast

from proxy.workers.messages import Quota, Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.net.gateway import Gateway
    from proxy.pool.pool import Connection, Pool
    from proxy.session.server_link import ServerLink
    from proxy.workers.messages import Message

STARVED_S: Final = 0.002
REPEAT_S: Final = 0.02
RESTED_S: Final = 0.02
"""Connections idle for less are between two transactions of a busy worker: to move those would
only move them back."""
WANTED_POOLS: Final = 16
"""Pools named in a report; that many are enough to choose connections by."""


class Desk:
    """The budget of one proxy in one worker."""

    def __init__(self, gateway: Gateway, send: Callable[[Message], None]) -> None:
        self.gateway = gateway
        self.accepted = 0
        """Clients handed over by the supervisor so far."""
        self.wanted: set[Any] = set()
        """Keys of pools that clients of other workers wait for."""
        self.move: Callable[[ServerLink], bool] = lambda _link: False
        """Gives a connection up for another worker, if it can be moved."""
        self._send = send
        self._serial = 0
        self._last: Usage | None = None
        self._timer: asyncio.TimerHandle | None = None
        target = gateway.target
        target.maximum = 0
        target.starved = self.starved
        target.give_up = self._give_up

    # What the supervisor says.

    def obey(self, quota: Quota, now: float) -> None:
        """Take the quota; close or move idle connections above it, and answer."""
        target = self.gateway.target
        self._serial = quota.serial
        self.wanted = {pool_key(document) for document in quota.wanted}
        self.gateway.janitor.budget = quota.budget
        slots = quota.slots
        if quota.gently:
            waiting = any(pool.waiters for pool in target.pools)
            in_use = target.used - self._rested(now)
            slots = target.maximum if waiting else min(target.maximum, max(slots, in_use))
        target.set_maximum(slots, now)
        self._part_with_idle()
        self.report()

    def adopt(self, serial: int, slots: int) -> None:
        """A connection comes with a higher quota."""
        self._serial = serial
        self.gateway.target.maximum = slots

    def _part_with_idle(self) -> None:
        """Close or move idle connections above the quota: wanted ones first, longest idle first."""
        target = self.gateway.target
        idle = [connection for pool in target.pools for connection in pool.idle]
        idle.sort(key=lambda c: (c.pool.key not in self.wanted, c.idle_since))
        excess = target.used - sum(pool.closing for pool in target.pools) - target.maximum
        for connection in idle[: max(0, excess)]:
            if connection.pool.remove_idle(connection):
                target.shed(connection)

    def _rested(self, now: float) -> int:
        """Idle connections that nobody has wanted for a while."""
        return sum(
            now - connection.idle_since >= RESTED_S
            for pool in self.gateway.target.pools
            for connection in pool.idle
        )

    def _give_up(self, connection: Connection) -> bool:
        return connection.pool.key in self.wanted and self.move(cast("ServerLink", connection))

    # What the supervisor is told.

    def starved(self) -> None:
        """Clients wait and no slot is left."""
        if self._timer is None:
            returning = any(pool.borrowed or pool.connecting for pool in self.gateway.target.pools)
            delay_s = STARVED_S if returning else 0.0
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._timed)

    def released(self) -> None:
        """A slot has come free; who waits for it elsewhere should not wait longer."""
        target = self.gateway.target
        if target.used > target.maximum:
            asyncio.get_running_loop().call_soon(self.report)

    def _timed(self) -> None:
        self._timer = None
        self.report()

    def report(self) -> None:
        """Say how the quota is used, unless nothing has changed."""
        usage = self.usage()
        if usage != self._last:
            self._last = usage
            self._send(usage)
        if usage.waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(REPEAT_S, self._timed)

    def usage(self) -> Usage:
        """How the quota is used now."""
        gateway = self.gateway
        target = gateway.target
        now = monotonic()
        pools = [pool for pool in target.pools if now >= pool.retry_at]
        # A pool that has opened no connection itself does not know the database's functions.
        wanted = [pool.key for pool in pools if pool.waiters and pool.counters.setup_succeeded]
        return Usage(
            proxy=gateway.config.name,
            serial=self._serial,
            quota=target.maximum,
            used=target.used,
            idle=self._rested(now),
            coming=sum(pool.connecting + pool.closing for pool in target.pools),
            waiting=sum(_wanting(pool) for pool in pools),
            wanted=[list(key) for key in wanted[:WANTED_POOLS]],
            clients=len(gateway.clients) + len(gateway.logins),
            accepted=self.accepted,
        )


def _wanting(pool: Pool) -> int:
    return max(len(pool.waiters), pool.minimum - pool.size + pool.connecting + pool.closing)


def pool_key(document: list[Any]) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """Make a pool's key from what JSON made of it."""
    database, user, parameters = document
    return database, user, tuple((name, value) for name, value in parameters)
