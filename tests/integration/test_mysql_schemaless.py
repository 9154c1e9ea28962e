"""Sessions that log in without a default schema share connections once they have chosen one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support import mysql_messages as wire
from tests.support.mysql_proxy import mysql_proxy_settings
from tests.support.mysql_wire import MysqlClient, Refused, connect
from tests.support.proxy import ProxyProcess, running_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.mysql_servers import MysqlServer

WHERE = "SELECT DATABASE()"
SESSIONS = 12


@pytest.fixture(scope="module")
def proxy(
    mysql_server: MysqlServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxyProcess]:
    """A proxy with room for two server connections."""
    made = mysql_proxy_settings(mysql_server, {"max_connections": 2})
    with running_proxy(made, tmp_path_factory.mktemp("mysql-schemaless")) as running:
        yield running


def login(proxy: ProxyProcess, schema: str = "") -> MysqlClient:
    return connect(proxy.host, proxy.port, "app", "app-secret", schema)


def opened(server: MysqlServer) -> int:
    """How many connections the server has seen so far."""
    [(_, value)] = server.admin("SHOW GLOBAL STATUS LIKE 'Connections'")
    return int(value or 0)


@pytest.mark.parametrize("way", ["command", "text", "texts"])
def test_many_sessions_share_few_connections(
    mysql_server: MysqlServer, proxy: ProxyProcess, way: str
) -> None:
    clients = [login(proxy) for _ in range(SESSIONS)]
    before = opened(mysql_server)
    for client in clients:
        assert client.rows(WHERE) == [(None,)]
    for client in clients:
        if way == "command":
            client.exchange(bytes([wire.INIT_DB]) + b"app")
        else:
            client.query("USE app" if way == "text" else "SET @a = 1; USE app")
    for schema in ("app", "information_schema", "app"):
        for client in clients:
            client.query(f"USE {schema}")
        for client in clients:
            assert client.rows(WHERE) == [(schema,)]
    if way != "texts":
        assert opened(mysql_server) - before < SESSIONS / 2
    with login(proxy) as fresh, login(proxy, "app") as other:
        assert fresh.rows(WHERE) == [(None,)]
        assert other.rows(WHERE) == [("app",)]
    for client in clients:
        client.quit()


def test_no_pin_is_counted(proxy: ProxyProcess) -> None:
    name = "tidegate_database_connections_currently_session_pinned"
    with login(proxy) as one, login(proxy) as two:
        for client in (one, two):
            client.query("USE app")
        assert proxy.metric(name) == 0


def test_a_schema_that_is_gone_fails_the_choice_only(
    mysql_server: MysqlServer, proxy: ProxyProcess
) -> None:
    mysql_server.admin(
        "CREATE DATABASE IF NOT EXISTS scratch", "GRANT ALL ON scratch.* TO 'app'@'%'"
    )
    with login(proxy) as first:
        first.query("USE scratch")
        assert first.rows(WHERE) == [("scratch",)]
        first.quit()
    mysql_server.admin("DROP DATABASE scratch")
    for kept in (True, False):
        if not kept:
            for number in mysql_server.backends():
                mysql_server.admin(f"KILL {number}")
        with (
            login(proxy) as client,
            connect(mysql_server.host, mysql_server.port, "app", "app-secret") as direct,
        ):
            refusals = [each.query("USE scratch")[-1].payload for each in (client, direct)]
            assert refusals[0] == refusals[1]
            assert client.rows(WHERE) == [(None,)]
            client.query("USE app")
            assert client.rows(WHERE) == [("app",)]
            client.quit()
    mysql_server.admin("REVOKE ALL ON scratch.* FROM 'app'@'%'")


def test_a_client_that_vanishes_while_it_chooses(proxy: ProxyProcess) -> None:
    for pause_s in (0.0, 0.002, 0.05):
        client = login(proxy)
        client.send(bytes([wire.QUERY]) + b"DO 1; USE app; SELECT SLEEP(0.1)")
        time.sleep(pause_s)
        client.reset()
        for _ in range(3):
            with login(proxy) as fresh:
                assert fresh.rows(WHERE) == [(None,)]


def test_a_session_that_has_moved_can_be_killed(proxy: ProxyProcess) -> None:
    with login(proxy) as victim, login(proxy) as killer:
        victim.query("USE app")
        victim.send(bytes([wire.QUERY]) + b"SELECT SLEEP(10)")
        time.sleep(0.3)
        assert victim.greeting is not None
        killer.query(f"KILL QUERY {victim.greeting.connection_id}")
        victim.reply(wire.QUERY)
        assert victim.rows(WHERE) == [("app",)]


def test_a_change_of_user_chooses_anew(proxy: ProxyProcess) -> None:
    with login(proxy) as client:
        client.query("USE app")
        client.change_user("app", "app-secret")
        assert client.rows(WHERE) == [(None,)]
        with pytest.raises(Refused):
            client.rows("SELECT * FROM items_without_a_schema")
        client.change_user("app", "app-secret", "app")
        assert client.rows(WHERE) == [("app",)]
