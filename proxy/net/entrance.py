"""Lets clients into their logins a few at a time, so that a storm leaves turns to transactions.

What costs most of a login is one step of the TLS handshake, in which the server signs. A thousand
clients that arrive together would have it done a thousand times before the event loop looks at
anything else. So only some of them are between their first bytes and the name of their user; the
others wait for their turn, in order. Who is slow is waited for, but not by those behind it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

AT_ONCE: Final = 8
"""Clients that are let in together."""
HOLD_S: Final = 0.02
"""Seconds that a client is waited for before the next one is let in: 400 slow clients a second come
in. Time in which the event loop was busy is not the client's."""
MOST_S: Final = 0.25
"""Seconds after which the next one is let in however busy the event loop is."""


class Entrance:
    """Bounds how many clients begin their logins at the same time."""

    def __init__(self, at_once: int = AT_ONCE, hold_s: float = HOLD_S) -> None:
        self._free = at_once
        self._hold_s = hold_s
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> Callable[[], None]:
        """Wait for one's turn; call what is returned when the costly part is over."""
        if self._free > 0:
            self._free -= 1
        else:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._pass_on()
                raise
        return Passage(self._pass_on, self._hold_s).end

    def _pass_on(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Passage:
    """One client's time in the entrance: it ends once, by itself if nobody ends it."""

    def __init__(self, ended: Callable[[], None], hold_s: float) -> None:
        self._ended: Callable[[], None] | None = ended
        self._hold_s = hold_s
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + MOST_S
        self._wait()

    def _wait(self) -> None:
        self._due = self._loop.time() + self._hold_s
        self._timer = self._loop.call_at(self._due, self._waited)

    def _waited(self) -> None:
        now = self._loop.time()
        if now - self._due > self._hold_s / 2 and now < self._deadline:
            self._wait()
        else:
            self.end()

    def end(self) -> None:
        """Let the next one in."""
        ended, self._ended = self._ended, None
        if ended is not None:
            self._timer.cancel()
            ended()
