"""Random MySQL scripts: whatever the mix, the same packets direct and through a shared pool.

``TIDEGATE_RANDOM_SCRIPTS`` says how many; a failure names its seed, and ``TIDEGATE_RANDOM_SEED``
plays just that one again.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from tests.differential.mysql.player import Adversary, Nobody, Place, arrange, difference, play
from tests.differential.mysql.scripts.tables import ITEMS, PROCEDURES
from tests.differential.mysql.steps import (
    NOTHING,
    Script,
    Step,
    close,
    command,
    execute,
    fetch,
    long_data,
    number,
    prepare,
    query,
    reset,
    text,
)
from tests.support import mysql_messages as wire
from tests.support.mysql_proxy import HAS_ENGINE, NO_ENGINE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.mysql_servers import MysqlServer

COUNT = int(os.environ.get("TIDEGATE_RANDOM_SCRIPTS", "20"))
STEPS = 25
PLAY_TIMEOUT_S = 8.0
OPTIONS = (0, wire.DEPRECATE_EOF, wire.SESSION_TRACK, wire.DEPRECATE_EOF | wire.SESSION_TRACK)

QUERIES = (
    "SELECT 1",
    "SELECT COUNT(*) FROM items",
    "SELECT id, name FROM items WHERE id < 4 ORDER BY id",
    "SELECT nosuch",
    "SELEC",
    "",
    "SELECT 1; SELECT 2",
    "SELECT 1; SELECT nosuch; SELECT 2",
    "SELECT CAST('x' AS SIGNED)",
    "INSERT INTO items (name) VALUES ('new')",
    "INSERT IGNORE INTO items (name) VALUES ('one')",
    "DELETE FROM items WHERE name = 'new'",
    "UPDATE items SET price = LAST_INSERT_ID(price + 1) WHERE id = 1",
    "CALL fails()",
)
ASKS = (
    "SHOW WARNINGS",
    "SHOW ERRORS",
    "SHOW COUNT(*) WARNINGS",
    "SELECT @@warning_count, @@error_count",
    "SELECT LAST_INSERT_ID()",
    "SELECT ROW_COUNT()",
    "SELECT FOUND_ROWS()",
    "SELECT @@time_zone, @@sql_mode, @@autocommit, @@sql_select_limit, DATABASE()",
    "SELECT @@character_set_client, @@character_set_results, @@collation_connection",
    "SELECT @a, @b",
)
SETTINGS = (
    "SET time_zone = '+09:00'",
    "SET time_zone = DEFAULT",
    "SET sql_mode = 'ANSI_QUOTES'",
    "SET sql_mode = DEFAULT",
    "SET sql_select_limit = 2",
    "SET sql_select_limit = DEFAULT",
    "SET NAMES latin1",
    "SET NAMES utf8mb4",
    "SET nosuch = 1",
    "SET time_zone = '+01:00', sql_mode = 'nosuch'",
    "USE information_schema",
    "USE app",
    "USE nosuch",
    "SET @a = 1",
    "SET @b = 'text', @a = NULL",
)
TRANSACTIONS = (
    "BEGIN",
    "BEGIN",
    "START TRANSACTION READ ONLY",
    "COMMIT",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT a",
    "ROLLBACK TO a",
    "COMMIT AND CHAIN",
    "SET autocommit = 0",
    "SET autocommit = 1",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
)
STATE = (
    "CREATE TEMPORARY TABLE t (x INT)",
    "INSERT INTO t VALUES (1)",
    "SELECT COUNT(*) FROM t",
    "DROP TEMPORARY TABLE t",
    "PREPARE s1 FROM 'SELECT 41 + 1'",
    "EXECUTE s1",
    "DEALLOCATE PREPARE s1",
    "SELECT GET_LOCK('random', 0)",
    "SELECT RELEASE_LOCK('random')",
    "LOCK TABLES items READ",
    "UNLOCK TABLES",
)
PREPARABLE = (
    "SELECT ?",
    "SELECT id, name FROM items WHERE id >= ? ORDER BY id",
    "INSERT INTO items (name) VALUES (?)",
    "SELECT @a, ?",
    "SELEC",
    "SELECT nosuch, ?",
)


def _statement(dice: random.Random) -> Step:
    number_of = dice.randrange(5)
    values = [number(dice.randrange(4)), text("new"), text("x"), NOTHING]
    makers: tuple[Callable[[], Step], ...] = (
        lambda: prepare(dice.choice(PREPARABLE)),
        lambda: prepare(dice.choice(PREPARABLE)),
        lambda: execute(number_of, dice.choice(values)),
        lambda: execute(number_of, dice.choice(values)),
        lambda: execute(number_of, dice.choice(values)),
        lambda: execute(number_of, number(1), cursor=True),
        lambda: fetch(number_of, 1),
        lambda: long_data(number_of, 0, b"long"),
        lambda: reset(number_of),
        lambda: close(number_of),
    )
    return dice.choice(makers)()


def _step(dice: random.Random) -> Step:
    if dice.random() < 0.3:
        return _statement(dice)
    if dice.random() < 0.06:
        code = dice.choice((wire.PING, wire.RESET_CONNECTION, wire.STATISTICS))
        return command(code)
    pools = (QUERIES, ASKS, SETTINGS, TRANSACTIONS, STATE)
    return query(dice.choice(dice.choices(pools, (5, 4, 4, 3, 2))[0]))


def make(seed: int) -> Script:
    """Make the script of a seed."""
    dice = random.Random(seed)
    # On a new MariaDB connection FOUND_ROWS() varies before the first SELECT, direct too.
    steps = (query("SELECT 1"), *(_step(dice) for _ in range(STEPS)))
    return Script(f"random {seed}", steps, (*ITEMS, *PROCEDURES))


def _seeds(count: int) -> list[int]:
    chosen = os.environ.get("TIDEGATE_RANDOM_SEED", "")
    return [int(chosen)] if chosen else list(range(count))


@pytest.mark.parametrize("seed", _seeds(COUNT // 6))
def test_random_direct(seed: int, mysql_server: MysqlServer) -> None:
    script = make(seed)
    capabilities = wire.BASE | OPTIONS[seed % len(OPTIONS)]
    place = Place(mysql_server.host, mysql_server.port, mysql_server)
    plays = []
    for _ in range(2):
        arrange(mysql_server, script)
        plays.append(play(place, script, capabilities, Nobody(), PLAY_TIMEOUT_S))
    found = difference(script, plays[0], plays[1])
    assert not found, found


@pytest.mark.skipif(not HAS_ENGINE, reason=NO_ENGINE)
@pytest.mark.parametrize("seed", _seeds(COUNT))
def test_random(seed: int, mysql_server: MysqlServer, mysql_single: Place) -> None:
    script = make(seed)
    capabilities = wire.BASE | OPTIONS[seed % len(OPTIONS)]
    place = Place(mysql_server.host, mysql_server.port, mysql_server)
    arrange(mysql_server, script)
    direct = play(place, script, capabilities, Nobody(), PLAY_TIMEOUT_S)
    arrange(mysql_server, script)
    adversary = Adversary(mysql_single, capabilities, patience_s=0.05)
    proxied = play(mysql_single, script, capabilities, adversary, PLAY_TIMEOUT_S)
    found = difference(script, direct, proxied, mysql_server.kind)
    assert not found, found
