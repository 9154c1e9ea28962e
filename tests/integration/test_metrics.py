"""What the metrics say after things whose number is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support import messages as wire
from tests.support.proxy import ProxyProcess, ProxySettings
from tests.support.wire import WireClient, cancel, connect, eventually

if TYPE_CHECKING:
    from tests.support.certificates import Certificates
    from tests.support.proxy import StartProxy
    from tests.support.servers import PostgresServer


@pytest.fixture
def counted(
    server: PostgresServer, proxy_certificates: Certificates, start_proxy: StartProxy
) -> ProxyProcess:
    """A fresh proxy with a pool of two."""
    group = {"max_connections": 2, "connection_borrow_timeout_s": 0.3}
    return start_proxy(ProxySettings(server, group=group, certificates=proxy_certificates))


def test_clients(counted: ProxyProcess) -> None:
    def value(name: str, **labels: str) -> float:
        return counted.metric(f"tidegate_client_connections{name}", **labels)

    with connect(counted.host, counted.port) as plain:
        with psycopg.connect(counted.conninfo(sslmode="require")):
            eventually(lambda: value("") == 2, "two clients")
        plain.quit()
    with WireClient(counted.host, counted.port) as stranger:
        assert stranger.login(password="wrong")[-1].code == "E"
    eventually(lambda: value("") == 0, "none left")
    assert value("_received_total") == 3
    assert value("_setup_succeeded_total") == 2
    assert value("_setup_failed_auth_total") == 1


def test_server_connections(counted: ProxyProcess) -> None:
    def value(name: str) -> float:
        return counted.metric(f"tidegate_{name}")

    with connect(counted.host, counted.port) as one, connect(counted.host, counted.port) as two:
        one.query("BEGIN")
        two.query("CREATE TEMP TABLE mine (x int)")
        eventually(lambda: value("database_connections_currently_in_transaction") == 1, "one in")
        eventually(lambda: value("database_connections_currently_session_pinned") == 1, "one pin")
        assert value("max_database_connections_allowed") == 2
        assert value("database_connections_setup_succeeded_total") == 2
        with connect(counted.host, counted.port) as third:
            assert wire.states(third.query("SELECT 1")) == ["53300"]
        assert value("database_connections_borrow_timeouts_total") == 1
        one.query("COMMIT")
        one.send(wire.query("SELECT pg_sleep(20)"))
        eventually(lambda: len(counted.server.backends(wait_event="PgSleep")) == 1, "asleep")
        cancel(counted.host, counted.port, one.pid, one.key)
        one.read_until()
        assert value("cancels_total") == 1
    eventually(lambda: value("database_connections_currently_session_pinned") == 0, "unpinned")


def test_queries(counted: ProxyProcess) -> None:
    before = counted.metric("tidegate_query_requests_total") if _has_queries(counted) else 0.0
    with connect(counted.host, counted.port) as client:
        for _ in range(10):
            client.query("SELECT 1")
        client.exchange(*[wire.run("SELECT 1") + wire.SYNC] * 5, count=5)
    assert counted.metric("tidegate_query_requests_total") - before >= 15
    for name in ("query_response", "query_database_response"):
        assert counted.metric(f"tidegate_{name}_latency_seconds_count") >= 1
        assert counted.metric(f"tidegate_{name}_latency_seconds_sum") < 15


def _has_queries(proxy: ProxyProcess) -> bool:
    return "tidegate_query_requests_total{" in proxy.http("/metrics")


def test_secrets_are_in_no_page(counted: ProxyProcess) -> None:
    with connect(counted.host, counted.port) as client:
        client.query("SELECT 'bound value'")
    for page in ("/metrics", "/livez", "/readyz"):
        assert "app-secret" not in counted.http(page)
        assert "bound value" not in counted.http(page)
