"""Statements that one server connection has prepared."""

from __future__ import annotations

from proxy.mysql.prepared import StatementRegistry
from proxy.mysql.server_statements import ServerStatements
from proxy.mysql.settings import SettingsTable


def test_the_least_recently_used_is_closed() -> None:
    table, registry = SettingsTable(), StatementRegistry()
    one, two, three = (registry.statement(b"%d" % n, table.none, b"") for n in range(3))
    held = ServerStatements(2)
    assert held.add(one, 11) == []
    assert held.add(two, 12) == []
    assert held.find(one) is not None
    assert held.add(three, 13) == [12]
    assert held.find(two) is None
    assert len(held) == 2


def test_preparing_again_closes_the_old_one() -> None:
    table, registry = SettingsTable(), StatementRegistry()
    one = registry.statement(b"SELECT 1", table.none, b"")
    held = ServerStatements(2)
    held.add(one, 11)
    assert held.add(one, 12) == [11]
    assert held.drop(one) == 12
    assert held.drop(one) is None
