"""Every script, direct and through a pool of one shared with an adversary, must match.

That the comparison is worth something is tested too: two direct plays agree, and a play on a
connection that leaks does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.differential.mysql.player import (
    Adversary,
    Bystander,
    Intruder,
    Nobody,
    Place,
    arrange,
    difference,
    play,
)
from tests.differential.mysql.scripts import SCRIPTS
from tests.support import mysql_messages as wire
from tests.support.mysql_proxy import HAS_ENGINE, NO_ENGINE

if TYPE_CHECKING:
    from tests.differential.mysql.player import Opponent, Replies
    from tests.differential.mysql.steps import Script
    from tests.support.mysql_servers import MysqlServer

CAPABILITIES = {
    "plain": wire.BASE,
    "deprecate-eof": wire.BASE | wire.DEPRECATE_EOF,
    "session-track": wire.BASE | wire.SESSION_TRACK,
    "both": wire.BASE | wire.DEPRECATE_EOF | wire.SESSION_TRACK,
}
LEAKS = {
    "variables": "SET time_zone = '+09:00', sql_mode = ''",
    "databases": "USE information_schema",
    "user variables": "SET @a = 'adversary'",
    "warnings": "DROP TABLE IF EXISTS adversary",
    "row counts": "SELECT 'adversary'",
    "insert ids": "SELECT LAST_INSERT_ID(4711)",
    "temporary tables": "CREATE TEMPORARY TABLE IF NOT EXISTS t (adversary INT)",
    "autocommit off": "SET autocommit = 1",
    "named locks": "SELECT GET_LOCK('a', 0)",
    "character sets": "SET NAMES latin1",
    "transactions": "COMMIT",
}
"""Script name to what another session would have to do on its connection to be noticed."""


def _play(
    server: MysqlServer, script: Script, capabilities: int, opponent: Opponent | None = None
) -> list[Replies]:
    arrange(server, script)
    place = Place(server.host, server.port, server)
    return play(place, script, capabilities, opponent or Nobody())


@pytest.mark.parametrize("capabilities", ["plain", "both"])
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name.replace(" ", "-"))
def test_direct_is_as_direct(script: Script, capabilities: str, mysql_server: MysqlServer) -> None:
    if mysql_server.kind not in script.kinds:
        pytest.skip(f"not for {mysql_server.kind}")
    chosen = CAPABILITIES[capabilities]
    first = _play(mysql_server, script, chosen)
    # On connections of its own the adversary must change nothing.
    adversary = Bystander(Place(mysql_server.host, mysql_server.port, mysql_server), chosen)
    found = difference(script, first, _play(mysql_server, script, chosen, adversary))
    assert not found, found
    assert adversary.turns == len(script.steps)


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_is_noticed(name: str, mysql_server: MysqlServer) -> None:
    (script,) = (script for script in SCRIPTS if script.name == name)
    capabilities = CAPABILITIES["both"]
    clean = _play(mysql_server, script, capabilities)
    leaking = _play(mysql_server, script, capabilities, Intruder((LEAKS[name],)))
    assert difference(script, clean, leaking)


@pytest.mark.skipif(not HAS_ENGINE, reason=NO_ENGINE)
@pytest.mark.parametrize("capabilities", ["plain", "both"])  # The random scripts play all.
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name.replace(" ", "-"))
def test_proxied_is_as_direct(
    script: Script, capabilities: str, mysql_server: MysqlServer, mysql_single: Place
) -> None:
    if mysql_server.kind not in script.kinds:
        pytest.skip(f"not for {mysql_server.kind}")
    chosen = CAPABILITIES[capabilities]
    direct = _play(mysql_server, script, chosen)
    arrange(mysql_server, script)
    schemas = ("app",) if script.schema else ("", "app", "information_schema")
    adversary = Adversary(mysql_single, chosen, schemas=schemas)
    proxied = play(mysql_single, script, chosen, adversary)
    found = difference(script, direct, proxied, mysql_server.kind)
    assert not found, found
