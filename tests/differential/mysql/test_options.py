"""Clients with options that change what the bytes look like, direct and through a pool of one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.differential.mysql.player import Adversary, Nobody, Place, arrange, difference, play
from tests.differential.mysql.scripts.options import OPTIONAL_METADATA, QUERY_ATTRIBUTES
from tests.differential.mysql.scripts.text import TEXT
from tests.support import mysql_messages as wire
from tests.support.local_mysql import MYSQL
from tests.support.mysql_wire import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.differential.mysql.steps import Script
    from tests.support.mysql_servers import MysqlServer

WITHOUT = {
    "no-multi-statements": wire.MULTI_STATEMENTS,
    "no-multi-results": wire.MULTI_STATEMENTS | wire.MULTI_RESULTS | wire.PS_MULTI_RESULTS,
}
ENDS = {"eofs": 0, "deprecate-eof": wire.DEPRECATE_EOF | wire.SESSION_TRACK}
EXTENDED_METADATA = 1 << 3
COMPONENT = "'file://component_query_attributes'"


def compare(
    script: Script, server: MysqlServer, proxy: Place, capabilities: int, extended: int = 0
) -> None:
    """Play a script at both places: what comes back must be the same."""
    direct = Place(server.host, server.port, server, extended)
    indirect = Place(proxy.host, proxy.port, server, extended)
    arrange(server, script)
    expected = play(direct, script, capabilities, Nobody())
    arrange(server, script)
    found = play(indirect, script, capabilities, Adversary(indirect, capabilities))
    different = difference(script, expected, found, server.kind)
    assert not different, different


@pytest.fixture
def component(mysql_server: MysqlServer) -> Iterator[None]:
    """Have MySQL answer what attributes a query has."""
    if mysql_server.kind != MYSQL:
        pytest.skip("NOT TESTED: MariaDB has no query attributes")
    try:
        mysql_server.admin(f"INSTALL COMPONENT {COMPONENT}")
    except Refused as error:
        pytest.skip(f"NOT TESTED: this MySQL lacks the component: {error}")
    yield
    with contextlib.suppress(Refused):
        mysql_server.admin(f"UNINSTALL COMPONENT {COMPONENT}")


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("script", QUERY_ATTRIBUTES, ids=lambda script: script.name)
@pytest.mark.usefixtures("component")
def test_query_attributes(
    script: Script, ends: str, mysql_server: MysqlServer, mysql_single: Place
) -> None:
    capabilities = wire.BASE | wire.QUERY_ATTRIBUTES | ENDS[ends]
    compare(script, mysql_server, mysql_single, capabilities)


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("script", OPTIONAL_METADATA, ids=lambda script: script.name)
def test_optional_metadata(
    script: Script, ends: str, mysql_server: MysqlServer, mysql_single: Place
) -> None:
    if mysql_server.kind != MYSQL:
        pytest.skip("NOT TESTED: MariaDB has no optional metadata")
    capabilities = wire.BASE | wire.OPTIONAL_METADATA | ENDS[ends]
    compare(script, mysql_server, mysql_single, capabilities)


@pytest.mark.parametrize("without", WITHOUT)
@pytest.mark.parametrize("name", ["several statements", "procedures", "local infile"])
def test_clients_that_take_one_result(
    name: str, without: str, mysql_server: MysqlServer, mysql_single: Place
) -> None:
    (script,) = (script for script in TEXT if script.name == name)
    compare(script, mysql_server, mysql_single, wire.BASE & ~WITHOUT[without])


@pytest.mark.parametrize("script", TEXT[:4], ids=lambda script: script.name)
def test_extended_metadata(script: Script, mysql_server: MysqlServer, mysql_single: Place) -> None:
    if mysql_server.kind == MYSQL:
        pytest.skip("NOT TESTED: MySQL has no extended metadata")
    compare(script, mysql_server, mysql_single, wire.BASE, EXTENDED_METADATA)
