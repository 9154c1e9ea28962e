"""Prepared statements apart from server connections."""

from __future__ import annotations

from proxy.mysql.prepared import StatementRegistry
from proxy.mysql.settings import SettingsTable


def test_a_statement_is_its_text_settings_and_schema() -> None:
    table, registry = SettingsTable(), StatementRegistry()
    other = table.intern({"sql_mode": ""})
    first = registry.statement(b"SELECT ?", table.none, b"app")
    assert registry.statement(b"SELECT ?", table.none, b"app") is first
    assert registry.statement(b"SELECT ?", other, b"app") is not first
    assert registry.statement(b"SELECT ?", table.none, b"other") is not first
    assert registry.statement(b"SELECT 1", table.none, b"app") is not first
