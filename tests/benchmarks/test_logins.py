"""Counting logins, against a server, and what is made of the counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import logins, peers
from benchmarks.fleet import Login
from benchmarks.logins import Sample, row, take, teams

if TYPE_CHECKING:
    import pytest

    from tests.support.servers import PostgresServer

LOGIN = Login(engine="postgresql", user="app", password="app-secret", database="app")


def test_logins_through_tls_are_counted(
    tls_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "_SETTLE_S", 1.5)
    sample = take(peers.Running("direct", tls_server.port, None), LOGIN, 1.0)
    assert sample.logins_per_s > 0
    assert sample.failures == 0
    assert 0 < sample.client_cores < 1.5


def test_rounds_are_compared_with_those_of_one_worker() -> None:
    one = [Sample(10.0, 0, 1.0, 0.1), Sample(20.0, 0, 1.0, 0.1)]
    two = [Sample(19.0, 1, 1.9, 0.2), Sample(36.0, 0, 1.9, 0.2)]
    found = row("tidegate-2-workers", two, one)
    assert found["against_one_worker"] == "1.85 (1.80 to 1.90)"
    assert found["logins_per_s"] == 27.5
    assert found["failures"] == 1
    assert found["proxy_cpu_percent"] == 190
    assert row("pgbouncer", two, [])["against_one_worker"] == "-"


def test_one_worker_is_what_others_are_compared_with() -> None:
    assert [peer.name for peer in teams(peers.POSTGRESQL_PEERS)] == [
        "tidegate-1-workers",
        "tidegate-2-workers",
        "pgbouncer",
    ]
