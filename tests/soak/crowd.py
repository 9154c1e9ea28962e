"""A crowd of raw asyncio clients that connect, query, stall and vanish at random.

Each client checks every answer it gets: values it sent come back, its settings are its own, errors
are the ones it asked for. What it may not do is fail in any other way. What clients of an engine do
is in a module of its own: ``Client``, ``MOVES``, ``LAST_WORDS`` and so on.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from types import ModuleType

PATIENCE_S = 60.0


class Violation(AssertionError):
    """The proxy broke a promise."""


@dataclass(slots=True)
class Tally:
    """What the crowd did and met."""

    clients: int = 0
    queries: int = 0
    vanished: int = 0
    cancels: int = 0
    violations: list[str] = field(default_factory=list)


class Visitor(Protocol):
    """A client of either engine."""

    writer: asyncio.StreamWriter

    async def login(self, user: str, database: str) -> None:
        """Log in."""
        ...


@dataclass(slots=True)
class Crowd:
    """Keeps ``size`` clients going until told to stop; ``engine`` names the module of theirs."""

    engine: str
    host: str
    port: int
    size: int
    seed: int
    tally: Tally = field(default_factory=Tally)
    stopping: bool = False

    @property
    def acts(self) -> ModuleType:
        """What clients of this engine do."""
        return importlib.import_module(f"tests.soak.{self.engine}")

    async def run(self, seconds: float) -> None:
        """Run the crowd for so long, then let everyone finish."""
        members = [asyncio.create_task(self._member(n)) for n in range(self.size)]
        await asyncio.sleep(seconds)
        self.stopping = True
        done, late = await asyncio.wait(members, timeout=PATIENCE_S)
        for task in late:
            task.cancel()
        if late:
            self.tally.violations.append(f"{len(late)} clients hang")
        for task in done:
            if (error := task.exception()) is not None:
                self.tally.violations.append(repr(error))

    async def _member(self, number: int) -> None:
        dice = random.Random(self.seed * 100_003 + number)
        await asyncio.sleep(dice.random() * 3)
        while not self.stopping:
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                await self._visit(dice)
            await asyncio.sleep(dice.random())

    async def _visit(self, dice: random.Random) -> None:
        """Connect, do some things, and leave politely or not."""
        self.tally.clients += 1
        reader, writer = await asyncio.open_connection(self.host, self.port)
        client: Visitor = self.acts.Client(reader, writer)
        user, database = dice.choice(self.acts.ACCOUNTS)
        try:
            await client.login(user, database)
            for _ in range(dice.randrange(1, 12)):
                if self.stopping:
                    break
                await self._move(client, dice)
                await asyncio.sleep(dice.expovariate(4))
            if dice.random() < 0.5:
                self._vanish(client, dice)
            else:
                writer.write(self.acts.GOODBYE)
        except (Violation, asyncio.IncompleteReadError) as error:
            self.tally.violations.append(f"{type(error).__name__}: {error}"[:500])
        finally:
            writer.close()

    async def _move(self, client: Visitor, dice: random.Random) -> None:
        self.tally.queries += 1
        roll = dice.random()
        if roll < 0.01:
            self.tally.cancels += 1
            await self.acts.cancelled(client, dice, self.host, self.port)
        elif roll < 0.015:
            await self.acts.pinned(client, dice)
        else:
            await dice.choice(self.acts.MOVES)(client, dice)

    def _vanish(self, client: Visitor, dice: random.Random) -> None:
        """Leave in the middle of something."""
        self.tally.vanished += 1
        client.writer.write(dice.choice(self.acts.LAST_WORDS))
        client.writer.transport.abort() if dice.random() < 0.5 else client.writer.close()
