"""The simulated Lambda function: many environments, one connection each, mostly frozen.

The life of an environment: a cold start opens the connection; then invocations, each of one to
three transactions, alternate with freezes during which the environment does not run at all but its
connection stays open. Some environments die: the connection is dropped without a goodbye, at
rest or in the middle of a transaction, and a new environment takes the place of the dead one.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.demo.engine import PRODUCTS
from proxy.demo.measures import BurstMeasures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.demo.engine import Connection, Engine, Login

COLD_STARTS_PER_S = 100.0
"""AWS documents 1,000 new execution environments per function every 10 seconds."""

FREEZE_S = (0.3, 1.5)
"""Seconds between invocations; minutes in real life."""

THINK_S = (0.002, 0.02)
"""Seconds a handler computes between two transactions, holding none."""

SLOW_QUERY_S = 0.01
SLOW_QUERY_SHARE = 0.2
DEATH_SHARE = 0.02
"""Share of invocations after which the environment dies, half of them in a transaction."""

DRAIN_S = 15.0
"""Seconds that handlers still running at the end of the burst get to finish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstPlan:
    """The size of a burst."""

    environments: int
    duration_s: float

    @property
    def ramp_s(self) -> float:
        """Seconds over which the cold starts are spread: Lambda's pace, or half the burst."""
        return min(self.environments / COLD_STARTS_PER_S, self.duration_s / 2)


class _WrongAnswer(Exception):
    """A query was answered with another environment's data."""


class Environment:
    """One execution environment: one connection, one invocation at a time."""

    def __init__(
        self,
        number: int,
        engine: Engine,
        login: Login,
        measures: BurstMeasures,
        deadline: float,
    ) -> None:
        self.number = number
        self._engine = engine
        self._login = login
        self._measures = measures
        self._deadline = deadline
        self._random = random.Random(number)  # noqa: S311 - the same burst every time
        self._failures: tuple[type[Exception], ...] = (*engine.failures, _WrongAnswer)
        self._served = False

    async def live(self) -> None:
        """Live until death or the end of the burst; errors are counted, never raised."""
        while True:
            connection = await self._cold_start()
            if connection is not None:
                try:
                    lost = await self._invocations(connection)
                finally:
                    # Frozen for good: Lambda reaps an environment without letting it say goodbye.
                    connection.terminate()
                if not lost:
                    return
            await self._sleep(*FREEZE_S)
            if self._over():
                return

    async def _cold_start(self) -> Connection | None:
        measures = self._measures
        began = time.perf_counter()
        measures.connecting += 1
        try:
            connection = await self._login.connect()
        except self._engine.failures as error:
            measures.refused += 1
            measures.errors[self._engine.describe(error)] += 1
            return None
        finally:
            measures.connecting -= 1
        measures.connect_latencies_s.append(time.perf_counter() - began)
        return connection

    async def _invocations(self, connection: Connection) -> bool:
        """Run handlers and freezes in turn; return whether the connection was lost."""
        while True:
            if not await self._handler(connection):
                return True
            if self._random.random() < DEATH_SHARE and not self._over():
                await self._die(connection)
                return False
            if self._over():
                return False
            self._measures.frozen += 1
            try:
                await self._sleep(*FREEZE_S)
            finally:
                self._measures.frozen -= 1
            if self._over():
                return False

    async def _handler(self, connection: Connection) -> bool:
        """Run one invocation; return whether the connection is still good."""
        self._measures.running += 1
        try:
            for _ in range(self._random.randint(1, 3)):
                try:
                    await self._transaction(connection)
                except self._failures as error:
                    self._measures.failed += 1
                    self._measures.errors[self._engine.describe(error)] += 1
                    if connection.is_closed():
                        return False
                await asyncio.sleep(self._random.uniform(*THINK_S))
        finally:
            self._measures.running -= 1
        return True

    async def _transaction(self, connection: Connection) -> None:
        measures = self._measures
        # Not the loop's clock: uvloop's counts whole milliseconds.
        began = time.perf_counter()
        measures.in_transaction += 1
        try:
            kind = self._random.random()
            if kind < SLOW_QUERY_SHARE:
                self._check(await connection.fetchrow(self._engine.slow, self.number, SLOW_QUERY_S))
            elif kind < 0.6:
                product = self._random.randint(1, PRODUCTS)
                self._check(await connection.fetchrow(self._engine.look, self.number, product))
            else:
                await self._order(connection)
        finally:
            measures.in_transaction -= 1
        measures.latencies_s.append(time.perf_counter() - began)
        if not self._served:
            self._served = True
            measures.served += 1

    async def _order(self, connection: Connection) -> None:
        product = self._random.randint(1, PRODUCTS)
        async with connection.transaction():
            self._check(await self._engine.order(connection, product, self.number))
            await connection.execute(self._engine.take, product)
        self._measures.orders += 1

    async def _die(self, connection: Connection) -> None:
        """Vanish without a word: at rest, or with a transaction open and a query running."""
        self._measures.killed += 1
        if self._random.random() < 0.5:
            return
        loop = asyncio.get_running_loop()
        try:
            await connection.execute("BEGIN")
            product = self._random.randint(1, PRODUCTS)
            await self._engine.order(connection, product, self.number)
            loop.call_later(0.05, connection.terminate)
            await connection.execute(self._engine.linger)
        except self._engine.failures as error:
            if not connection.is_closed():
                self._measures.errors[self._engine.describe(error)] += 1

    def _check(self, row: Mapping[str, int] | None) -> None:
        if row is None or row["environment"] != self.number:
            raise _WrongAnswer("the answer belongs to another environment")

    def _over(self) -> bool:
        return asyncio.get_running_loop().time() >= self._deadline

    async def _sleep(self, shortest_s: float, longest_s: float) -> None:
        left_s = self._deadline - asyncio.get_running_loop().time()
        await asyncio.sleep(min(self._random.uniform(shortest_s, longest_s), max(left_s, 0)))


class Burst:
    """Runs the environments of one burst against one login."""

    def __init__(self, plan: BurstPlan, engine: Engine, login: Login) -> None:
        self.plan = plan
        self.measures = BurstMeasures()
        self._engine = engine
        self._login = login
        self._living = 0

    async def run(self) -> float:
        """Run the burst to its end; return how many seconds it took, the drain included."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = began + self.plan.duration_s
        try:
            async with asyncio.timeout_at(deadline + DRAIN_S), asyncio.TaskGroup() as group:
                for place in range(self.plan.environments):
                    start_at = began + self.plan.ramp_s * place / self.plan.environments
                    group.create_task(self._fill_place(start_at, deadline))
        except TimeoutError:
            self.measures.unfinished = self._living
        return loop.time() - began

    async def _fill_place(self, start_at: float, deadline: float) -> None:
        """Keep one unit of the function's concurrency filled: a dead environment is replaced."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(start_at - loop.time())
        while True:
            self.measures.started += 1
            self._living += 1
            environment = Environment(
                self.measures.started, self._engine, self._login, self.measures, deadline
            )
            await environment.live()
            self._living -= 1
            if loop.time() >= deadline:
                return
