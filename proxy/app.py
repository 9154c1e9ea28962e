"""Composition root: builds every object from the configuration, serves, reloads and drains."""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
import signal
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from proxy import __version__
from proxy.admin import http as admin_http
from proxy.config.diff import applied, compare
from proxy.config.load import load
from proxy.credentials.cache import CredentialCache
from proxy.errors import ConfigError
from proxy.metrics.snapshot import Snapshot
from proxy.net import census, logs, runtime
from proxy.net.dialer import Dialer
from proxy.net.gateway import Gateway
from proxy.net.janitor import TICK_S
from proxy.net.listener import Listener
from proxy.net.tls import ServerTls, client_context
from proxy.postgres.dialect import PostgresDialect

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.admin.http import AdminServer
    from proxy.config.model import Config, ProxyConfig

log = logging.getLogger("tidegate")

RELOAD_LOOK_S: Final = 1.0
"""Seconds between looks at the configuration and certificate files."""
SERVERS_CLOSE_S: Final = 5.0
"""Seconds that servers get to end their processes at the end."""


class Application:
    """The whole process."""

    def __init__(self, config: Config, path: Path) -> None:
        self.config = config
        self.path = path
        self.credentials = CredentialCache()
        self.gateways: list[Gateway] = []
        self.listeners: list[Listener] = []
        self.admin: AdminServer | None = None
        self.ready = False
        self.stop = asyncio.Event()
        self._file_stamp = _stamp(path)
        self._reload_asked = False

    async def run(self) -> None:
        """Serve until told to stop. Raises ``ConfigError``, ``ListenFailed`` if it cannot begin."""
        for proxy_config in self.config.proxy.values():
            self._build(proxy_config)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop.set)
        loop.add_signal_handler(signal.SIGINT, self.stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._ask_reload)
        try:
            await self._open()
            self._event("started", version=__version__, runtime=runtime.describe())
            upkeep = runtime.spawn(self._upkeep(), "upkeep")
            await self.stop.wait()
            await self._drain()
            upkeep.cancel()
            # A second SIGTERM while the interpreter ends must not turn a clean exit into a kill.
            loop.remove_signal_handler(signal.SIGTERM)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        finally:
            for listener in self.listeners:
                listener.close()
            if self.admin is not None:
                await self.admin.close()

    def _build(self, config: ProxyConfig) -> None:
        dialect = PostgresDialect(secrets.token_bytes)
        tls = ServerTls(config.tls_cert, config.tls_key) if config.tls_cert else None
        target = config.target[0]
        dialer = Dialer(target, dialect, client_context(target.tls, target.tls_ca))
        allow_public = self.config.process.allow_public_bind
        gateway = Gateway(config, dialect, dialer, self.credentials, tls, allow_public=allow_public)
        self.gateways.append(gateway)
        self.listeners += [Listener(endpoint, gateway) for endpoint in config.endpoint]

    async def _open(self) -> None:
        allow_public = self.config.process.allow_public_bind
        for listener in self.listeners:
            await listener.open(allow_public=allow_public)
            self._event(
                "listening", proxy=listener.gateway.config.name, address=listener.endpoint.listen
            )
        if self.config.process.admin_listen:
            self.admin = await admin_http.start(
                self.config.process.admin_listen, self.snapshot, allow_public=allow_public
            )
        # What start-up made will never be garbage: keep it out of every collection.
        gc.collect()
        gc.freeze()
        self.ready = True

    async def _upkeep(self) -> None:
        """The one periodic task."""
        looked = monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            now = monotonic()
            for gateway in self.gateways:
                try:
                    gateway.janitor.tick(now)
                except Exception:
                    log.exception("upkeep_failed")
            if self._reload_asked or now - looked >= RELOAD_LOOK_S:
                looked = now
                await self._look_for_changes()

    async def _drain(self) -> None:
        """Finish transactions, tell idle clients, close everything, within the grace period."""
        deadline = monotonic() + self.config.process.shutdown_grace_s
        self.ready = False
        self._event("draining", grace_s=self.config.process.shutdown_grace_s)
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
        self._event("stopped")

    # Reload.

    def _ask_reload(self) -> None:
        self._reload_asked = True

    async def _look_for_changes(self) -> None:
        for gateway in self.gateways:
            if gateway.tls is not None:
                self._tell_tls(gateway, gateway.tls.reload_if_changed())
        stamp = _stamp(self.path)
        if not self._reload_asked and stamp == self._file_stamp:
            return
        self._reload_asked = False
        self._file_stamp = stamp
        try:
            new = await asyncio.to_thread(load, self.path)
        except ConfigError as error:
            self._event("reload_failed", level=logging.ERROR, error=str(error))
            return
        self.apply(new)

    def apply(self, new: Config) -> None:
        """Apply what can be applied to a running process, and say what cannot."""
        changes = compare(self.config, new)
        for change in changes:
            level = logging.INFO if change.live else logging.WARNING
            outcome = "applied" if change.live else "needs a restart"
            self._event("setting_changed", level=level, key=change.path, outcome=outcome)
        logs.configure(new.process.log_format, debug=_debug(new))
        self.config = applied(self.config, new)
        for gateway in self.gateways:
            config = self.config.proxy.get(gateway.config.name)
            if config is not None:
                gateway.reconfigure(config)
        self._event("reloaded", changes=len(changes))

    def _tell_tls(self, gateway: Gateway, outcome: str | None) -> None:
        if outcome is not None:
            self._event("tls_certificate", proxy=gateway.config.name, outcome=outcome)

    # Observation.

    def snapshot(self) -> Snapshot:
        """What the process looks like now."""
        return Snapshot(
            endpoints=census.endpoints(self.listeners),
            pools=tuple(row for gateway in self.gateways for row in census.pools(gateway)),
            targets=tuple(census.target(gateway) for gateway in self.gateways),
            ready=self.ready,
            draining=self.stop.is_set(),
            build=runtime.build_facts(__version__),
            log_records_dropped=logs.dropped(),
        )

    def _event(self, name: str, *, level: int = logging.INFO, **fields: Any) -> None:
        logs.event(log, level, name, **fields)


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_ino, status.st_size)


def _debug(config: Config) -> bool:
    return any(proxy.debug_logging for proxy in config.proxy.values())


def serve(config: Config, path: Path) -> int:
    """Serve the configuration until SIGTERM or SIGINT; return the exit code."""
    runtime.require_compiled()
    logs.configure(config.process.log_format, debug=_debug(config))
    runtime.run(_serve(config, path))
    return 0


async def _serve(config: Config, path: Path) -> None:
    await Application(config, path).run()
