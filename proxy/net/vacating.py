"""Leaves databases that a client wants to drop, rename, move or copy.

PostgreSQL refuses that while anybody else is connected, after it has waited up to 5 seconds
(``CountOtherDBBackends`` in ``src/backend/storage/ipc/procarray.c``). Idle connections of a pool
without clients would be in the way, though directly nobody was connected. Those of a pool with
clients stay: directly their sessions would be in the way, too.
"""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.pool.pool import Pool, PoolKey
    from proxy.session.client_link import ClientLink

VACATE_S: Final = 5.0
"""Seconds a database is watched: as long as PostgreSQL waits. A client that has just left may not
have been noticed yet, or what it left behind is still being cleaned up."""
LOOK_S: Final = 0.05


class Vacating:
    """The databases that one proxy keeps out of at the moment."""

    def __init__(self, pools: dict[PoolKey, Pool]) -> None:
        self._pools = pools
        self._wanted: dict[str, tuple[ClientLink | None, float]] = {}
        """Who asked last for a database, and until when it is watched."""

    def begin(self, database: str, client: ClientLink | None) -> None:
        """Close what no client of the database needs, now and while the server waits for it.

        ``client`` is the one that asked, if it is of this process; it does not count itself.
        """
        watched = database in self._wanted
        self._wanted[database] = (client, monotonic() + VACATE_S)
        # However often it is asked for, there is one watch.
        if watched:
            self._leave_all(database)
        else:
            self._look(database)

    def _look(self, database: str) -> None:
        _, until = self._wanted[database]
        if self._leave_all(database) and monotonic() < until:
            asyncio.get_running_loop().call_later(LOOK_S, self._look, database)
        else:
            del self._wanted[database]

    def _leave_all(self, database: str) -> bool:
        """Leave a database in all its pools; says whether there are any."""
        client, until = self._wanted[database]
        pools = [pool for pool in self._pools.values() if pool.key[0] == database]
        for pool in pools:
            self._leave(pool, client, until)
        return bool(pools)

    def _leave(self, pool: Pool, client: ClientLink | None, until: float) -> None:
        asker = client is not None and not client.closed and client.pool is pool
        if pool.sessions == 0:
            pool.warm_from = inf
        elif pool.sessions == 1 and asker:
            pool.warm_from = max(pool.warm_from, until)
        else:
            return
        pool.retire_idle("its database is wanted empty")
