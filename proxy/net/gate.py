"""Lets few logins at a time do their work, so that a storm of them does not starve transactions.

The event loop serves every socket that is ready before it looks at any again. If a thousand clients
log in at once, each of its rounds would hold up to a thousand steps of a handshake. With a gate it
holds few, transactions that run get their turn in between, and who came first is done first.
Whoever keeps the gate waiting for ``SLOW_S`` stops counting: a client that is slow, or means harm,
keeps nobody out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

AT_ONCE: Final = 16
"""Logins under way that have begun to speak."""
SLOW_S: Final = 0.5


class Gate:
    """A queue, first come first served; ``enter`` and ``leave`` enclose a login's work."""

    def __init__(self, at_once: int = AT_ONCE, slow_s: float = SLOW_S) -> None:
        self._at_once = at_once
        self._slow_s = slow_s
        self._inside: dict[object, asyncio.TimerHandle] = {}
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def queued(self) -> int:
        """Logins that wait to begin."""
        return len(self._queue)

    async def enter(self, who: object) -> None:
        """Wait for a place; ``who`` is any object that stands for the login."""
        if len(self._inside) >= self._at_once:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queue.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._admit_next()
                raise
        timer = asyncio.get_running_loop().call_later(self._slow_s, self.leave, who)
        self._inside[who] = timer

    def leave(self, who: object) -> None:
        """Make room; does nothing the second time."""
        timer = self._inside.pop(who, None)
        if timer is not None:
            timer.cancel()
            self._admit_next()

    def _admit_next(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
