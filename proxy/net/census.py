"""Counts clients and server connections for a snapshot; runs at scrape time only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.metrics.snapshot import EndpointSnapshot, PoolSnapshot, TargetSnapshot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.net.gateway import Gateway
    from proxy.net.listener import Listener
    from proxy.pool.pool import Pool


def endpoints(listeners: Iterable[Listener]) -> tuple[EndpointSnapshot, ...]:
    """One row per endpoint."""
    return tuple(
        EndpointSnapshot(
            proxy=listener.gateway.config.name,
            endpoint=listener.endpoint.name or listener.endpoint.listen,
            role=listener.endpoint.role,
            counters=listener.counters,
        )
        for listener in listeners
    )


def pools(gateway: Gateway) -> tuple[PoolSnapshot, ...]:
    """One row per pool of a proxy."""
    return tuple(_pool(gateway, pool) for pool in gateway.pools.values())


def _pool(gateway: Gateway, pool: Pool) -> PoolSnapshot:
    servers = [server for server in gateway.servers if server.pool is pool]
    lent = [server for server in servers if server.client is not None]
    return PoolSnapshot(
        proxy=gateway.config.name,
        target=gateway.dialer.name,
        database=pool.key[0],
        user=pool.key[1],
        counters=pool.counters,
        open=pool.open,
        tls=sum(server.tls for server in servers),
        idle=len(pool.idle),
        borrowed=pool.borrowed,
        in_transaction=sum(server.stream.in_transaction() for server in lent),
        pinned=sum(bool(server.client and server.client.pin) for server in lent),
        waiting=len(pool.waiters),
        connecting=pool.connecting,
    )


def target(gateway: Gateway) -> TargetSnapshot:
    """The row of a proxy's target."""
    return TargetSnapshot(
        proxy=gateway.config.name,
        target=gateway.dialer.name,
        role="read_write",
        max_allowed=gateway.target.maximum,
        available=gateway.available,
    )
