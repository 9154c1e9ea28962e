"""The prepared statements of one session."""

from __future__ import annotations

from proxy.mysql.client_statements import ClientStatement, Preparation
from proxy.mysql.prepared import Statement
from proxy.mysql.settings import SettingsTable


def test_a_statement_begins_without_types_and_without_a_cursor() -> None:
    known = Statement(b"SELECT ?", SettingsTable().none, b"app")
    statement = ClientStatement(7, known, None, None)
    assert (statement.number, statement.statement) == (7, known)
    assert statement.types is None
    assert not statement.cursor


def test_whose_preparing_it_is() -> None:
    known = Statement(b"SELECT ?", SettingsTable().none, b"app")
    preparation = Preparation(ClientStatement(7, known, None, None), ours=True)
    assert preparation.ours
    assert not preparation.silent
    assert preparation.server_number == 0
