"""The admin HTTP server: health for orchestrators, metrics for Prometheus, status for people.

It only reads. It binds private addresses only, and has no login: whoever reaches the address may
read names of users and databases, never queries or secrets.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from proxy.errors import ConfigError
from proxy.net.address import parse_listen, refuse_public

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.web import AppRunner

    from proxy.metrics.snapshot import Refresh, SnapshotSource

MAX_CONNECTIONS: Final = 64
"""Connections kept; one more closes the oldest, so that a probe always gets through."""

BACKLOG: Final = 64


class AdminServer:
    """A running admin server."""

    def __init__(self, runner: AppRunner, server: asyncio.Server) -> None:
        self._runner = runner
        self._server = server
        self.address: tuple[str, int] = server.sockets[0].getsockname()[:2]
        """Host and port it listens on; the real port where 0 was asked for."""

    async def close(self) -> None:
        """Stop to listen and close every connection."""
        self._server.close()
        await self._runner.cleanup()


async def start(
    listen: str,
    source: SnapshotSource,
    *,
    allow_public: bool = False,
    refresh: Refresh | None = None,
) -> AdminServer:
    """Serve ``/livez``, ``/readyz``, ``/metrics`` and ``/v1/status`` on ``host:port``.

    ``refresh``, if given, is awaited before a snapshot is taken for metrics and status. Raises
    ``ConfigError`` for an address that is public or taken, or if a library is missing.
    """
    address = parse_listen(listen)
    if address.path:
        raise ConfigError(f'admin_listen = "{listen}": must be host:port, not a Unix socket')
    if not allow_public:
        await refuse_public(address)
    try:
        # Here, not above: a proxy without an admin server should not pay for them.
        from proxy.admin.pages import runner_for
    except ImportError as error:
        raise ConfigError(
            f'admin_listen needs the package {error.name}: install it, or set admin_listen = ""'
        ) from error
    runner = await runner_for(source, refresh)
    try:
        server = await asyncio.get_running_loop().create_server(
            _doorkeeper(runner), address.host, address.port, backlog=BACKLOG
        )
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(
            f'admin_listen = "{listen}": cannot listen: {error.strerror or error}'
        ) from error
    return AdminServer(runner, server)


def _doorkeeper(runner: AppRunner) -> Callable[[], asyncio.Protocol]:
    """Give the factory of connections."""
    server = runner.server
    if server is None:
        raise RuntimeError("the application is not set up")

    def admit() -> asyncio.Protocol:
        connections = server.connections
        if len(connections) >= MAX_CONNECTIONS:
            oldest = connections[0]
            transport = oldest.transport
            oldest.force_close()
            if transport is not None:
                transport.abort()  # To close is to wait for a peer that may never read.
        return server()

    return admit
