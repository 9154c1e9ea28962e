"""What one client of MySQL or MariaDB does in the crowd."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

from tests.soak.crowd import Violation
from tests.support import mysql_messages as wire
from tests.support.mysql_messages import Packet

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

ACCOUNTS = (("app", "app"), ("other", "other"))
"""Users and databases."""
CAPABILITIES = wire.BASE | wire.DEPRECATE_EOF | wire.WITH_DB
NO_SUCH_TABLE, INTERRUPTED, KILLED = 1146, 1317, 1927
VAR_STRING = 0xFD


def command(code: int, payload: str | bytes = b"") -> bytes:
    """Encode a command."""
    text = payload.encode() if isinstance(payload, str) else payload
    return wire.packets(bytes([code]) + text)


def query(sql: str) -> bytes:
    """Encode COM_QUERY."""
    return command(wire.QUERY, sql)


class Client:
    """One connection of the crowd."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.user = self.database = ""
        self.number = 0
        self.status = 0

    async def read(self) -> Packet:
        """Read one packet."""
        head = await self.reader.readexactly(4)
        return Packet(head[3], await self.reader.readexactly(int.from_bytes(head[:3], "little")))

    async def login(self, user: str, database: str) -> None:
        """Log in to a proxy that trusts loopback: the crowd's own CPU is not the matter here."""
        self.user, self.database = user, database
        first = await self.read()
        if first.error:
            raise Violation(f"greeting: {first.payload!r}")
        greeting = wire.read_greeting(first.payload)
        self.number = greeting.connection_id
        head = struct.pack("<IIB23x", CAPABILITIES & greeting.capabilities, 1 << 26, 45)
        names = user.encode() + b"\0\0" + database.encode() + b"\0"
        self.writer.write(wire.packets(head + names + b"mysql_native_password\0", 1))
        last = await self.read()
        if last.payload[0] != 0:
            raise Violation(f"login: {last.payload!r}")

    async def result(self) -> list[Packet]:
        """Read one result: what it begins with, and its rows."""
        head = await self.read()
        if head.error:
            return [head]
        got = [head]
        if head.payload[0] != 0:
            columns, _ = wire.read_lenenc(head.payload, 0)
            for _ in range(columns):
                await self.read()
            while not (got[-1].error or got[-1].ends_rows):
                got.append(await self.read())
        if not got[-1].error:
            self.status = wire.status_of(got[-1].payload, deprecate_eof=True)
        return got

    async def run(self, sql: str) -> list[Packet]:
        """Run a statement of one result."""
        self.writer.write(query(sql))
        return await self.result()

    async def values(self, sql: str) -> list[str | None]:
        """Run a statement and give the first value of each row."""
        reply = await self.run(sql)
        if reply[-1].error:
            raise Violation(f"{sql[:60]}: {reply[-1].payload!r}")
        return [wire.text_row(packet.payload)[0] for packet in reply[1:-1]]

    async def expect(self, sql: str, *values: str) -> None:
        """Run a statement and check its rows."""
        got = await self.values(sql)
        if got != list(values):
            raise Violation(f"{sql[:60]}: expected {values!r:.60}, got {got!r:.60}")


async def simple(client: Client, dice: random.Random) -> None:
    """One query."""
    value = str(dice.randrange(1 << 40))
    await client.expect(f"SELECT {value}", value)


async def oneself(client: Client, dice: random.Random) -> None:
    """Who and where the session is."""
    who = "SELECT CONCAT(SUBSTRING_INDEX(CURRENT_USER(), '@', 1), ' ', DATABASE())"
    await client.expect(who, f"{client.user} {client.database}")
    await client.expect("SELECT CONNECTION_ID()", str(client.number))


async def prepared(client: Client, dice: random.Random) -> None:
    """A prepared statement, used several times, with a pause in between."""
    number = dice.randrange(40)
    client.writer.write(command(wire.PREPARE, f"SELECT CONCAT(?, '-{number}')"))
    first = await client.read()
    if first.error:
        raise Violation(f"COM_STMT_PREPARE: {first.payload!r}")
    for _ in range(2):
        await client.read()
    statement = first.payload[1:5]
    for _ in range(3):
        await asyncio.sleep(dice.random() / 50)
        value = str(dice.randrange(1000))
        types = bytes([1, VAR_STRING, 0])
        bound = statement + b"\0\1\0\0\0\0" + types + wire.lenenc(value.encode())
        client.writer.write(command(wire.EXECUTE, bound))
        reply = await client.result()
        if reply[-1].error or reply[1].payload[2:] != wire.lenenc(f"{value}-{number}".encode()):
            raise Violation(f"COM_STMT_EXECUTE: {reply[1:]!r:.80}")
    client.writer.write(command(wire.CLOSE, statement))


async def transaction(client: Client, dice: random.Random) -> None:
    """A transaction that thinks: it sees one connection of the server."""
    await client.values("START TRANSACTION")
    mark = str(dice.randrange(1 << 30))
    await client.values(f"SET @tx = {mark}")
    for _ in range(2):
        await client.expect("SELECT @tx", mark)
        if not client.status & wire.IN_TRANSACTION:
            raise Violation("the transaction is gone")
        await asyncio.sleep(dice.random() / 200)
    await client.values(dice.choice(["COMMIT", "ROLLBACK"]))


async def settings(client: Client, dice: random.Random) -> None:
    """Variables that must stay its own."""
    zone = dice.choice(["+09:00", "+01:00", "-05:00"])
    mark = str(dice.randrange(1 << 30))
    await client.values(f"SET time_zone = '{zone}', @mark = {mark}")
    for _ in range(2):
        await asyncio.sleep(dice.random() / 50)
        await client.expect("SELECT CONCAT(@@time_zone, ' ', @mark)", f"{zone} {mark}")


async def failure(client: Client, dice: random.Random) -> None:
    """An error, and what is told of it afterwards."""
    reply = await client.run("SELECT * FROM nowhere")
    if reply[-1].errno != NO_SUCH_TABLE:
        raise Violation(f"expected 1146, got {reply[-1].payload!r:.80}")
    await asyncio.sleep(dice.random() / 50)
    warnings = await client.run("SHOW WARNINGS")
    if [wire.text_row(packet.payload)[1] for packet in warnings[1:-1]] != [str(NO_SUCH_TABLE)]:
        raise Violation(f"SHOW WARNINGS: {warnings!r:.80}")


async def several(client: Client, dice: random.Random) -> None:
    """Several statements at once."""
    numbers = [str(dice.randrange(1000)) for _ in range(4)]
    client.writer.write(query("; ".join(f"SELECT {number}" for number in numbers)))
    for number in numbers:
        reply = await client.result()
        if reply[-1].error or wire.text_row(reply[1].payload) != (number,):
            raise Violation(f"several: {reply!r:.80}")


async def bulk(client: Client, dice: random.Random) -> None:
    """A larger result."""
    size = dice.randrange(200_000)
    await client.expect(f"SELECT REPEAT('x', {size})", "x" * size)


async def pinned(client: Client, dice: random.Random) -> None:
    """State that cannot be carried, left behind."""
    value = str(dice.randrange(1000))
    await client.values("CREATE TEMPORARY TABLE own (x INT)")
    await client.values(f"INSERT INTO own VALUES ({value})")
    await client.expect("SELECT x FROM own", value)
    client.writer.close()
    raise ConnectionResetError


async def cancelled(client: Client, dice: random.Random, host: str, port: int) -> None:
    """A query killed by its own user, on another connection."""
    client.writer.write(query("SELECT SLEEP(0.3)"))
    await asyncio.sleep(dice.random() / 10)
    killer = Client(*await asyncio.open_connection(host, port))
    await killer.login(client.user, client.database)
    await killer.values(f"KILL QUERY {client.number}")
    killer.writer.write(GOODBYE)
    killer.writer.close()
    reply = await client.result()
    # A SLEEP that is killed returns 1; killed before it began, or as it ended, it may fail.
    if reply[-1].error and reply[-1].errno != INTERRUPTED:
        raise Violation(f"expected a cancel, got {reply[-1].payload!r:.80}")


MOVES: tuple[Callable[[Client, random.Random], Awaitable[None]], ...] = (
    simple,
    simple,
    simple,
    oneself,
    prepared,
    prepared,
    transaction,
    settings,
    failure,
    several,
    bulk,
)
LAST_WORDS = (
    b"",
    query("BEGIN"),
    query("SELECT SLEEP(0.5)"),
    query("SELECT 1")[:7],
    query("SELECT 1"),
    query("SELECT REPEAT('x', 1000000); SELECT REPEAT('y', 1000000)"),
    query("BEGIN; SELECT * FROM nowhere"),
    query("SELECT GET_LOCK(CONCAT('soak', CONNECTION_ID()), 0)"),
    query("SET time_zone = '+09:00', @mark = 1"),
    command(wire.PREPARE, "SELECT ?"),
)
GOODBYE = command(wire.QUIT)
