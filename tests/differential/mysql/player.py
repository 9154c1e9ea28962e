"""Plays scripts of MySQL commands, with an adversary between them, and makes plays comparable.

What may differ between two plays of a script is replaced: statement ids (numbered by appearance)
and the text of COM_STATISTICS. All else must match byte for byte: sequence ids, status flags,
warning counts, insert ids, column definitions, EOF and OK packets, session state blocks.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tests.differential.mysql.steps import UNKNOWN
from tests.support import mysql_messages as wire
from tests.support.local_mysql import MARIADB, MYSQL
from tests.support.mysql_wire import TIMEOUT_S, MysqlClient, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.differential.mysql.steps import Script, Step
    from tests.support.mysql_messages import Packet
    from tests.support.mysql_servers import MysqlServer

Replies = list[tuple[int, bytes]]
_NUMBERED = re.compile(rb".(Unknown prepared statement handler|The statement) \(\d+\)", re.DOTALL)
_STATE_CHANGED, _METADATA_CHANGED = 0x4000, 0x0400
"""An error about a statement id, behind the length that it has in a row of SHOW WARNINGS."""
PATIENCE_S = 0.08
"""How long the adversary waits for the pool's one connection before the script goes on."""
HURRIED_S = 0.02


@dataclass(frozen=True, slots=True)
class Place:
    """Where a play happens: the server, or a proxy in front of it."""

    host: str
    port: int
    server: MysqlServer
    """Whose accounts log in."""
    extended: int = 0
    """MariaDB's own capabilities."""

    def connect(
        self, capabilities: int, timeout_s: float = TIMEOUT_S, schema: str = "app"
    ) -> MysqlClient:
        """Connect as user app."""
        client = MysqlClient(self.host, self.port, timeout_s)
        try:
            client.login(
                "app",
                self.server.password("app"),
                schema,
                capabilities=capabilities,
                extended=self.extended,
            )
        except BaseException:
            client.close()
            raise
        return client


class Opponent(Protocol):
    """Whatever happens between two commands."""

    def turn(self, client: MysqlClient) -> None:
        """Do something; ``client`` is the script's own connection."""
        ...


class Nobody:
    """Between the commands of a direct play nothing happens."""

    def turn(self, client: MysqlClient) -> None:
        """Do nothing."""


MOVES: tuple[tuple[str, ...], ...] = (
    (
        "SET time_zone = '+09:00', sql_mode = 'ANSI_QUOTES', sql_safe_updates = 1,"
        " character_set_results = latin1, lc_time_names = 'de_DE', sql_select_limit = 1",
        "SET autocommit = 0, foreign_key_checks = 0, auto_increment_increment = 7",
        "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    ),
    ("USE information_schema", "SELECT nosuch", "DROP TABLE IF EXISTS nosuch"),
    ("SET @a = 'adversary', @b = 99, @x = 'adversary'",),
    ("CREATE TEMPORARY TABLE t (adversary INT)", "CREATE TEMPORARY TABLE items (adversary INT)"),
    ("PREPARE s1 FROM 'SELECT ''adversary'''", "SELECT GET_LOCK('adversary', 0)"),
    ("SELECT LAST_INSERT_ID(4711)", "SELECT SQL_CALC_FOUND_ROWS 1 UNION SELECT 2 LIMIT 1"),
    ("SET timestamp = 1, insert_id = 4711, rand_seed1 = 1, rand_seed2 = 2",),
    ("SET NAMES latin1", "START TRANSACTION READ ONLY", "SELECT 1/0"),
)
"""What the adversary does, turn by turn; each turn is another session's, which then vanishes."""


class Adversary:
    """Neighbours on the same server connection that leave behind all they can."""

    def __init__(
        self,
        place: Place,
        capabilities: int,
        patience_s: float = PATIENCE_S,
        schemas: tuple[str, ...] = ("app",),
    ) -> None:
        """Take the pool's sort of connection: the same user, database and capabilities."""
        self.place = place
        self.schemas = schemas
        """What to log in to, in turns."""
        self.capabilities = capabilities
        self.patience_s = patience_s
        self.hurried_s = HURRIED_S
        """Patience while the script is in a transaction, when a pool of one has no connection."""
        self.moves = 0
        self.turns = 0
        """Turns in which every statement was answered."""

    def turn(self, client: MysqlClient) -> None:
        """Make the next move, and give up where the connection is not to be had."""
        patience_s = self.patience_s
        if client.status & wire.IN_TRANSACTION:
            patience_s = min(patience_s, self.hurried_s)
        statements = MOVES[self.moves % len(MOVES)]
        self.moves += 1
        with contextlib.suppress(TimeoutError):
            schema = self.schemas[self.moves % len(self.schemas)]
            neighbour = self.place.connect(self.capabilities, patience_s, schema)
            with neighbour:
                for statement in statements:
                    neighbour.query(statement)
                prepared = neighbour.exchange(bytes([wire.PREPARE]) + b"SELECT 'adversary', ?")
                assert not prepared[0].error
                self.turns += 1


class Bystander(Adversary):
    """The same on connections of its own: nobody keeps it waiting, so it waits for the server."""

    def __init__(self, place: Place, capabilities: int) -> None:
        super().__init__(place, capabilities, TIMEOUT_S)
        self.hurried_s = TIMEOUT_S


class Intruder:
    """Does the adversary's moves on the script's own connection, as a leaking pool would."""

    def __init__(self, moves: tuple[str, ...]) -> None:
        """Choose the statements."""
        self.moves = moves

    def turn(self, client: MysqlClient) -> None:
        """Make the moves."""
        for move in self.moves:
            client.query(move)


@dataclass(slots=True)
class _Performance:
    """One client's way through a script."""

    client: MysqlClient
    server: MysqlServer
    statements: list[bytes] = field(default_factory=list)

    def perform(self, step: Step) -> Replies:
        payload = step.payload
        if payload[0] == wire.CHANGE_USER:
            return self._change_user(payload[1:].decode())
        if step.statement is not None:
            known = step.statement < len(self.statements)
            unknown = UNKNOWN.to_bytes(4, "little")
            mark = self.statements[step.statement] if known else unknown
            payload = payload[:1] + mark + payload[5:]
        reply = self.client.exchange(payload, step.upload, step.attributes)
        return self._comparable(payload[0], reply)

    def _change_user(self, user: str) -> Replies:
        try:
            last = self.client.change_user(user, self.server.password(user), user)
        except Refused as error:
            return [(0, repr(error.args).encode())]
        # How many packets the login takes depends on what the server has cached.
        return [(0, last.payload)]

    def _comparable(self, code: int, reply: list[Packet]) -> Replies:
        found = [(packet.sequence, packet.payload) for packet in reply]
        if code == wire.PREPARE and not reply[0].error:
            sequence, payload = found[0]
            index = len(self.statements)
            self.statements.append(payload[1:5])
            found[0] = (sequence, payload[:1] + index.to_bytes(4, "little") + payload[5:])
        if code == wire.STATISTICS:
            assert b"Uptime" in found[0][1], found
            return [(found[0][0], b"statistics")]
        found = [(s, _NUMBERED.sub(rb"\1", payload)) for s, payload in found]
        if code == wire.PREPARE:
            return found
        last = len(found) - 1
        return [(s, _leveled(payload, i == last)) for i, (s, payload) in enumerate(found)]


def _leveled(payload: bytes, last: bool) -> bytes:
    """Leave out of a packet what differs between connections, and what no proxy can know.

    MariaDB reports variables in any order. MySQL flags session state where it has none to report
    (BEGIN within a transaction). An EOF behind column definitions tells of warnings from parsing
    and of how the query will be executed, which a server does not say where DEPRECATE_EOF is in
    force, as it always is between proxy and server. A statement prepared anew is never told that
    its columns have changed since.
    """
    if payload[:1] == b"\xfe" and len(payload) == 5:
        status = int.from_bytes(payload[3:5], "little")
        if last:
            status &= ~(_METADATA_CHANGED | _STATE_CHANGED)
            return payload[:3] + status.to_bytes(2, "little")
        return payload[:1] + (status & wire.AUTOCOMMIT).to_bytes(2, "little")
    if payload[:1] not in (b"\0", b"\xfe"):
        return payload
    try:
        return _leveled_ok(payload)
    except (IndexError, ValueError):
        return payload  # A row, or what a server would never send as OK.


def _leveled_ok(payload: bytes) -> bytes:
    _, position = wire.read_lenenc(payload, 1)
    _, position = wire.read_lenenc(payload, position)
    status = int.from_bytes(payload[position : position + 2], "little") & ~_METADATA_CHANGED
    head, tail = payload[:position], payload[position + 2 : position + 4]
    position += 4
    info = track = b""
    if position < len(payload):
        size, position = wire.read_lenenc(payload, position)
        info, position = payload[position : position + size], position + size
    if position < len(payload):
        size, position = wire.read_lenenc(payload, position)
        track, position = payload[position : position + size], position + size
    if position != len(payload):
        raise ValueError(payload)
    if not track:
        status &= ~_STATE_CHANGED
    entries = []
    start = 0
    while start < len(track):
        size, end = wire.read_lenenc(track, start + 1)
        entries.append(track[start : end + size])
        start = end + size
    return head + status.to_bytes(2, "little") + tail + info + b"".join(sorted(entries))


def play(
    place: Place,
    script: Script,
    capabilities: int,
    opponent: Opponent,
    timeout_s: float = TIMEOUT_S,
) -> list[Replies]:
    """Play a script; gives what came back, command by command."""
    with place.connect(capabilities, timeout_s, script.schema) as client:
        performance = _Performance(client, place.server)
        replies = []
        for step in script.steps:
            opponent.turn(client)
            replies.append(performance.perform(step))
        client.quit()
    return replies


def arrange(server: MysqlServer, script: Script) -> None:
    """Make the tables that a script starts with."""
    if script.before:
        server.admin("USE app", *script.before)


def difference(script: Script, left: list[Replies], right: list[Replies], kind: str = "") -> str:
    """Tell the first command whose replies differ, or nothing.

    ``kind`` of server: what docs/compatibility.md says differs there is not compared.
    """
    for count, (one, other) in enumerate(zip(left, right, strict=True), start=1):
        as_text = script.steps[count - 1].payload[:1] == bytes([wire.QUERY])
        if other and as_text and _REFUSED in other[-1][1]:
            # Refused rather than wrong, once (docs/mysql.md); what follows may depend on it.
            return ""
        told = _told_by(kind, script.steps[count - 1].payload)
        if told(one) != told(other):
            sent = script.steps[count - 1].payload[:200]
            return f"step {count} of {script.name!r}: {sent!r}\nfirst  {one}\nsecond {other}"
    return ""


_REFUSED = b"Tidegate cannot tell what the previous statement did"
_USER_VARIABLE = re.compile(rb"@[ab]\b")
_MESSAGES = re.compile(rb"SHOW (WARNINGS|ERRORS|COUNT)|@@(warning|error)_count")


def _told_by(kind: str, payload: bytes) -> Callable[[Replies], Replies]:
    """What is compared of the replies to a command."""
    if kind == MARIADB and _MESSAGES.search(payload):
        return lambda reply: []  # Messages of earlier statements than the last.
    if kind == MYSQL and b"FOUND_ROWS()" in payload:
        return lambda reply: reply[:-1]  # It warns that the function is deprecated.
    if kind == MYSQL and b"AND CHAIN" in payload:
        return lambda reply: [(s, p[:3]) for s, p in reply]  # It may say that one has begun.
    if kind == MYSQL and payload[0] == wire.PING:
        return lambda reply: [(s, p[:5]) for s, p in reply]  # Not always the messages' number.
    if _USER_VARIABLE.search(payload):
        # A variable that was never set has another type than one that is NULL again.
        return lambda reply: [(s, p) for s, p in reply if not p.startswith(b"\x03def")]
    return lambda reply: reply
