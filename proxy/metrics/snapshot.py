"""What the proxy looks like at one instant: what a scrape and the status page are made of.

The application builds a ``Snapshot`` on request. ``counters`` are the live objects, so a snapshot
is cheap and is read at once, on the event loop's thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.metrics.counters import EndpointCounters, PoolCounters


@dataclass(frozen=True, slots=True)
class EndpointSnapshot:
    """One endpoint."""

    proxy: str
    endpoint: str
    """Its name, or its listen address if it has none."""
    role: str
    """``read_write`` or ``read_only``."""
    counters: EndpointCounters


@dataclass(frozen=True, slots=True)
class PoolSnapshot:
    """The server connections of one (target, database, user).

    A pool that goes away takes its counters with it; keep listing a pool that may come back.
    """

    proxy: str
    target: str
    """``host:port`` of the target."""
    database: str
    user: str
    counters: PoolCounters
    open: int
    """Server connections that are logged in."""
    tls: int
    """Those of them that use TLS."""
    idle: int
    """Those of them that nobody has borrowed."""
    borrowed: int
    """Those of them that a client session has."""
    in_transaction: int
    """Those borrowed that are in a transaction."""
    pinned: int
    """Those borrowed that are pinned."""
    waiting: int
    """Client sessions that wait for a server connection."""
    connecting: int
    """Server connections on the way: being opened or logging in."""


@dataclass(frozen=True, slots=True)
class TargetSnapshot:
    """One target."""

    proxy: str
    target: str
    """``host:port`` of the target, as in ``PoolSnapshot``."""
    role: str
    """``read_write`` or ``read_only``."""
    max_allowed: int
    """Server connections the pool may open to it; 0 while that is not known."""
    available: bool
    """Whether the target can be used, as far as anybody knows."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One instant of the whole process."""

    endpoints: tuple[EndpointSnapshot, ...] = ()
    pools: tuple[PoolSnapshot, ...] = ()
    targets: tuple[TargetSnapshot, ...] = ()
    ready: bool = False
    """Whether every endpoint listens."""
    draining: bool = False
    """Whether the process is on its way out."""
    build: dict[str, str] = field(default_factory=dict)
    """Facts about the build, such as ``version``, ``python`` and ``compiled``."""
    log_records_dropped: int = 0
    """Log lines lost because standard error was too slow."""
    processes: dict[str, int] = field(default_factory=dict)
    """Process ids by name (``supervisor``, ``1``, ``2``); empty if there is only one process."""

    def unready_reasons(self, proxy: str = "") -> list[str]:
        """Say why clients should not be sent here; empty when they may come.

        A proxy needs one available target. ``proxy`` limits the question to one proxy.
        """
        reasons: list[str] = []
        if self.draining:
            reasons.append("draining")
        if not self.ready:
            reasons.append("not listening yet")
        available: dict[str, bool] = {}
        for target in self.targets:
            if not proxy or target.proxy == proxy:
                available[target.proxy] = available.get(target.proxy, False) or target.available
        reasons += [
            f"proxy {name}: no target available" for name, yes in available.items() if not yes
        ]
        known = {endpoint.proxy for endpoint in self.endpoints}
        if proxy and proxy not in known | {target.proxy for target in self.targets}:
            reasons.append("no such proxy")
        return reasons


SnapshotSource = Callable[[], Snapshot]
"""Takes a snapshot; called on the event loop's thread."""

Refresh = Callable[[], Awaitable[None]]
"""Brings the next snapshot up to date, where that takes asking other processes."""
