"""One relay worker as the supervisor sees it: a process, a channel, and how it is doing."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import Counter
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

import proxy
from proxy.metrics.merge import from_document
from proxy.workers.channel import Channel

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.metrics.snapshot import Snapshot
    from proxy.workers.messages import Message, SnapshotTaken, Usage

BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MOST_S: Final = 10.0
STEADY_S: Final = 60.0
"""A worker that has lived so long has not failed to start."""

ROOT: Final = Path(proxy.__file__).resolve().parents[1]
BOOT: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from proxy.cli import main; "
    "sys.path.append(sys.path.pop(0)); sys.exit(main())"
)
"""Imports the very package that the supervisor runs. What else is beside it comes last from then
on: the compiled modules' common part is there."""


class Member:
    """The worker with one index, and its successors after it has died."""

    def __init__(self, index: int, processes: int, log_lock: int) -> None:
        self.index = index
        self.process: asyncio.subprocess.Process | None = None
        self.channel: Channel | None = None
        self.ready = False
        self.failures = 0
        self.snapshot: Snapshot | None = None
        """As last taken."""
        self.snapshot_taken: asyncio.Future[None] | None = None
        self.configured: asyncio.Future[str] | None = None
        """Answer to the configuration sent last: what is wrong with it, or nothing."""
        self._processes = processes
        self._log_lock = log_lock
        self._started_at = 0.0
        self._clients: Counter[str] = Counter()
        self._handed: Counter[str] = Counter()

    @property
    def number(self) -> int:
        """What people call it: from 1."""
        return self.index + 1

    async def start(
        self, received: Callable[[Message, int], None], ended: Callable[[str], None]
    ) -> None:
        """Start the process. It says nothing before it has a configuration."""
        ours, theirs = socket.socketpair()
        with theirs:
            arguments = [self.index, self._processes, theirs.fileno(), self._log_lock]
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-c",
                BOOT,
                str(ROOT),
                "worker",
                *(str(argument) for argument in arguments),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), self._log_lock),
            )
        self._started_at = monotonic()
        self._clients.clear()
        self._handed.clear()
        self.snapshot = None
        self.channel = Channel(ours, received, ended)

    async def ended(self) -> int:
        """Wait for the process to end; give its exit code, negative for a signal."""
        assert self.process is not None
        code = await self.process.wait()
        self.ready = False
        if self.channel is not None:
            self.channel.close()
        for waiting in (self.snapshot_taken, self.configured):
            if waiting is not None and not waiting.done():
                waiting.cancel()
        return code

    def backoff_s(self) -> float:
        """Seconds to wait before the next start, after one more failure."""
        if monotonic() - self._started_at > STEADY_S:
            self.failures = 0
        self.failures += 1
        return min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2.0 ** (self.failures - 1))

    def send(self, message: Message, descriptor: int = -1) -> None:
        """Send a message to the process."""
        assert self.channel is not None
        self.channel.send(message, descriptor)

    # Clients.

    def handed_over(self, proxy_name: str) -> None:
        """Count a client that has been sent to the worker."""
        self._handed[proxy_name] += 1

    def counted(self, usage: Usage) -> None:
        """Take note of the clients that the worker has; those on the way are added."""
        self._clients[usage.proxy] = usage.clients - usage.accepted

    def clients(self, proxy_name: str) -> int:
        """Clients of a proxy, those on the way to the worker included."""
        return self._clients[proxy_name] + self._handed[proxy_name]

    @property
    def all_clients(self) -> int:
        """Clients of all proxies."""
        return self._clients.total() + self._handed.total()

    def took_snapshot(self, message: SnapshotTaken) -> None:
        """Keep what the worker says it looks like."""
        self.snapshot = from_document(message.snapshot)
        if self.snapshot_taken is not None and not self.snapshot_taken.done():
            self.snapshot_taken.set_result(None)
