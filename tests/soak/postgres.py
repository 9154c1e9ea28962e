"""What one client of PostgreSQL does in the crowd."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

from tests.soak.crowd import Violation
from tests.support import messages as wire
from tests.support.messages import Message

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

ACCOUNTS = (("app", "app"), ("app", "other"), ("other", "other"))
"""Users and databases."""


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
LAST_WORDS = (
    b"",
    wire.query("BEGIN"),
    wire.query("SELECT pg_sleep(0.5)"),
    wire.query("SELECT 1")[:7],
    wire.run("SELECT 1"),
    wire.query("SELECT repeat('x', 5000) FROM generate_series(1, 2000)"),
    wire.query("BEGIN; SELECT 1/0"),
    wire.query("LISTEN somewhere"),
    wire.query("SET timezone = 'Asia/Tokyo'"),
)
GOODBYE = wire.TERMINATE
