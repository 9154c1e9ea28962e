"""Prepared statements apart from server connections."""

from __future__ import annotations

from proxy.mysql.prepared import ServerStatements, StatementRegistry
from proxy.mysql.settings import SettingsTable


def test_a_statement_is_its_text_settings_and_schema() -> None:
    table, registry = SettingsTable(), StatementRegistry()
    other = table.intern({"sql_mode": ""})
    first = registry.statement(b"SELECT ?", table.none, b"app")
    assert registry.statement(b"SELECT ?", table.none, b"app") is first
    assert registry.statement(b"SELECT ?", other, b"app") is not first
    assert registry.statement(b"SELECT ?", table.none, b"other") is not first
    assert registry.statement(b"SELECT 1", table.none, b"app") is not first


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
