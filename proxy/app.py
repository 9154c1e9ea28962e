"""Composition root: builds every object from the configuration, serves, reloads and drains."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from time import monotonic
from typing import TYPE_CHECKING, Any

from proxy import __version__
from proxy.admin import http as admin_http
from proxy.net import logs, runtime
from proxy.net.janitor import TICK_S
from proxy.relay import Relay
from proxy.reload import Reloader, configure_logs

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.admin.http import AdminServer
    from proxy.config.model import Config

log = logging.getLogger("tidegate")


class Application:
    """The whole process, when it is the only one."""

    def __init__(self, config: Config, path: Path) -> None:
        self.reloader = Reloader(config, path)
        self.relay = Relay(config)
        self.admin: AdminServer | None = None
        self.stop = asyncio.Event()

    async def run(self) -> None:
        """Serve until told to stop. Raises ``ConfigError``, ``ListenFailed`` if it cannot begin."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop.set)
        loop.add_signal_handler(signal.SIGINT, self.stop.set)
        loop.add_signal_handler(signal.SIGHUP, self.reloader.ask)
        try:
            await self._open()
            _event("started", version=__version__, runtime=runtime.describe(), workers=1)
            upkeep = runtime.spawn(self._upkeep(), "upkeep")
            await self.stop.wait()
            grace_s = self.reloader.config.process.shutdown_grace_s
            _event("draining", grace_s=grace_s)
            await self.relay.drain(grace_s)
            _event("stopped")
            upkeep.cancel()
            # A second SIGTERM while the interpreter ends must not turn a clean exit into a kill.
            loop.remove_signal_handler(signal.SIGTERM)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        finally:
            for listener in self.relay.listeners:
                listener.close()
            if self.admin is not None:
                await self.admin.close()

    async def _open(self) -> None:
        process = self.reloader.config.process
        for listener in self.relay.listeners:
            await listener.open(allow_public=process.allow_public_bind)
            proxy = listener.gateway.config.name
            _event("listening", proxy=proxy, address=listener.endpoint.listen)
        if process.admin_listen:
            self.admin = await admin_http.start(
                process.admin_listen, self.relay.snapshot, allow_public=process.allow_public_bind
            )
        # What start-up made will never be garbage: keep it out of every collection.
        gc.collect()
        gc.freeze()
        self.relay.ready = True

    async def _upkeep(self) -> None:
        """The one periodic task."""
        while True:
            await asyncio.sleep(TICK_S)
            now = monotonic()
            self.relay.tick(now)
            if self.reloader.is_due(now):
                self.relay.reload_certificates()
                changes = await self.reloader.look()
                if changes is not None:
                    configure_logs(self.reloader.config)
                    self.relay.reconfigure(self.reloader.config)
                    _event("reloaded", changes=changes)


def _event(name: str, *, level: int = logging.INFO, **fields: Any) -> None:
    logs.event(log, level, name, **fields)


def serve(config: Config, path: Path) -> int:
    """Serve the configuration until SIGTERM or SIGINT; return the exit code."""
    runtime.require_compiled()
    processes = config.process.workers or runtime.cores()
    if processes > 1:
        from proxy.workers.supervisor import supervise

        return supervise(config, path, processes)
    configure_logs(config)
    runtime.run(_serve(config, path))
    return 0


async def _serve(config: Config, path: Path) -> None:
    await Application(config, path).run()
