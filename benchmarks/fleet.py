"""A fleet of Lambda execution environments, spread over several processes.

An environment cold-starts, connects, logs in, and runs handlers of some transactions; in between
it is frozen with its connection open; at last it dies without a word.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import ssl
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import uvloop

from benchmarks import client as postgresql
from benchmarks import mysql_client as mysql
from benchmarks.client import Refused
from tests.support import messages as wire
from tests.support.wire import tls_context

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from multiprocessing.connection import Connection

PROCESSES = 2
FAILURES = (OSError, EOFError, Refused, TimeoutError, ssl.SSLError)


class Client(Protocol):
    """A client of either engine."""

    async def login(self, user: str, password: str, database: str) -> None: ...
    async def query(self, message: bytes) -> None: ...
    def vanish(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Engine:
    """How one engine's clients speak."""

    connect: Callable[[int, ssl.SSLContext | None], Awaitable[Client]]
    statement: bytes
    """A query that reads one row by its primary key."""


ENGINES = {
    "postgresql": Engine(
        postgresql.connect, wire.query("SELECT abalance FROM pgbench_accounts WHERE aid = 4711")
    ),
    "mysql": Engine(mysql.connect, mysql.query("SELECT abalance FROM accounts WHERE aid = 4711")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Who everybody is."""

    engine: str
    """One of ``ENGINES``."""
    user: str
    password: str
    database: str


@dataclass(frozen=True, slots=True)
class Profile:
    """How one kind of function behaves."""

    name: str
    transactions: int
    """Per invocation."""
    invocations: int
    freeze_s: float
    """Between two invocations; minutes in real life."""
    starts_per_s: float
    """Cold starts: AWS documents 1,000 every 10 seconds per function; 0 is all at once."""


PROFILES = (
    Profile("at once", 3, 2, 1.0, 0.0),
    Profile("API-triggered", 2, 4, 0.5, 100.0),
    Profile("SQS batch", 10, 3, 0.2, 100.0),
    Profile("scheduled fan-out", 5, 1, 0.0, 0.0),
    Profile("edge", 1, 1, 0.0, 100.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one process of the fleet does."""

    port: int
    login: Login
    profile: Profile
    environments: int
    tls: bool
    begin_s: float
    """On the monotonic clock, which all processes share."""
    step: int = 1
    """Processes of the fleet: this one's environments start at every ``step``-th place."""
    offset: int = 0
    hold: bool = False
    """Keep the connections until told to let go."""
    busy: bool = False
    """Do transactions on held connections without a pause, all that time."""
    patience_s: float = 45.0


@dataclass(slots=True)
class Tally:
    """What environments saw."""

    first_query_s: list[float] = field(default_factory=list)
    """From an environment's cold start to its first answer."""
    last_first_s: float = 0.0
    """From the burst's beginning until the last first answer."""
    transaction_s: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    busy_s: list[tuple[float, float]] = field(default_factory=list)
    """When a transaction of a busy environment ended, on the monotonic clock, and how long it took.
    """

    def add(self, other: Tally) -> None:
        """Add what another process saw."""
        self.first_query_s += other.first_query_s
        self.last_first_s = max(self.last_first_s, other.last_first_s)
        self.transaction_s += other.transaction_s
        self.errors += other.errors
        self.busy_s += other.busy_s


def starts_at(plan: Plan, number: int) -> float:
    """Return when the process's ``number``-th environment cold-starts, on the monotonic clock."""
    rate = plan.profile.starts_per_s
    return plan.begin_s + ((number * plan.step + plan.offset) / rate if rate else 0.0)


class Fleet:
    """The environments of one process."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.tally = Tally()
        self.held: list[Client] = []
        self._engine = ENGINES[plan.login.engine]
        self._context = tls_context() if plan.tls else None

    async def run(self) -> None:
        """Let all environments live."""
        count = range(self.plan.environments)
        await asyncio.gather(*(self._live(starts_at(self.plan, number)) for number in count))

    async def work(self) -> None:
        """Do transactions on all held connections until cancelled."""
        await asyncio.gather(*(self._busy(client) for client in self.held))

    async def _busy(self, client: Client) -> None:
        try:
            while True:
                began_s = time.monotonic()
                await client.query(self._engine.statement)
                ended_s = time.monotonic()
                self.tally.busy_s.append((ended_s, ended_s - began_s))
        except FAILURES as error:
            self.tally.errors[str(error)[:80] or type(error).__name__] += 1

    async def _live(self, start_s: float) -> None:
        await asyncio.sleep(max(0.0, start_s - time.monotonic()))
        client = None
        try:
            async with asyncio.timeout(self.plan.patience_s):
                client = await self._cold_start(start_s)
                await self._invocations(client)
        except FAILURES as error:
            self.tally.errors[str(error)[:80] or type(error).__name__] += 1
        if client is not None and self.plan.hold:
            self.held.append(client)
        elif client is not None:
            client.vanish()

    async def _cold_start(self, start_s: float) -> Client:
        plan = self.plan
        client = await self._engine.connect(plan.port, self._context)
        try:
            await client.login(plan.login.user, plan.login.password, plan.login.database)
            await client.query(self._engine.statement)
        except BaseException:
            client.vanish()
            raise
        now_s = time.monotonic()
        self.tally.first_query_s.append(now_s - start_s)
        self.tally.last_first_s = max(self.tally.last_first_s, now_s - plan.begin_s)
        return client

    async def _invocations(self, client: Client) -> None:
        profile = self.plan.profile
        for number in range(profile.invocations):
            for _ in range(profile.transactions - (number == 0)):
                began_s = time.monotonic()
                await client.query(self._engine.statement)
                self.tally.transaction_s.append(time.monotonic() - began_s)
            if number + 1 < profile.invocations:
                await asyncio.sleep(profile.freeze_s)


def _work(plan: Plan, parent: Connection) -> None:
    async def live() -> None:
        fleet = Fleet(plan)
        await fleet.run()
        parent.send(fleet.tally)
        if plan.hold:
            fleet.tally = Tally()
            released = asyncio.create_task(asyncio.to_thread(parent.recv))
            if plan.busy:
                working = asyncio.create_task(fleet.work())
                await released
                working.cancel()
                await asyncio.wait([working])
            await released
            parent.send(fleet.tally)

    uvloop.run(live())


def unleash(
    make: Callable[[int, float], Plan], while_held: Callable[[], None] | None = None
) -> Tally:
    """Run the plans that ``make(number of the process, beginning)`` returns, each in a process.

    ``while_held`` is called when all environments have connected, for plans that hold.
    """
    context = multiprocessing.get_context("spawn")
    begin_s = time.monotonic() + 1.0
    total = Tally()
    children = []
    try:
        for number in range(PROCESSES):
            ours, theirs = context.Pipe()
            child = context.Process(target=_work, args=(make(number, begin_s), theirs))
            child.start()
            theirs.close()
            children.append((child, ours))
        for _, ours in children:
            total.add(ours.recv())
        if while_held is not None:
            while_held()
            for _, ours in children:
                ours.send(None)
                total.add(ours.recv())
    finally:
        for child, _ in children:
            child.join(20)
            child.kill()
            child.join()
    return total
