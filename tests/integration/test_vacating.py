"""Databases that are dropped, renamed or copied: the pool's idle connections are not in the way."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import asyncpg
import pytest

from proxy.net.vacating import VACATE_S
from tests.support import messages as wire
from tests.support.proxy import ProxyProcess, ProxySettings
from tests.support.wire import connect, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.proxy import StartProxy
    from tests.support.servers import PostgresServer

PASSWORD = "app-secret"


@pytest.fixture
def creator(fault_server: PostgresServer) -> Iterator[PostgresServer]:
    """A server where the user ``app`` may create databases; those of these tests are dropped."""
    fault_server.admin("ALTER ROLE app CREATEDB")
    yield fault_server
    for name in ("scratch", "moved", "copied"):
        fault_server.admin(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    fault_server.admin("ALTER ROLE app NOCREATEDB")


@pytest.fixture(params=[1, 2], ids=["alone", "workers"])
def proxy(
    request: pytest.FixtureRequest, creator: PostgresServer, start_proxy: StartProxy
) -> ProxyProcess:
    """A proxy, also of two workers."""
    return start_proxy(
        ProxySettings(
            creator,
            process={"workers": request.param},
            group={"max_connections": 10},
        )
    )


def visit(proxy: ProxyProcess, database: str, clients: int = 4) -> None:
    """Use a database with some clients at once, and leave."""
    many = [connect(proxy.host, proxy.port, "app", database) for _ in range(clients)]
    for client in many:
        client.send(wire.query("SELECT pg_sleep(0.05)"))
    for client in many:
        assert wire.states(client.read_until()) == []
        client.quit()


def test_a_database_that_was_left_can_be_dropped_renamed_and_copied(
    proxy: ProxyProcess, creator: PostgresServer
) -> None:
    with connect(proxy.host, proxy.port) as client:
        for sql in (
            "CREATE DATABASE scratch",
            "CREATE DATABASE copied TEMPLATE = scratch",
            "ALTER DATABASE scratch RENAME TO moved",
            'DROP DATABASE IF EXISTS "moved"',
        ):
            visit(proxy, "moved" if sql.startswith("DROP") else "app")
            if sql != "CREATE DATABASE scratch":
                visit(proxy, "moved" if sql.startswith("DROP") else "scratch")
            assert wire.states(client.query(sql)) == [], sql
        assert client.value("SELECT count(*) FROM pg_database WHERE datname = 'moved'") == "0"
        assert client.value("SELECT 1") == "1"
    assert creator.backends(datname="scratch") == []


def test_prepared_statements_drop_databases_too(proxy: ProxyProcess) -> None:
    async def drop() -> None:
        where = {"host": proxy.host, "port": proxy.port, "user": "app", "password": PASSWORD}
        client = await asyncpg.connect(database="app", **where)
        for _ in range(3):
            await client.execute("CREATE DATABASE scratch")
            visitor = await asyncpg.connect(database="scratch", **where)
            assert await visitor.fetchval("SELECT 1") == 1
            await visitor.close()
            await client.fetch("DROP DATABASE scratch")
        await client.close()

    asyncio.run(drop())


def test_a_database_with_a_client_is_in_use_as_directly(proxy: ProxyProcess) -> None:
    with connect(proxy.host, proxy.port) as client:
        client.query("CREATE DATABASE scratch")
        with connect(proxy.host, proxy.port, "app", "scratch") as visitor:
            # In a transaction, because idle connections may be closed at any time.
            visitor.query("BEGIN")
            assert wire.states(client.query("DROP DATABASE scratch")) == ["55006"]
            assert visitor.value("SELECT 2") == "2"
        # Nor does a client have to be noticed to have left before the command arrives.
        assert wire.states(client.query("DROP DATABASE scratch")) == []


def test_a_client_that_leaves_while_the_server_waits(proxy: ProxyProcess) -> None:
    with connect(proxy.host, proxy.port) as client:
        client.query("CREATE DATABASE scratch")
        visitor = connect(proxy.host, proxy.port, "app", "scratch")
        visitor.query("BEGIN")
        client.send(wire.query("DROP DATABASE scratch"))
        assert client.silent(0.5)
        visitor.quit()
        assert wire.states(client.read_until()) == []


def test_warm_connections_leave_and_stay_away(
    creator: PostgresServer, start_proxy: StartProxy
) -> None:
    group = {"max_connections": 10, "min_connections": 2}
    proxy = start_proxy(ProxySettings(creator, group=group))
    creator.admin("CREATE DATABASE scratch OWNER app")
    visit(proxy, "scratch")
    eventually(lambda: len(creator.backends(datname="scratch")) >= 2, "warm")
    with connect(proxy.host, proxy.port) as client:
        began = time.monotonic()
        assert wire.states(client.query("DROP DATABASE scratch")) == []
        assert time.monotonic() - began < VACATE_S
    failed = proxy.metric("tidegate_database_connections_setup_failed_total", database="scratch")
    assert failed == 0, "nothing tries to come back"
