"""What must be opened, closed or told off in a pool at a moment: pure decisions for the janitor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.pool.limits import Target
    from proxy.pool.pool import Connection, Pool, Waiter

SURPLUS_IDLE_S: Final = 60.0
"""Seconds an idle connection above ``max_idle_connections_percent`` is kept: bursts come back."""


def expired_waiters(pool: Pool, now: float, timeout_s: float) -> list[Waiter]:
    """Clients that have waited longer than the borrow timeout, first come first."""
    expired: list[Waiter] = []
    for waiter in pool.waiters:
        if now - waiter.waiting_since < timeout_s:
            break
        expired.append(waiter)
    return expired


def surplus(target: Target, now: float, maximum_idle: int) -> list[Connection]:
    """Idle connections to close: past their lifetime, or above the idle limit for a while."""
    doomed: list[Connection] = _above_budget(target)
    rested: list[Connection] = []
    for pool in target.pools:
        for connection in pool.idle:
            if connection in doomed:
                continue
            if now >= connection.expires_at:
                doomed.append(connection)
            elif now - connection.idle_since >= SURPLUS_IDLE_S:
                rested.append(connection)
    idle = sum(len(pool.idle) for pool in target.pools) - len(doomed)
    rested.sort(key=lambda connection: connection.idle_since)
    for connection in rested:
        if idle <= maximum_idle:
            break
        leaving = sum(other.pool is connection.pool for other in doomed)
        if connection.pool.open - leaving > connection.pool.minimum:
            doomed.append(connection)
            idle -= 1
    return doomed


def _above_budget(target: Target) -> list[Connection]:
    """Idle connections to close because the budget has shrunk, longest idle first."""
    excess = target.used - sum(pool.closing for pool in target.pools) - target.maximum
    if excess <= 0:
        return []
    idle = [connection for pool in target.pools for connection in pool.idle]
    return sorted(idle, key=lambda connection: connection.idle_since)[:excess]


def missing(pool: Pool, now: float) -> int:
    """Connections to open ahead of demand to reach the pool's minimum."""
    room = pool.target.maximum - pool.target.used
    if now < max(pool.retry_at, pool.warm_from) or pool.target.closed:
        return 0
    return max(0, min(pool.minimum - pool.size, room))
