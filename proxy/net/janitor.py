"""One periodic look at everything that can take too long, instead of a timer per connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import BorrowTimeout, IdleClient, IdleInTransaction
from proxy.pool.upkeep import expired_waiters, missing, surplus
from proxy.session.server_link import RECOVERY_S, ServerLink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from proxy.config.model import ProxyConfig
    from proxy.pool.limits import Target
    from proxy.pool.pool import Pool
    from proxy.session.client_link import ClientLink

TICK_S: Final = 0.2
"""Seconds between looks at waiters and server connections."""
CLIENT_TICKS: Final = 10
"""Every so many ticks the resting clients are looked at, too."""
HALF_CLOSED_S: Final = 1.0
"""Seconds that a client which has closed its side gets to receive what it asked for last. A process
that was killed looks the same, and its query must not run on."""
STALLED_S: Final = 60.0
"""Seconds a client may refuse to read, or stop in the middle of a message, while it holds a server
connection and ``idle_transaction_timeout_s`` is off."""


class Janitor:
    """Enforces the time limits of one proxy. ``tick`` is called every ``TICK_S`` seconds."""

    def __init__(
        self,
        config: ProxyConfig,
        target: Target,
        clients: Callable[[], Iterable[ClientLink]],
        servers: Callable[[], Iterable[ServerLink]],
        cancel: Callable[[ServerLink], None],
        forget: Callable[[Pool], None],
    ) -> None:
        self.config = config
        self._target = target
        self._clients = clients
        self._servers = servers
        self._cancel = cancel
        self._forget = forget
        self._ticks = 0
        self.budget: int | None = None
        """What percentages of the budget refer to, where it is not the target's maximum."""

    def tick(self, now: float) -> None:
        """Look at everything once."""
        for server in list(self._servers()):
            self._look_at_server(server, now)
        for pool in list(self._target.pools):
            self._look_at_pool(pool, now)
        budget = self._target.maximum if self.budget is None else self.budget
        maximum_idle = budget * self.config.target_group.max_idle_connections_percent // 100
        for connection in surplus(self._target, now, maximum_idle):
            if connection.pool.remove_idle(connection):
                connection.retire("idle")
        for pool in [pool for pool in self._target.pools if pool.is_useless()]:
            self._forget(pool)
        self._ticks += 1
        if self._ticks % CLIENT_TICKS == 0:
            self._look_at_clients(now)

    def _look_at_pool(self, pool: Pool, now: float) -> None:
        timeout_s = self.config.target_group.connection_borrow_timeout_s
        for waiter in expired_waiters(pool, now, timeout_s):
            pool.unpark(waiter)
            waiter.turn_away(
                BorrowTimeout(f"no database connection came free within {timeout_s:g} seconds")
            )
        if pool.waiters:
            self._target.demand(pool, now)
        for _ in range(missing(pool, now)):
            pool.connecting += 1
            self._target.open_connection(pool)

    def _look_at_server(self, server: ServerLink, now: float) -> None:
        client = server.client
        if client is not None:
            self._look_at_session(server, client, now)
        elif server.closing_since:
            server.closing(now)
        elif server.recovering_since and now - server.recovering_since > RECOVERY_S:
            server.recovering_since = 0.0
            server.retire("did not become clean in time")

    def _look_at_session(self, server: ServerLink, client: ClientLink, now: float) -> None:
        if client.left_at and now - client.left_at > HALF_CLOSED_S:
            client.abort("client closed the connection")
            return
        limit_s = self.config.idle_transaction_timeout_s
        silent_s = now - max(client.last_received, client.progress_at)
        stream = server.stream
        if stream.awaits_client() and limit_s and silent_s > limit_s:
            client.fail(
                IdleInTransaction("terminating connection due to idle-in-transaction timeout"),
                "idle in transaction",
            )
        elif client.write_blocked or (client.stream.in_message() and not client.reading_paused):
            if now - max(client.last_received, client.blocked_at) > (limit_s or STALLED_S):
                client.abort("stalled")
        elif not stream.is_quiet() and not client.query_cancelled:
            query_s = self.config.query_timeout_s
            if query_s and now - client.sent_at > query_s:
                client.query_cancelled = True
                self._cancel(server)

    def _look_at_clients(self, now: float) -> None:
        limit_s = self.config.idle_client_timeout_s
        for client in list(self._clients()):
            if now - max(client.last_received, client.progress_at) < limit_s or client.parked:
                continue
            if client.server is None or client.server.stream.is_idle():
                client.fail(IdleClient("terminating connection due to idle client timeout"), "idle")
