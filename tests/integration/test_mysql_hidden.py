"""What a stored program, trigger or view does to a session stays that session's, through a pool."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from tests.support import mysql_messages as wire
from tests.support.local_mysql import MARIADB
from tests.support.mysql_proxy import mysql_proxy_settings
from tests.support.mysql_wire import MysqlClient, connect
from tests.support.proxy import ProxyProcess, running_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.mysql_servers import MysqlServer

DEFINITIONS = (
    "CREATE FUNCTION hid_lock() RETURNS INT NO SQL RETURN GET_LOCK('hid', 0)",
    "CREATE FUNCTION hid_lock_any(name TEXT) RETURNS INT NO SQL RETURN GET_LOCK(name, 0)",
    "CREATE PROCEDURE hid_calls() SELECT hid_lock()",
    "CREATE TABLE hid_watched (a INT)",
    "CREATE TRIGGER hid_watches BEFORE INSERT ON hid_watched FOR EACH ROW SET NEW.a = hid_lock()",
    "CREATE VIEW hid_view AS SELECT hid_lock() AS a",
    "CREATE VIEW hid_view_of_table AS SELECT a FROM hid_watched",
    "CREATE FUNCTION hid_unlock() RETURNS INT NO SQL RETURN RELEASE_LOCK('hid')",
    "CREATE PROCEDURE hid_briefly() BEGIN DO GET_LOCK('hid', 0); DO RELEASE_LOCK('hid'); END",
    "CREATE PROCEDURE hid_counts() SELECT COUNT(*) INTO @hid FROM hid_watched",
    "CREATE FUNCTION hid_last() RETURNS INT NO SQL RETURN LAST_INSERT_ID()",
    "CREATE TABLE hid_numbered (id INT AUTO_INCREMENT PRIMARY KEY)",
)
UNREADABLE = ("CREATE PROCEDURE app.hid_secret() DO GET_LOCK(CONCAT('h', 'id'), 0)",)
IMMEDIATE = (
    "CREATE PROCEDURE hid_immediate() EXECUTE IMMEDIATE CONCAT('DO GET_', 'LOCK(''hid'', 0)')"
)
FUNCTIONS = ("hid_lock", "hid_lock_any", "hid_unlock", "hid_last")
PROCEDURES = (
    *("hid_calls", "hid_briefly", "hid_counts", "hid_secret"),
    *("hid_immediate", "hid_late", "hid_late_too"),
)
DROPS = (
    "DROP TABLE IF EXISTS app.hid_watched, app.hid_numbered",
    "DROP VIEW IF EXISTS app.hid_view, app.hid_view_of_table",
    *(f"DROP FUNCTION IF EXISTS app.{name}" for name in FUNCTIONS),
    *(f"DROP PROCEDURE IF EXISTS app.{name}" for name in PROCEDURES),
)
LOCKS = (
    "SELECT hid_lock()",
    "SELECT app.`HID_LOCK` ()",
    "SELECT hid_lock_any('hid')",
    "CALL hid_calls()",
    "INSERT INTO hid_watched VALUES (1)",
    "SELECT * FROM hid_view",
    "INSERT INTO hid_view_of_table VALUES (1)",
    "CALL hid_secret()",
)
FREE = "SELECT IS_FREE_LOCK('hid')"


@pytest.fixture(scope="module")
def proxy(
    mysql_server: MysqlServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxyProcess]:
    """A proxy with a pool of one whose first connection finds the definitions there already."""
    mysql_server.admin(*DROPS, *UNREADABLE)
    with direct(mysql_server) as client:
        for statement in DEFINITIONS:
            run(client, statement)
    made = mysql_proxy_settings(mysql_server, {"max_connections": 1})
    try:
        with running_proxy(made, tmp_path_factory.mktemp("mysql-hidden")) as started:
            yield started
    finally:
        mysql_server.admin(*DROPS)


def direct(server: MysqlServer) -> MysqlClient:
    return connect(server.host, server.port, "app", "app-secret", "app")


def login(proxy: ProxyProcess, timeout_s: float = 15.0) -> MysqlClient:
    client = MysqlClient(proxy.host, proxy.port, timeout_s)
    client.login("app", "app-secret", "app")
    return client


def run(client: MysqlClient, sql: str) -> None:
    reply = client.query(sql)
    assert not reply[-1].error, (sql, reply[-1])


def is_shared(proxy: ProxyProcess) -> bool:
    """Whether another session gets the pool's one connection."""
    with login(proxy, 0.3) as other:
        try:
            return other.rows("SELECT 'shared'") == [("shared",)]
        except TimeoutError:
            return False


def is_free(server: MysqlServer) -> bool:
    with direct(server) as client:
        return client.rows(FREE) == [("1",)]


@pytest.mark.parametrize("way", LOCKS)
def test_the_way_is_real(mysql_server: MysqlServer, proxy: ProxyProcess, way: str) -> None:
    """On the server itself: otherwise the tests below would prove nothing."""
    with direct(mysql_server) as client:
        run(client, way)
        assert not is_free(mysql_server)
        client.quit()


@pytest.mark.parametrize("prepared", [False, True], ids=["text", "prepared"])
@pytest.mark.parametrize("way", LOCKS)
def test_a_lock_stays_with_its_session(
    mysql_server: MysqlServer, proxy: ProxyProcess, way: str, prepared: bool
) -> None:
    with login(proxy) as holder:
        if prepared:
            number = holder.exchange(bytes([wire.PREPARE]) + way.encode())[0].payload[1:5]
            assert is_shared(proxy)
            execute = bytes([wire.EXECUTE]) + number + struct.pack("<BI", 0, 1)
            assert not holder.exchange(execute)[-1].error
        else:
            run(holder, way)
        assert not is_shared(proxy)
        assert not is_free(mysql_server)
        holder.quit()
    # The next one waits until the connection has been reset.
    with login(proxy) as other:
        assert other.rows(FREE) == [("1",)]


@pytest.mark.parametrize("way", ["SELECT hid_unlock()", "SELECT RELEASE_LOCK('hid')"])
def test_a_lock_that_is_released_unpins(proxy: ProxyProcess, way: str) -> None:
    with login(proxy) as holder:
        run(holder, "SELECT hid_lock()")
        run(holder, "SELECT 1")
        assert not is_shared(proxy)
        run(holder, way)
        assert is_shared(proxy)


def test_a_lock_that_a_program_gives_back_does_not_pin(proxy: ProxyProcess) -> None:
    with login(proxy) as client:
        run(client, "CALL hid_briefly()")
        assert is_shared(proxy)


def test_a_variable_that_a_program_sets_goes_with_its_session(proxy: ProxyProcess) -> None:
    with login(proxy) as client, login(proxy) as other:
        run(client, "CALL hid_counts()")
        assert is_shared(proxy)
        assert other.rows("SELECT @hid") == [(None,)]
        assert client.rows("SELECT @hid IS NOT NULL") == [("1",)]
        assert other.rows("SELECT @hid") == [(None,)]


def test_an_insert_id_that_a_program_asks_for(proxy: ProxyProcess) -> None:
    with login(proxy) as client, login(proxy) as other:
        run(client, "INSERT INTO hid_numbered VALUES (NULL), (NULL)")
        run(other, "INSERT INTO hid_numbered VALUES (NULL)")
        assert client.rows("SELECT hid_last() = LAST_INSERT_ID()") == [("1",)]
        mine = client.rows("SELECT hid_last()")
        assert mine != other.rows("SELECT hid_last()")
        assert client.rows("SELECT hid_last()") == mine


def test_sql_that_is_put_together_at_run_time(
    mysql_server: MysqlServer, proxy: ProxyProcess
) -> None:
    if mysql_server.kind != MARIADB:
        pytest.skip("NOT TESTED: MySQL has no EXECUTE IMMEDIATE")
    with login(proxy) as client:
        run(client, IMMEDIATE)
        run(client, "CALL hid_immediate()")
        assert not is_shared(proxy)
        client.quit()
    with login(proxy) as client:
        run(client, "SET @text = 'DO GET_LOCK(''hid'', 0)'")
        run(client, "EXECUTE IMMEDIATE @text")
        assert not is_shared(proxy)
        client.quit()


@pytest.mark.parametrize("lock", ["", "SELECT GET_LOCK('migration', 0)"], ids=["free", "pinned"])
@pytest.mark.parametrize("autocommit", [1, 0])
def test_what_is_made_later_is_known_at_once(
    proxy: ProxyProcess, lock: str, autocommit: int
) -> None:
    with login(proxy) as maker:
        run(maker, f"SET autocommit = {autocommit}")
        if lock:
            run(maker, lock)
        run(maker, "DROP PROCEDURE IF EXISTS hid_late")
        run(maker, "DROP PROCEDURE IF EXISTS hid_late_too")
        run(maker, "CREATE PROCEDURE hid_late() SELECT hid_lock() INTO @ignored")
        run(maker, "CREATE PROCEDURE hid_late_too() CALL hid_late()")
        if lock:
            run(maker, "SELECT RELEASE_LOCK('migration')")
        assert not maker.status & wire.IN_TRANSACTION
        assert is_shared(proxy)
        with login(proxy) as other:
            run(other, "CALL hid_late_too()")
            assert not is_shared(proxy)
            other.quit()


def test_a_statement_prepared_before_a_function_was_changed(proxy: ProxyProcess) -> None:
    with login(proxy) as client, login(proxy) as maker:
        run(maker, "DROP PROCEDURE IF EXISTS hid_late")
        run(maker, "CREATE PROCEDURE hid_late() SELECT 1 INTO @ignored")
        number = client.exchange(bytes([wire.PREPARE]) + b"CALL hid_late()")[0].payload[1:5]
        run(maker, "DROP PROCEDURE hid_late")
        run(maker, "CREATE PROCEDURE hid_late() DO GET_LOCK('hid', 0)")
        execute = bytes([wire.EXECUTE]) + number + struct.pack("<BI", 0, 1)
        assert not client.exchange(execute)[-1].error
        assert not is_shared(proxy)


def test_warnings_of_a_definition_are_kept(proxy: ProxyProcess) -> None:
    with login(proxy) as client:
        run(client, "DROP VIEW IF EXISTS hid_nosuch")
        assert len(client.rows("SHOW WARNINGS")) == 1
