"""Every script, direct and through a pool of one shared with an adversary, must match."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.differential.player import Adversary, Nobody, Play, Script, play
from tests.differential.scripts import SCRIPTS

if TYPE_CHECKING:
    from tests.support.proxy import ProxyProcess
    from tests.support.servers import PostgresServer


def _prepare(server: PostgresServer, script: Script) -> None:
    if script.before:
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            connection.execute(script.before.encode())


def _compare(script: Script, direct: Play, proxied: Play) -> None:
    for number, (left, right) in enumerate(zip(direct.replies, proxied.replies, strict=True)):
        step = script.steps[number].data[:200]
        assert right == left, f"step {number + 1} of {script.name!r}: {step!r}"
    assert proxied.login == direct.login


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name.replace(" ", "-"))
def test_proxied_is_as_direct(script: Script, server: PostgresServer, single: ProxyProcess) -> None:
    if server.version not in script.versions:
        pytest.skip(f"not for PostgreSQL {server.version}")
    _prepare(server, script)
    direct = play(server.host, server.port, script, Nobody())
    _prepare(server, script)
    adversary = Adversary(single.host, single.port)
    try:
        proxied = play(single.host, single.port, script, adversary)
    finally:
        adversary.end()
    _compare(script, direct, proxied)
    if script.shared:
        assert proxied.turns >= proxied.free_steps, "the adversary did not get its turns"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name.replace(" ", "-"))
def test_script_repeats_itself_direct(script: Script, server: PostgresServer) -> None:
    """A script whose two direct plays differ would prove nothing."""
    if server.version not in script.versions:
        pytest.skip(f"not for PostgreSQL {server.version}")
    plays = []
    for _ in range(2):
        _prepare(server, script)
        plays.append(play(server.host, server.port, script, Nobody()))
    _compare(script, *plays)


def test_names_are_unique() -> None:
    names = [script.name for script in SCRIPTS]
    assert len(set(names)) == len(names) >= 40
