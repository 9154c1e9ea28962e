"""Plays scripts of wire messages, with an adversary between the steps, and makes plays comparable.

What may differ between two plays of a script is replaced: process ids, cancel keys, and object
identifiers that the server made up (numbered by first appearance). All else must match byte for
byte: error fields with file and line, row descriptions, parameter statuses and their places.
"""

from __future__ import annotations

import contextlib
import re
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tests.support import messages as wire
from tests.support.wire import TIMEOUT_S, WireClient, connect

if TYPE_CHECKING:
    from tests.support.messages import Message

FIRST_USER_OID = 16384
PATIENCE_S = 0.4
"""How long the adversary waits for the pool's one connection before the script goes on."""


@dataclass(frozen=True, slots=True)
class Step:
    """Bytes to send, and the types of the message to read up to; ``""`` is to the very end."""

    data: bytes
    until: str = "Z"
    count: int = 1


@dataclass(frozen=True, slots=True)
class Script:
    """One conversation: SQL run beforehand by another session, then steps."""

    name: str
    steps: tuple[Step, ...]
    before: str = ""
    """Tables it needs; run as the same user before each play."""
    shared: bool = True
    """Whether it leaves nothing behind that pins, so the adversary gets a turn at every step that
    starts outside a transaction."""
    parameters: dict[str, str] = field(default_factory=dict)
    """Start-up parameters."""
    versions: range = range(13, 100)
    """Major versions of PostgreSQL it is for."""


def script(
    name: str,
    *steps: Step | bytes | str,
    before: str = "",
    shared: bool = True,
    parameters: dict[str, str] | None = None,
    versions: range = range(13, 100),
) -> Script:
    """Make a script; a string is a simple query, bytes are sent and read to one ReadyForQuery."""
    made = []
    for step in steps:
        if isinstance(step, str):
            made.append(Step(wire.query(step)))
        else:
            made.append(step if isinstance(step, Step) else Step(step))
    return Script(name, tuple(made), before, shared, parameters or {}, versions)


def to(code: str, *data: bytes, count: int = 1) -> Step:
    """Send and read up to the ``count``-th message of type ``code``."""
    return Step(b"".join(data), code, count)


class Opponent(Protocol):
    """Whatever happens between two steps."""

    turns: int

    def turn(self, *, free: bool) -> None:
        """Do something; ``free`` says that the script's session is outside a transaction."""
        ...

    def end(self) -> None:
        """Leave."""
        ...


class Nobody:
    """Between the steps of a direct play nothing happens."""

    turns = 0

    def turn(self, *, free: bool) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


_SETTINGS = (
    "SET timezone = 'Asia/Tokyo'; SET search_path = pg_catalog; SET application_name = 'adversary';"
    " SET datestyle = 'SQL, DMY'; SET extra_float_digits = 0; SET bytea_output = 'escape';"
    " SET default_transaction_isolation = 'serializable'; SET statement_timeout = '5min';"
    " SET client_encoding = 'LATIN1'"
)
_RESIDUE = (
    "SET standard_conforming_strings = off; PREPARE s1 AS SELECT 'adversary';"
    " PREPARE p1 AS SELECT 'adversary';"
    " CREATE TEMP TABLE t (adversary text); CREATE TEMP TABLE items (adversary text);"
    " LISTEN news; SELECT pg_advisory_lock(42); SELECT set_config('app.user', 'adversary', false);"
    " DECLARE c1 CURSOR WITH HOLD FOR SELECT 'adversary'"
)
_NAMES = ("s1", "s2", "a", "")


class Adversary:
    """A neighbour on the same server connection that leaves behind all it can."""

    def __init__(self, host: str, port: int, patience_s: float = PATIENCE_S) -> None:
        """Connect and log in."""
        self.address = (host, port)
        self.patience_s = patience_s
        self.client = connect(host, port)
        self.owed = 0
        self.turns = 0
        self.moves = 0

    def turn(self, *, free: bool) -> None:
        """Make the next move, or wait for the reply to the last."""
        patience_s = self.patience_s if free else 0.01
        if not self._settle(patience_s):
            return
        self.moves += 1
        if self.moves % 4 == 0:
            self._leave_residue(patience_s)
            return
        data, self.owed = self._move()
        self.client.send(data)
        self._settle(patience_s)

    def _move(self) -> tuple[bytes, int]:
        if self.moves % 4 == 1:
            return wire.query(_SETTINGS), 1
        if self.moves % 4 == 2:
            data = b""
            for name in _NAMES:
                data += wire.close("S", name) + wire.parse("SELECT 'adversary', $1::text", name)
                data += wire.bind("x", name=name) + wire.describe("P") + wire.execute() + wire.SYNC
            return data, len(_NAMES)
        begin, failure = wire.query("BEGIN READ ONLY"), wire.query("SELECT 1/0")
        return begin + failure + wire.query("ROLLBACK"), 3

    def _settle(self, patience_s: float) -> bool:
        """Read the replies owed; says whether all have come."""
        self.client.socket.settimeout(patience_s)
        with contextlib.suppress(TimeoutError):
            while self.owed:
                if self.client.read().code == "Z":
                    self.owed -= 1
                    self.turns += self.owed == 0
        return self.owed == 0

    def _leave_residue(self, patience_s: float) -> None:
        """Let another session leave state that cannot be carried, and go without a Terminate."""
        host, port = self.address
        with connect(host, port) as other:
            other.send(wire.query(_RESIDUE))
            other.socket.settimeout(patience_s)
            with contextlib.suppress(TimeoutError):
                other.read_until("Z")
                self.turns += 1

    def end(self) -> None:
        """Wait for what is owed and leave."""
        assert self._settle(20.0), "the adversary was never served"
        self.client.close()


@dataclass(slots=True)
class Play:
    """What one play of a script gave, comparable with another."""

    login: dict[str, str]
    replies: list[list[tuple[str, bytes]]]
    free_steps: int
    turns: int


class _Normaliser:
    """Replaces what must differ between two plays."""

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}

    def _number(self, oid: int) -> int:
        if oid < FIRST_USER_OID:
            return oid
        return FIRST_USER_OID + self.numbers.setdefault(oid, len(self.numbers))

    def __call__(self, message: Message) -> tuple[str, bytes]:
        if message.code == "T":
            return message.code, self._row_description(message.payload)
        if message.code == "t":
            count = len(message.payload[2:]) // 4
            oids = struct.unpack_from(f"!{count}I", message.payload, 2)
            return message.code, repr([self._number(oid) for oid in oids]).encode()
        if message.code == "A":
            return message.code, message.payload[4:]
        if message.code == "E" and b"\0RRevalidateCachedQuery\0" in message.payload:
            # The proxy says this in the server's stead, and cannot know the server's source lines.
            return message.code, re.sub(rb"\0L\d+\0", b"\0", message.payload)
        return message.code, message.payload

    def _row_description(self, payload: bytes) -> bytes:
        position, out = 2, bytearray(payload[:2])
        for _ in range(int.from_bytes(payload[:2])):
            end = payload.index(b"\0", position) + 1
            table, column, kind = struct.unpack_from("!IHI", payload, end)
            out += payload[position:end]
            out += struct.pack("!IHI", self._number(table), column, self._number(kind))
            out += payload[end + 10 : end + 18]
            position = end + 18
        return bytes(out)


def play(
    host: str, port: int, script: Script, opponent: Opponent, timeout_s: float = TIMEOUT_S
) -> Play:
    """Play a script against a server or a proxy."""
    with WireClient(host, port, timeout_s) as client:
        parameters = {"application_name": "differential", **script.parameters}
        last = client.login(parameters=parameters)[-1]
        assert last.code == "Z", last
        normalise = _Normaliser()
        replies, free_steps = [], 0
        for step in script.steps:
            free = last.code == "Z" and last.payload == b"I"
            free_steps += free
            opponent.turn(free=free)
            client.send(step.data)
            reply = client.read_until(step.until, step.count) if step.until else client.drain()
            last = reply[-1]
            replies.append([normalise(message) for message in reply])
        if script.steps[-1].until:
            client.quit()
        return Play(client.parameters, replies, free_steps, opponent.turns)
