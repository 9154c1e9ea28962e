"""Clients that hold, leave or break a transaction."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support import messages as wire
from tests.support.proxy import ProxyProcess, ProxySettings
from tests.support.wire import connect, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.proxy import StartProxy
    from tests.support.servers import PostgresServer


@pytest.fixture
def ledger(server: PostgresServer) -> Iterator[None]:
    """A table to write into."""
    server.admin("DROP TABLE IF EXISTS ledger", database="app")
    server.admin("CREATE TABLE ledger (x int); GRANT ALL ON ledger TO app", database="app")
    yield
    server.admin("DROP TABLE ledger", database="app")


@pytest.mark.parametrize("way", ["close", "reset", "terminate"])
@pytest.mark.usefixtures("ledger")
def test_client_gone_in_a_transaction(
    single: ProxyProcess, server: PostgresServer, way: str
) -> None:
    client = connect(single.host, single.port)
    client.query("BEGIN")
    client.query("INSERT INTO ledger VALUES (1)")
    if way == "terminate":
        client.quit()
    elif way == "reset":
        client.reset()
    else:
        client.close()
    with connect(single.host, single.port) as after:
        assert after.value("SELECT count(*) FROM ledger") == "0"
        assert after.value("SELECT pg_current_xact_id_if_assigned() IS NULL") == "t"
    assert len(server.backends(usename="app")) == 1


@pytest.mark.usefixtures("ledger")
def test_client_gone_in_a_failed_transaction(single: ProxyProcess) -> None:
    client = connect(single.host, single.port)
    client.query("BEGIN; SELECT 1/0")
    client.close()
    with connect(single.host, single.port) as after:
        assert after.value("SELECT count(*) FROM ledger") == "0"


def test_client_gone_while_its_query_runs(single: ProxyProcess, server: PostgresServer) -> None:
    for data in (wire.query("SELECT pg_sleep(60)"), wire.run("SELECT pg_sleep(60)") + wire.SYNC):
        client = connect(single.host, single.port)
        client.send(data)
        eventually(lambda: len(server.backends(wait_event="PgSleep")) == 1, "running")
        began = time.monotonic()
        client.reset()
        with connect(single.host, single.port) as after:
            assert after.value("SELECT 'served'") == "served"
        assert time.monotonic() - began < 10
        assert not server.backends(wait_event="PgSleep")


def test_client_gone_with_an_unfinished_message(single: ProxyProcess) -> None:
    whole = wire.query("SELECT 'never finished'")
    for cut in (1, 3, 5, 9, len(whole) - 1):
        for before in ((), ("BEGIN",)):
            client = connect(single.host, single.port)
            for statement in before:
                client.query(statement)
            client.send(whole[:cut])
            client.close()
            with connect(single.host, single.port) as after:
                assert after.value("SELECT 'served'") == "served"


@pytest.mark.parametrize("way", ["close", "reset", "terminate"])
@pytest.mark.usefixtures("ledger")
def test_client_gone_before_sync(single: ProxyProcess, server: PostgresServer, way: str) -> None:
    insert = wire.run("INSERT INTO ledger VALUES (1)")
    for before in (insert + wire.FLUSH, insert, wire.parse("SELECT 1") + wire.FLUSH):
        client = connect(single.host, single.port)
        client.send(before)
        if before.endswith(wire.FLUSH):
            client.read_until("C" if before.startswith(insert) else "1")
        if way == "terminate":
            client.send(wire.TERMINATE)
            client.drain()
            client.close()
        elif way == "reset":
            client.reset()
        else:
            client.close()
        with connect(single.host, single.port) as after:
            assert after.value("SELECT count(*) FROM ledger") == "0"
    assert len(server.backends(usename="app")) == 1


@pytest.mark.parametrize("way", ["close", "terminate"])
def test_client_gone_while_statements_wait_to_be_closed(
    server: PostgresServer, start_proxy: StartProxy, way: str
) -> None:
    """The Close that goes ahead of its goodbye is answered, and the connection serves the next."""
    group = {
        "max_connections": 1,
        "max_prepared_statements": 1,
        "connection_borrow_timeout_s": 3.0,
    }
    proxy = start_proxy(ProxySettings(server, group=group))
    client = connect(proxy.host, proxy.port)
    client.query("BEGIN")
    pid = client.value("SELECT pg_backend_pid()")
    for number in range(3):
        client.exchange(wire.parse(f"SELECT {number}", f"s{number}"), wire.SYNC)
    if way == "close":
        client.send(wire.query("SELECT 1")[:3])
        client.close()
    else:
        client.send(wire.TERMINATE)
        assert client.drain() == []
        client.close()
    with connect(proxy.host, proxy.port) as other:
        assert other.value("SELECT pg_backend_pid()") == pid


def test_client_gone_in_a_copy(single: ProxyProcess) -> None:
    client = connect(single.host, single.port)
    client.query("BEGIN; CREATE TEMP TABLE sink (x text) ON COMMIT DROP")
    client.send(wire.query("COPY sink FROM STDIN"))
    client.read_until("G")
    client.send(wire.copy_data(b"half")[:-2])
    client.close()
    with connect(single.host, single.port) as after:
        assert after.value("SELECT 'served'") == "served"


def test_client_gone_in_the_middle_of_a_large_reply(single: ProxyProcess) -> None:
    client = connect(single.host, single.port)
    client.send(wire.query("SELECT repeat('x', 1000) FROM generate_series(1, 1000000)"))
    client.read_bytes(100000)
    client.reset()
    began = time.monotonic()
    with connect(single.host, single.port) as after:
        assert after.value("SELECT 'served'") == "served"
    assert time.monotonic() - began < 10


@pytest.mark.usefixtures("ledger")
def test_idle_transaction_timeout(server: PostgresServer, start_proxy: StartProxy) -> None:
    settings = ProxySettings(
        server, group={"max_connections": 1}, proxy={"idle_transaction_timeout_s": 1.0}
    )
    proxy = start_proxy(settings)
    with connect(proxy.host, proxy.port) as frozen, connect(proxy.host, proxy.port) as waiting:
        frozen.query("BEGIN")
        frozen.query("INSERT INTO ledger VALUES (1)")
        pid = frozen.value("SELECT pg_backend_pid()")
        waiting.send(wire.query("SELECT count(*), pg_backend_pid() FROM ledger"))
        assert wire.rows(waiting.read_until()) == [[b"0", pid.encode()]], "rolled back, reused"
        said = frozen.drain()
        assert wire.states(said) == ["25P03"]
        assert said[-1].fields["S"] == "FATAL"


def test_idle_transaction_timeout_spares_the_busy(
    server: PostgresServer, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(ProxySettings(server, proxy={"idle_transaction_timeout_s": 1.0}))
    with connect(proxy.host, proxy.port) as client:
        client.query("BEGIN")
        assert wire.states(client.query("SELECT pg_sleep(2.5)")) == []
        for _ in range(8):
            assert client.value("SELECT 1") == "1"
            time.sleep(0.3)
        assert wire.codes(client.query("COMMIT")) == "CZ"


def test_query_timeout(server: PostgresServer, start_proxy: StartProxy) -> None:
    proxy = start_proxy(ProxySettings(server, proxy={"query_timeout_s": 1.0}))
    with connect(proxy.host, proxy.port) as client:
        began = time.monotonic()
        reply = client.query("SELECT pg_sleep(30)")
        assert wire.states(reply) == ["57014"]
        assert time.monotonic() - began < 5
        assert client.value("SELECT 1") == "1"
        client.query("BEGIN")
        time.sleep(1.5)
        assert client.value("SELECT 'idle time does not count'")


def test_transaction_keeps_its_connection(single: ProxyProcess, server: PostgresServer) -> None:
    with connect(single.host, single.port) as holder, connect(single.host, single.port) as waiter:
        holder.query("BEGIN")
        pid = holder.value("SELECT pg_backend_pid()")
        waiter.send(wire.query("SELECT pg_backend_pid()"))
        for _ in range(5):
            assert holder.value("SELECT pg_backend_pid()") == pid
        assert waiter.silent(0.2)
        holder.query("ROLLBACK")
        assert wire.rows(waiter.read_until()) == [[pid.encode()]]
        assert server.backends(usename="app") == [int(pid)]


def test_extended_batch_keeps_its_connection_until_sync(single: ProxyProcess) -> None:
    with connect(single.host, single.port) as holder, connect(single.host, single.port) as waiter:
        holder.send(wire.run("SELECT 1"), wire.FLUSH)
        holder.read_until("C")
        waiter.send(wire.query("SELECT 'waited'"))
        assert waiter.silent(0.2)
        holder.exchange(wire.SYNC)
        assert wire.rows(waiter.read_until()) == [[b"waited"]]
