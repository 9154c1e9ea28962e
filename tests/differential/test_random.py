"""Random scripts, direct and through a shared pool of one: whatever the mix, the same bytes.

``TIDEGATE_RANDOM_SCRIPTS`` says how many; a failure names its seed, and ``TIDEGATE_RANDOM_SEED``
plays just that one again.
"""

from __future__ import annotations

import os
import random
from itertools import groupby
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.differential.player import Adversary, Nobody, Script, Step, play, to
from tests.differential.scripts.simple import ITEMS
from tests.differential.shrink import describe, shrink
from tests.support import messages as wire
from tests.support.wire import Closed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.proxy import ProxyProcess
    from tests.support.servers import PostgresServer

COUNT = int(os.environ.get("TIDEGATE_RANDOM_SCRIPTS", "80"))
STEPS = 14
PLAY_TIMEOUT_S = 4.0
NAMES = ("s1", "s2", "a", "")
QUERIES = (
    "SELECT 1",
    "SELECT count(*) FROM items",
    "SELECT id, name FROM items WHERE id < 4 ORDER BY id",
    "SELECT 1/0",
    "SELECT nosuch",
    "SELEC",
    "",
    "SELECT 1; SELECT 2",
    "SELECT 1; SELECT 1/0; SELECT 2",
    "INSERT INTO items VALUES (100, 'new', 1) ON CONFLICT DO NOTHING",
    "INSERT INTO items VALUES (1, 'duplicate', 1)",
    "DELETE FROM items WHERE id = 100",
    "SHOW timezone",
    "SHOW search_path",
    "SHOW work_mem",
    "SHOW application_name",
    "SELECT date '2024-02-29'",
    "DO $$ BEGIN RAISE NOTICE 'noted'; END $$",
)
TRANSACTIONS = (
    "BEGIN",
    "BEGIN",
    "COMMIT",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT a",
    "SAVEPOINT b",
    "ROLLBACK TO a",
    "ROLLBACK TO b",
    "RELEASE a",
    "COMMIT AND CHAIN",
    "BEGIN READ ONLY",
    "BEGIN; SELECT 1/0",
    "BEGIN; SELECT 1; COMMIT",
)
SETTINGS = (
    "SET timezone = 'Asia/Tokyo'",
    "SET timezone = 'Europe/Paris'",
    "SET LOCAL timezone = 'Asia/Seoul'",
    "RESET timezone",
    "SET work_mem = '8MB'",
    "SET LOCAL work_mem = '9MB'",
    "RESET work_mem",
    "RESET ALL",
    "SET datestyle = 'German'",
    "SET search_path = public, pg_catalog",
    "SET application_name = 'renamed'",
    "SELECT set_config('work_mem', '7MB', false)",
    "SELECT set_config('work_mem', '6MB', true)",
    "SET work_mem = '8MB'; SELECT 1/0",
    "SET nosuch = 1",
    "DISCARD ALL",
    "SET client_encoding = 'LATIN1'",
    "SET client_encoding = 'UTF8'",
)
STATE = (
    "PREPARE s1 AS SELECT 'sql one'",
    "PREPARE p (int) AS SELECT $1 + 1",
    "EXECUTE s1",
    "EXECUTE p (41)",
    "DEALLOCATE s1",
    "DEALLOCATE p",
    "DEALLOCATE ALL",
    "CREATE TEMP TABLE t (x int)",
    "CREATE TEMP TABLE t (x int) ON COMMIT DROP",
    "INSERT INTO t VALUES (1)",
    "SELECT count(*) FROM t",
    "DROP TABLE t",
    "DECLARE c CURSOR FOR SELECT id FROM items ORDER BY id",
    "DECLARE c CURSOR WITH HOLD FOR SELECT id FROM items ORDER BY id",
    "FETCH 2 FROM c",
    "CLOSE c",
    "LISTEN news",
    "NOTIFY news, 'said'",
    "UNLISTEN news",
    "SELECT pg_try_advisory_lock(7)",
    "SELECT pg_advisory_unlock(7)",
    "SELECT pg_try_advisory_xact_lock(8)",
    "ALTER TABLE items ADD COLUMN IF NOT EXISTS extra int",
    "ALTER TABLE items DROP COLUMN IF EXISTS extra",
)
PREPARABLE = (
    "SELECT $1::int + 1",
    "SELECT * FROM items WHERE id = $1::int",
    "SELECT 1/$1::int",
    "UPDATE items SET price = price + $1::int WHERE id = 2",
    "SELEC",
    "SELECT nosuch, $1::int",
    "SELECT id FROM items WHERE id < $1::int ORDER BY id",
)


def _sql(dice: random.Random) -> str:
    pools = (QUERIES, TRANSACTIONS, SETTINGS, STATE)
    return dice.choice(dice.choices(pools, (5, 4, 4, 3))[0])


def _parameter(dice: random.Random) -> str | None:
    return dice.choice(["0", "1", "2", "3", "x", None])


def _extended(dice: random.Random) -> bytes:
    """Some messages of the extended protocol, without a Sync."""
    name = dice.choice(NAMES)
    makers: tuple[Callable[[], bytes], ...] = (
        lambda: wire.parse(dice.choice(PREPARABLE), name),
        lambda: wire.parse(dice.choice(PREPARABLE), name),
        lambda: wire.bind(_parameter(dice), name=name) + wire.describe("P") + wire.execute(),
        lambda: wire.bind(_parameter(dice), name=name) + wire.execute(),
        lambda: wire.bind(_parameter(dice), name=name, portal="p") + wire.execute("p", 1),
        lambda: wire.execute("p", 1),
        lambda: wire.describe("S", name),
        lambda: wire.describe("P", "p"),
        lambda: wire.close("S", name),
        lambda: wire.close("P", "p"),
        lambda: wire.run(_sql(dice)),
        lambda: wire.run(dice.choice(PREPARABLE), _parameter(dice)),
        lambda: wire.close("S", name) + wire.parse(dice.choice(PREPARABLE), name),
        lambda: wire.FLUSH,
    )
    return b"".join(dice.choice(makers)() for _ in range(dice.randint(1, 4)))


def _copy(dice: random.Random) -> bytes:
    line = dice.choice([b"200\tcopied\t1\n", b"1\tduplicate\t1\n", b"not a number\n"])
    end = dice.choice([wire.COPY_DONE, wire.COPY_DONE, wire.copy_fail("changed my mind")])
    into = "COPY items (id, name, price) FROM STDIN"
    if dice.random() < 0.5:
        return wire.query(into) + wire.copy_data(line) + end
    batch = wire.parse(into) + wire.bind() + wire.execute()
    return batch + wire.copy_data(line) + end + wire.SYNC


def _steps(dice: random.Random) -> list[Step]:
    roll = dice.random()
    if roll < 0.45:
        return [Step(wire.query(_sql(dice)))]
    if roll < 0.75:
        return [Step(_extended(dice) + wire.SYNC)]
    if roll < 0.88:
        count = dice.randint(2, 4)
        batches = (
            wire.query(_sql(dice)) if dice.random() < 0.4 else _extended(dice) + wire.SYNC
            for _ in range(count)
        )
        return [to("Z", *batches, count=count)]
    if roll < 0.94:
        return [Step(_copy(dice))]
    # What is flushed ends in CommandComplete, EmptyQueryResponse, PortalSuspended or an error.
    flushed = wire.parse(dice.choice(PREPARABLE)) + wire.bind(_parameter(dice)) + wire.execute()
    return [to("CIsE", flushed + wire.FLUSH), Step(wire.SYNC)]


def make(seed: int) -> Script:
    """Make the script of a seed."""
    dice = random.Random(seed)
    steps = [step for _ in range(STEPS) for step in _steps(dice)]
    return Script(f"random {seed}", tuple(steps), ITEMS, shared=False)


def _sorted_statuses(replies: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Put neighbouring ParameterStatus messages in order: it depends on the server's history."""
    out: list[tuple[str, bytes]] = []
    for status, run in groupby(replies, key=lambda reply: reply[0] == "S"):
        found = list(run)
        out += sorted(found) if status else found
    return out


def _comparable(replies: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Also leave out where in the server's source "transaction is aborted" was raised: a statement
    that the failed transaction has to prepare again is refused by Parse instead of by Bind."""
    return [
        (code, payload.split(b"\0F")[0] if b"\0C25P02\0" in payload else payload)
        for code, payload in _sorted_statuses(replies)
    ]


def _prepare(server: PostgresServer) -> None:
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute(ITEMS.encode())


def _difference(script: Script, server: PostgresServer, proxy: ProxyProcess) -> str:
    """Play a script at both places; gives where they differ, or nothing."""
    _prepare(server)
    direct = play(server.host, server.port, script, Nobody(), PLAY_TIMEOUT_S)
    _prepare(server)
    adversary = Adversary(proxy.host, proxy.port, patience_s=0.03)
    try:
        proxied = play(proxy.host, proxy.port, script, adversary, PLAY_TIMEOUT_S)
    finally:
        adversary.end()
    for number, (left, right) in enumerate(zip(direct.replies, proxied.replies, strict=True)):
        if _comparable(left) != _comparable(right):
            return f"step {number + 1}\ndirect  {left}\nproxied {right}"
    return ""


def _still_differs(script: Script, server: PostgresServer, proxy: ProxyProcess) -> bool:
    try:
        return bool(_difference(script, server, proxy))
    except (AssertionError, TimeoutError, Closed):
        return False


def _seeds() -> list[int]:
    chosen = os.environ.get("TIDEGATE_RANDOM_SEED", "")
    return [int(chosen)] if chosen else list(range(COUNT))


@pytest.mark.parametrize("seed", _seeds())
def test_random(seed: int, server: PostgresServer, single: ProxyProcess) -> None:
    script = make(seed)
    if _difference(script, server, single):
        smallest = shrink(script, lambda shorter: _still_differs(shorter, server, single))
        found = _difference(smallest, server, single)
        told = f"{script.name}:\n{describe(smallest)}\n{found}"
        pytest.fail(told, pytrace=False)
