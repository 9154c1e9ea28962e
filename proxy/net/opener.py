"""Opens server connections for a proxy's pools, with the secret and the settings they need."""

from __future__ import annotations

import random
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, cast

from proxy.errors import CredentialError, ProxyError, ServerRefused
from proxy.metrics.counters import PoolCounters
from proxy.net.dialer import backoff_s, poller, reset
from proxy.net.runtime import spawn
from proxy.pool.pool import Pool
from proxy.session.server_link import ServerLink
from proxy.wire.dialect import ServerPlan

if TYPE_CHECKING:
    import asyncio

    from proxy.config.model import AuthConfig, ProxyConfig
    from proxy.credentials.cache import CredentialCache
    from proxy.net.gateway import Gateway
    from proxy.pool.pool import PoolKey
    from proxy.wire.dialect import Dialect, ServerFacts, ServerSession
    from proxy.wire.steps import Conversation

LIFETIME_JITTER: Final = 0.1
"""Share of the maximum lifetime by which it varies, so that connections do not all go at once."""


def make_pool(gateway: Gateway, key: PoolKey) -> Pool:
    """Make a pool, with what it shares with other pools of its user."""
    shared = None
    if gateway.dialect.state_spans_databases:
        akin = (pool.shared for other, pool in gateway.pools.items() if other[1:] == key[1:])
        shared = next(akin, None)
    group = gateway.config.target_group
    if shared is None:
        most = group.max_prepared_statements
        shared = gateway.dialect.shared_state(max_prepared_statements=most)
    minimum = gateway.oversight.share(group.min_connections)
    return Pool(gateway.target, key, PoolCounters(), minimum, shared)


class Opener:
    """Opens the server connections of one proxy."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def open(self, pool: Pool) -> None:
        """Start to open a connection; the pool hears of the outcome."""
        spawn(self._open(pool), f"open {self._gateway.config.name} {pool.name}")

    async def _open(self, pool: Pool) -> None:
        gateway = self._gateway
        try:
            link = await self._dial(pool)
        except ProxyError as error:
            pool.counters.setup_failed += 1
            self._reject_secret(pool, error)
            gateway.available = isinstance(error, ServerRefused)
            gateway.journal.open_failed(pool, error)
            pool.open_failed(error, monotonic(), backoff_s(pool.failures))
        except BaseException:
            pool.open_failed(ProxyError("internal error"), monotonic(), backoff_s(pool.failures))
            raise
        else:
            gateway.available = True
            pool.counters.setup_succeeded += 1
            pool.opened(link, monotonic())

    async def visiting_plan(self) -> ServerPlan | None:
        """How to log in as some user, to no database; ``None`` if no user is known by name."""
        gateway = self._gateway
        for entry in gateway.config.auth:
            if entry.user != "*" and entry.credential:
                return await self.plan_for(entry.user)
        return None

    async def plan_for(self, user: str) -> ServerPlan:
        """How to log in as a user, to no database. Raises ``CredentialError``."""
        gateway = self._gateway
        return await plan_for(gateway.config, gateway.dialect, gateway.credentials, user)

    async def _dial(self, pool: Pool) -> ServerLink:
        gateway = self._gateway
        database, user, parameters = pool.key
        secret = await self._secret(pool, user)
        plan = _plan(gateway.config, user, secret, database, dict(parameters))
        # A new secret has begun a generation, to which this connection belongs. One that begins
        # from here on makes the connection out of date before it is open.
        generation = pool.generation
        group = gateway.config.target_group

        def warm_up(session: ServerSession) -> Conversation[ServerFacts]:
            limits = not group.max_connections
            shared, query = pool.shared, group.init_query
            return gateway.dialect.warm_up(shared, session, query, monotonic(), limits=limits)

        connection, session, facts = await gateway.dialer.open(plan, warm_up)
        gateway.profile.learn(session.profile)
        now = monotonic()
        if not group.max_connections:
            allowed = facts.usable_connections * group.max_connections_percent // 100
            gateway.oversight.set_budget(gateway, max(1, allowed), now)
        stream = gateway.dialect.server_stream(pool.shared, session, facts)
        link = ServerLink(
            connection.transport, stream, pool, gateway.journal, now, self._lifetime_s()
        )
        link.generation = generation
        link.cancel_request = session.cancel_request
        link.number = session.process_id
        link.tls = session.tls is not None
        link.poll = poller(connection.transport)
        link.reset = partial(reset, connection.transport)
        gateway.servers.add(link)
        gateway.oversight.connected(gateway, link)
        gateway.journal.server_connected(link)
        leftover = connection.hand_over(cast("asyncio.Protocol", link))
        if leftover:
            stream.receive(leftover)
        return link

    def _lifetime_s(self) -> float:
        spread = random.uniform(-LIFETIME_JITTER, LIFETIME_JITTER)  # noqa: S311
        return self._gateway.config.target_group.connection_max_lifetime_s * (1.0 + spread)

    def _reject_secret(self, pool: Pool, error: ProxyError) -> None:
        """Fetch the secret again for the next attempt if the server did not take this one."""
        entry = self._gateway.auth_entry(pool.key[1])
        if isinstance(error, ServerRefused) and error.secret_rejected and entry is not None:
            self._gateway.credentials.invalidate(entry.credential, pool.key[1])

    async def _secret(self, pool: Pool, user: str) -> Any:
        gateway = self._gateway
        entry = gateway.auth_entry(user)
        if entry is None:
            raise CredentialError(f'no auth entry for user "{user}" any more')
        if not entry.credential:
            return gateway.dialect.server_secret("", {}, pool.recovered)
        held = await gateway.credentials.get(entry.credential, user)
        if held.generation != pool.credential_generation:
            if pool.credential_generation is not None:
                pool.retire_all()
            pool.credential_generation = held.generation
        return gateway.dialect.server_secret(held.secret, held.derived, pool.recovered)


async def plan_for(
    config: ProxyConfig, dialect: Dialect, credentials: CredentialCache, user: str
) -> ServerPlan:
    """How to log in as a user, to no database. Raises ``CredentialError``."""
    entry = auth_entry(config, user)
    if entry is None:
        raise CredentialError(f'no auth entry for user "{user}" any more')
    if not entry.credential:
        return _plan(config, user, dialect.server_secret("", {}, None))
    held = await credentials.get(entry.credential, user)
    return _plan(config, user, dialect.server_secret(held.secret, held.derived, None))


def _plan(
    config: ProxyConfig,
    user: str,
    secret: Any,
    database: str = "",
    parameters: dict[str, str] | None = None,
) -> ServerPlan:
    target = config.target[0]
    return ServerPlan(
        user=user,
        database=database,
        parameters=parameters or {},
        tls_mode=target.tls,
        unix_socket=target.host.startswith("/"),
        secret=secret,
    )


def auth_entry(config: ProxyConfig, user: str) -> AuthConfig | None:
    """Give the first auth entry that speaks of a user."""
    for entry in config.auth:
        if entry.user in (user, "*"):
            return entry
    return None
