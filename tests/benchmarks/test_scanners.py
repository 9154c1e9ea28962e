"""That the micro benchmarks' conversations are ones the scanners and the links take."""

from __future__ import annotations

import pytest

from benchmarks import scanners, transactions
from tests.mysql import streams as mysql
from tests.support import messages as postgres


def test_every_scanner_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanners, "_REPEATS", 10)
    found = scanners.run()
    assert len(found) == 8
    assert all(nanoseconds > 0 for nanoseconds in found.values())


def test_every_kind_of_transaction_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "REPEATS", 20)
    found = transactions.run()
    assert list(found) == [
        "PostgreSQL, simple",
        "PostgreSQL, extended",
        "PostgreSQL, prepared",
        "MySQL, text",
        "MySQL, prepared",
    ]
    assert all(nanoseconds > 0 for nanoseconds in found.values())


def test_a_transaction_reaches_the_server_and_its_answer_the_client() -> None:
    stage = transactions.postgres_stage()
    stage.measure(postgres.query("SELECT 1"))
    assert stage.to_server.last == postgres.query("SELECT 1")
    assert stage.sinks[0].last.endswith(b"Z\0\0\0\x05I")
    stage = transactions.mysql_stage()
    stage.measure(mysql.query("SELECT 1"))
    assert stage.to_server.last == mysql.query("SELECT 1")
    assert stage.sinks[0].last == mysql.result([b"0"])


def test_what_keeps_the_connection_is_not_measured() -> None:
    with pytest.raises(AssertionError, match="has not come back"):
        transactions.postgres_stage().measure(postgres.query("BEGIN"))
