"""Random clients that share server connections get what each would get from a server of its own."""

from __future__ import annotations

import itertools
from random import Random
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.support import messages as wire
from tests.support.fake_postgres import FakePostgres
from tests.support.stand import Stand, split

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.messages import Message

NAMES = ["", "s1", "s2", "s3"]
STATEMENTS = [
    "SELECT 1",
    "SELECT 2",
    "SELECT * FROM t",
    "SELECT repeat('x', 40000)",
    "SELECT fail",
    "SELECT notice",
    "SELECT set_config('my.x', 'y', false)",
    "SELECT set_config('my.x', 'z', true)",
    "SELECT currval",
    "SELECT nextval",
    "SHOW application_name",
    "SHOW my.x",
    "SHOW work_mem",
    "SET application_name = 'a'",
    "SET application_name = 'b'",
    "SET work_mem = '1MB'",
    "SET LOCAL work_mem = '2MB'",
    "RESET work_mem",
    "SET timezone = 'Asia/Tokyo'",
    "DELETE FROM t",
    "SELEC",
    "",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "CREATE TEMP TABLE x",
    "DROP TABLE x",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_advisory_unlock_all()",
    "COPY t TO STDOUT",
]
SIMPLE_ONLY = [
    "SELECT 1; SELECT 2",
    "BEGIN; SET work_mem = '3MB'; SELECT fail",
    "SELECT 1; SET work_mem = '5MB'",
    "DISCARD ALL",
    "DEALLOCATE ALL",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "DEALLOCATE p",
    "DEALLOCATE s1",
    "EXECUTE s1",
    "LISTEN c",
    "UNLISTEN *",
]

simple = st.sampled_from(STATEMENTS + SIMPLE_ONLY).map(wire.query)
name = st.sampled_from(NAMES)
extended_message = st.one_of(
    st.builds(wire.parse, st.sampled_from(STATEMENTS)),
    *(
        # Errors tell either name of a statement that has two, so let none have two.
        st.builds(wire.parse, st.sampled_from(STATEMENTS[number::3]), st.just(f"s{number + 1}"))
        for number in range(3)
    ),
    st.builds(lambda n: wire.bind(name=n), name),
    st.builds(lambda n: wire.bind(name=n) + wire.describe("P") + wire.execute(), name),
    st.builds(lambda n: wire.describe("S", n), name),
    st.builds(lambda n: wire.close("S", n), name),
    st.just(wire.execute()),
    st.just(wire.FLUSH),
)
batch = st.lists(extended_message, max_size=5).map(lambda parts: b"".join(parts) + wire.SYNC)
copy_data = st.lists(st.sampled_from([b"1\n", b"2\n" * 80, b"bad\n"]), max_size=3).map(
    lambda parts: b"".join(wire.copy_data(part) for part in parts)
)
copy_end = st.sampled_from([wire.COPY_DONE, wire.copy_fail("no")])
copy_simple = st.builds(
    lambda data, end: wire.query("COPY t FROM STDIN") + data + end, copy_data, copy_end
)
copy_extended = st.builds(
    lambda data, end: (
        wire.parse("COPY t FROM STDIN")
        + wire.bind()
        + wire.execute()
        + data
        + end
        + wire.SYNC
        + wire.close("S")
        + wire.SYNC
    ),
    copy_data,
    copy_end,
)
function_call = st.just(wire.function_call(715, b"1"))
unit = st.one_of(simple, simple, batch, batch, batch, copy_simple, copy_extended, function_call)

# Clients that send before they know whether an earlier message failed do not use a name twice.
_numbers = itertools.count()


def fresh_batch(statement: str, *, bad: bool, describe: bool) -> bytes:
    """Prepare, run and close a statement under a name not used before."""
    name = f"n{next(_numbers)}"
    data = wire.bind(name="nobody") if bad else b""
    data += wire.parse(statement, name)
    if describe:
        data += wire.describe("S", name) + wire.SYNC
    return data + wire.bind(name=name) + wire.execute() + wire.close("S", name) + wire.SYNC


unnamed_batch = st.lists(
    st.one_of(
        st.builds(wire.parse, st.sampled_from(STATEMENTS)),
        st.just(wire.bind() + wire.describe("P") + wire.execute()),
        st.just(wire.describe("S")),
        st.just(wire.close("S")),
        st.just(wire.FLUSH),
    ),
    max_size=5,
).map(lambda parts: b"".join(parts) + wire.SYNC)
pipelined_unit = st.one_of(
    simple,
    unnamed_batch,
    st.builds(fresh_batch, st.sampled_from(STATEMENTS), bad=st.booleans(), describe=st.booleans()),
    copy_simple,
    copy_extended,
    function_call,
)

ENDING = wire.SYNC + wire.query("ROLLBACK")


def parameters(messages: Iterable[Message]) -> dict[str, str]:
    """Give the parameter statuses as a client knows them in the end."""
    known = FakePostgres().reported()
    for message in messages:
        if message.code == "S":
            key, value, _ = message.payload.decode().split("\0")
            known[key] = value
    return known


def without_parameters(messages: Iterable[Message]) -> list[Message]:
    """Leave out ParameterStatus: when exactly a status is sent is the server's own business."""
    return [message for message in messages if message.code != "S"]


class Rehearsal:
    """A client of the proxy, and the same client on a server session of its own."""

    def __init__(self, stand: Stand, units: list[bytes]) -> None:
        self.client = stand.client()
        self.units = [*units, ENDING + wire.TERMINATE]
        self.peer = FakePostgres()
        self.expected = b""

    def is_answered(self) -> bool:
        """Whether everything sent has been answered."""
        if not self.client.got:
            return not self.expected
        try:
            got = split(self.client.got)
        except AssertionError:
            return False
        return len(without_parameters(got)) == len(without_parameters(split(self.expected)))

    def send(self) -> None:
        """Send what comes next."""
        unit = self.units.pop(0)
        self.client.send(unit)
        self.expected += self.peer.receive(unit)

    def compare(self) -> None:
        """Compare what both got."""
        expected, got = split(self.expected), self.client.messages()
        assert without_parameters(got) == without_parameters(expected)
        assert parameters(got) == parameters(expected)
        assert self.client.link.close_reason == "terminated"


def play(
    scripts: list[list[bytes]],
    servers: int,
    seed: int,
    largest: int,
    high: int,
    *,
    pipelined: bool,
) -> None:
    """Run scripts as clients of a proxy, and compare."""
    for units in scripts:
        # Where another session comes in between, its own currval fails as in a new session.
        sent = b"".join(units)
        assume(not (b"nextval" in sent and b"currval" in sent))
    random = Random(seed)
    stand = Stand(servers, statements=3, high=high)
    rehearsals = [Rehearsal(stand, units) for units in scripts]
    while unfinished := [rehearsal for rehearsal in rehearsals if rehearsal.units]:
        ready = [who for who in unfinished if pipelined or who.is_answered()]
        assert ready, "everybody waits for ever"
        for rehearsal in ready:
            rehearsal.send()
        if not pipelined or random.random() < 0.5:
            stand.run(random, largest)
    stand.run(random, largest)
    for rehearsal in rehearsals:
        rehearsal.compare()
    assert stand.pool.borrowed == 0
    assert not stand.pool.waiters


SHARING = settings(
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@SHARING
@given(
    scripts=st.lists(st.lists(unit, max_size=8), min_size=1, max_size=3),
    servers=st.integers(1, 2),
    seed=st.integers(0, 1 << 30),
    largest=st.sampled_from([3, 50, 1 << 16]),
    high=st.sampled_from([100, 1 << 40]),
)
def test_sharing_shows_in_nothing(
    scripts: list[list[bytes]], servers: int, seed: int, largest: int, high: int
) -> None:
    play(scripts, servers, seed, largest, high, pipelined=False)


@SHARING
@given(
    scripts=st.lists(st.lists(pipelined_unit, max_size=8), min_size=1, max_size=3),
    servers=st.integers(1, 2),
    seed=st.integers(0, 1 << 30),
    largest=st.sampled_from([3, 50, 1 << 16]),
    high=st.sampled_from([100, 1 << 40]),
)
def test_sharing_shows_in_nothing_to_clients_that_do_not_wait(
    scripts: list[list[bytes]], servers: int, seed: int, largest: int, high: int
) -> None:
    play(scripts, servers, seed, largest, high, pipelined=True)
