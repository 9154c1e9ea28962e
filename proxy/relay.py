"""Every proxy of one process: what carries clients to servers, wherever its clients come from."""

from __future__ import annotations

import asyncio
import logging
import secrets
from time import monotonic
from typing import TYPE_CHECKING, Final

from proxy import __version__
from proxy.credentials.cache import CredentialCache
from proxy.metrics.snapshot import Snapshot
from proxy.mysql.dialect import MysqlDialect
from proxy.net import census, logs, runtime
from proxy.net.dialer import Dialer
from proxy.net.gateway import Gateway
from proxy.net.listener import Listener
from proxy.net.oversight import Oversight
from proxy.net.tls import ServerTls, client_context
from proxy.postgres.dialect import PostgresDialect

if TYPE_CHECKING:
    from proxy.config.model import Config, ProxyConfig
    from proxy.wire.dialect import Dialect

log = logging.getLogger("tidegate")

SERVERS_CLOSE_S: Final = 5.0
"""Seconds that servers get to end their processes at the end."""


def dialect_of(config: ProxyConfig) -> Dialect:
    """Make what speaks a proxy's protocol."""
    if config.engine == "mysql":
        return MysqlDialect(secrets.token_bytes)
    return PostgresDialect(secrets.token_bytes)


def dialer_of(config: ProxyConfig) -> Dialer:
    """Make what opens connections to a proxy's target."""
    target = config.target[0]
    context = client_context(target.tls, target.tls_ca)
    return Dialer(target, dialect_of(config), context)


class Relay:
    """The proxies of a configuration at run time."""

    def __init__(
        self,
        config: Config,
        oversight: Oversight | None = None,
        credentials: CredentialCache | None = None,
    ) -> None:
        self.config = config
        self.oversight = oversight or Oversight()
        self.credentials = credentials or CredentialCache()
        self.gateways: list[Gateway] = []
        self.listeners: list[Listener] = []
        """One per endpoint, in the order of the configuration."""
        self.ready = False
        self.draining = False
        for proxy in config.proxy.values():
            self._build(proxy)

    def _build(self, config: ProxyConfig) -> None:
        tls = ServerTls(config.tls_cert, config.tls_key) if config.tls_cert else None
        gateway = Gateway(
            config,
            dialect_of(config),
            dialer_of(config),
            self.credentials,
            tls,
            allow_public=self.config.process.allow_public_bind,
            oversight=self.oversight,
        )
        self.gateways.append(gateway)
        self.listeners += [Listener(endpoint, gateway) for endpoint in config.endpoint]

    def tick(self, now: float) -> None:
        """Enforce time limits; to be called every ``TICK_S`` seconds."""
        for gateway in self.gateways:
            try:
                gateway.janitor.tick(now)
            except Exception:
                log.exception("upkeep_failed")

    def reconfigure(self, config: Config) -> None:
        """Apply a configuration that differs only in what a running process can apply."""
        self.config = config
        for gateway in self.gateways:
            mine = config.proxy.get(gateway.config.name)
            if mine is not None:
                gateway.reconfigure(mine)

    def reload_certificates(self, *, quietly: bool = False) -> None:
        """Read certificate files that have changed, and say so."""
        for gateway in self.gateways:
            outcome = gateway.tls.reload_if_changed() if gateway.tls is not None else None
            if outcome is not None and not quietly:
                name = gateway.config.name
                logs.event(log, logging.INFO, "tls_certificate", proxy=name, outcome=outcome)

    async def drain(self, grace_s: float) -> None:
        """Finish transactions, tell idle clients, close everything, within the grace period."""
        deadline = monotonic() + grace_s
        self.draining = True
        self.ready = False
        for listener in self.listeners:
            listener.close()
        for gateway in self.gateways:
            gateway.drain()
        while any(gateway.clients for gateway in self.gateways) and monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        for gateway in self.gateways:
            gateway.close_clients()
        for gateway in self.gateways:
            await gateway.close_servers(monotonic() + SERVERS_CLOSE_S)

    def snapshot(self) -> Snapshot:
        """What the process looks like now."""
        return Snapshot(
            endpoints=census.endpoints(self.listeners),
            pools=tuple(row for gateway in self.gateways for row in census.pools(gateway)),
            targets=tuple(census.target(gateway) for gateway in self.gateways),
            ready=self.ready,
            draining=self.draining,
            build=runtime.build_facts(__version__),
            log_records_dropped=logs.dropped(),
        )
