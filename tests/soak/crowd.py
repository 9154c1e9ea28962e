"""A crowd of raw asyncio clients that connect, query, stall and vanish at random.

Each client checks every answer it gets: values it sent come back, its settings are its own, errors
are the ones it asked for. What it may not do is fail in any other way.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support import messages as wire
from tests.support.messages import Message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PATIENCE_S = 60.0
EXPECTED_STATES = {"22012", "57014"}
"""Division by zero and cancel: both asked for."""


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


class Client:
    """One connection of the crowd."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.pid, self.key = 0, b""

    async def read(self) -> Message:
        """Read one message."""
        head = await self.reader.readexactly(5)
        payload = await self.reader.readexactly(int.from_bytes(head[1:]) - 4)
        return Message(head[:1].decode("latin-1"), payload)

    async def reply(self) -> list[Message]:
        """Read to ReadyForQuery."""
        got: list[Message] = []
        while not got or got[-1].code != "Z":
            got.append(await self.read())
        return got

    async def exchange(self, *data: bytes) -> list[Message]:
        """Send and read to ReadyForQuery."""
        self.writer.write(b"".join(data))
        return await self.reply()

    async def login(self, user: str, database: str) -> None:
        """Log in to a proxy that trusts loopback: the crowd's own CPU is not the matter here."""
        self.writer.write(wire.startup({"user": user, "database": database}))
        for message in await self.reply():
            if message.code == "E":
                raise Violation(f"login: {message.fields}")
            if message.code == "K":
                self.pid, self.key = (
                    struct.unpack("!I", message.payload[:4])[0],
                    message.payload[4:],
                )


def expect(reply: list[Message], *values: bytes) -> None:
    """Check that the rows hold just these values."""
    got = [row[0] for row in wire.rows(reply)]
    if got != list(values) or wire.states(reply):
        raise Violation(
            f"expected {values!r}, got {wire.codes(reply)} {got!r:.60} {wire.states(reply)}"
        )


async def simple(client: Client, dice: random.Random) -> None:
    """One simple query."""
    value = b"%d" % dice.randrange(1 << 40)
    expect(await client.exchange(wire.query(b"SELECT " + value)), value)


async def prepared(client: Client, dice: random.Random) -> None:
    """A named statement, used several times, with the reader busy elsewhere in between."""
    number = dice.randrange(40)
    text = wire.close("S", f"s{number}") + wire.parse(f"SELECT $1::int + {number}", f"s{number}")
    if states := wire.states(await client.exchange(text, wire.SYNC)):
        raise Violation(f"Parse got {states}")
    for _ in range(3):
        await asyncio.sleep(dice.random() / 50)
        value = dice.randrange(1000)
        bound = wire.bind(str(value), name=f"s{number}") + wire.execute() + wire.SYNC
        expect(await client.exchange(bound), b"%d" % (value + number))


async def transaction(client: Client, dice: random.Random) -> None:
    """A transaction that thinks."""
    expect(await client.exchange(wire.query("BEGIN")))
    pids = []
    for _ in range(3):
        reply = await client.exchange(wire.query("SELECT pg_backend_pid()"))
        pids.append(wire.rows(reply)[0][0])
        await asyncio.sleep(dice.random() / 200)
    if len(set(pids)) != 1:
        raise Violation(f"one transaction on several backends: {pids}")
    expect(await client.exchange(wire.query(dice.choice(["COMMIT", "ROLLBACK"]))))


async def settings(client: Client, dice: random.Random) -> None:
    """A setting that must stay its own."""
    zone = dice.choice(["Asia/Tokyo", "Europe/Paris", "America/Lima"])
    expect(await client.exchange(wire.query(f"SET timezone = '{zone}'")))
    for _ in range(2):
        await asyncio.sleep(dice.random() / 50)
        expect(await client.exchange(wire.query("SHOW timezone")), zone.encode())


async def failure(client: Client, dice: random.Random) -> None:
    """An error in each protocol."""
    data = wire.query("SELECT 1/0") if dice.random() < 0.5 else wire.run("SELECT 1/0") + wire.SYNC
    states = wire.states(await client.exchange(data))
    if states != ["22012"]:
        raise Violation(f"expected 22012, got {states}")


async def pipeline(client: Client, dice: random.Random) -> None:
    """Several batches in flight."""
    numbers = [dice.randrange(1000) for _ in range(8)]
    client.writer.write(b"".join(wire.run("SELECT $1::int", str(n)) + wire.SYNC for n in numbers))
    for number in numbers:
        expect(await client.reply(), b"%d" % number)


async def bulk(client: Client, dice: random.Random) -> None:
    """A larger result."""
    size = dice.randrange(200_000)
    reply = await client.exchange(wire.query(f"SELECT repeat('x', {size})"))
    expect(reply, b"x" * size)


async def pinned(client: Client, dice: random.Random) -> None:
    """State that cannot be carried, made and undone."""
    expect(await client.exchange(wire.query("CREATE TEMP TABLE own (x int)")))
    value = dice.randrange(1000)
    expect(await client.exchange(wire.query(f"INSERT INTO own VALUES ({value})")))
    expect(await client.exchange(wire.query("SELECT x FROM own")), b"%d" % value)
    expect(await client.exchange(wire.query("DROP TABLE own")))
    client.writer.close()
    raise ConnectionResetError


async def cancelled(client: Client, dice: random.Random, host: str, port: int) -> None:
    """A query cancelled by its own client."""
    client.writer.write(wire.query("SELECT pg_sleep(0.3)"))
    await asyncio.sleep(dice.random() / 10)
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(wire.cancel(client.pid, client.key))
    # Once that connection is closed the cancel is over: it may not hit a later query.
    await reader.read()
    writer.close()
    states = wire.states(await client.reply())
    if states not in ([], ["57014"]):
        raise Violation(f"expected a cancel, got {states}")


MOVES: tuple[Callable[[Client, random.Random], Awaitable[None]], ...] = (
    simple,
    simple,
    simple,
    prepared,
    prepared,
    transaction,
    settings,
    failure,
    pipeline,
    bulk,
)


@dataclass(slots=True)
class Crowd:
    """Keeps ``size`` clients going until told to stop."""

    host: str
    port: int
    size: int
    seed: int
    tally: Tally = field(default_factory=Tally)
    stopping: bool = False

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
        client = Client(reader, writer)
        user, database = dice.choice([("app", "app"), ("app", "other"), ("other", "other")])
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
                writer.write(wire.TERMINATE)
        except (Violation, asyncio.IncompleteReadError) as error:
            self.tally.violations.append(f"{type(error).__name__}: {error}"[:500])
        finally:
            writer.close()

    async def _move(self, client: Client, dice: random.Random) -> None:
        self.tally.queries += 1
        roll = dice.random()
        if roll < 0.01:
            self.tally.cancels += 1
            await cancelled(client, dice, self.host, self.port)
        elif roll < 0.015:
            await pinned(client, dice)
        else:
            await dice.choice(MOVES)(client, dice)

    def _vanish(self, client: Client, dice: random.Random) -> None:
        """Leave in the middle of something."""
        self.tally.vanished += 1
        client.writer.write(
            dice.choice(
                [
                    b"",
                    wire.query("BEGIN"),
                    wire.query("SELECT pg_sleep(0.5)"),
                    wire.query("SELECT 1")[:7],
                    wire.run("SELECT 1"),
                    wire.query("SELECT repeat('x', 5000) FROM generate_series(1, 2000)"),
                    wire.query("BEGIN; SELECT 1/0"),
                    wire.query("LISTEN somewhere"),
                    wire.query("SET timezone = 'Asia/Tokyo'"),
                ]
            )
        )
        client.writer.transport.abort() if dice.random() < 0.5 else client.writer.close()
