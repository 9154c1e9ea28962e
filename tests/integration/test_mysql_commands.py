"""Commands that few programs send, through the proxy and directly."""

from __future__ import annotations

import importlib
import struct
from typing import TYPE_CHECKING, Any

import mysql.connector
import pytest

from tests.support import mysql_messages as wire
from tests.support.local_mysql import MARIADB, MYSQL
from tests.support.mysql_proxy import mysql_proxy_settings
from tests.support.mysql_wire import Closed, MysqlClient, Refused, connect
from tests.support.proxy import ProxyProcess, running_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.mysql_servers import MysqlServer

PROCESS_INFO, DEBUG, BINLOG_DUMP, UNKNOWN, BULK_EXECUTE = 0x0A, 0x0D, 0x12, 0xF0, 0xFA
PROGRESS, BULK_OPERATIONS = 1 << 0, 1 << 2
"""MARIADB_CLIENT_PROGRESS and MARIADB_CLIENT_STMT_BULK_OPERATIONS, among MariaDB's own
capabilities."""
SLOW_ALTER = (
    b"ALTER TABLE slow ADD COLUMN b CHAR(64) AS (SHA2(REPEAT('x', 8000000 + a), 256)) PERSISTENT,"
    b" ALGORITHM=COPY"
)
"""Takes seconds, and reports progress after the first."""


@pytest.fixture(scope="module")
def proxy(
    mysql_server: MysqlServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxyProcess]:
    """A proxy with a pool of one."""
    made = mysql_proxy_settings(mysql_server, {"max_connections": 1})
    with running_proxy(made, tmp_path_factory.mktemp("mysql-commands")) as running:
        yield running


def answers(host: str, port: int, code: int) -> list[bytes]:
    """Send a command, and a query behind it; give the kind and error of what comes."""
    with MysqlClient(host, port) as client:
        client.login("app", "app-secret", "app")
        client.send(bytes([code]))
        first = client.read()
        assert client.rows("SELECT 1") == [("1",)]
    return [first.payload[:9] if first.error else first.payload[:1]]


@pytest.mark.parametrize("code", [DEBUG, UNKNOWN])
def test_a_command_is_answered_as_directly(
    proxy: ProxyProcess, mysql_server: MysqlServer, code: int
) -> None:
    direct = answers(mysql_server.host, mysql_server.port, code)
    assert answers(proxy.host, proxy.port, code) == direct


def test_process_info(proxy: ProxyProcess, mysql_server: MysqlServer) -> None:
    told = []
    for place in (mysql_server, proxy):
        with connect(place.host, place.port, "app", "app-secret", "app") as client:
            reply = client.exchange(bytes([PROCESS_INFO]))
            columns = [p.payload for p in reply if p.payload.startswith(b"\3def")]
            told.append((columns, [p.payload for p in reply if p.error]))
            assert client.rows("SELECT 1") == [("1",)]
    assert told[0] == told[1]
    assert any(told[0])


def bulk(statement: bytes, first: bytes, *rows: tuple[int, bytes | None]) -> bytes:
    """Encode COM_STMT_BULK_EXECUTE; ``first`` are the flags, perhaps the types."""
    body = bytes([BULK_EXECUTE]) + statement + first
    for number, name in rows:
        body += b"\0" + struct.pack("<q", number)
        body += b"\1" if name is None else b"\0" + wire.lenenc(name)
    return body


def test_bulk_execution_on_the_wire(proxy: ProxyProcess, mysql_server: MysqlServer) -> None:
    """The types come with the first execution only, and another session uses the connection."""
    if mysql_server.kind != MARIADB:
        pytest.skip("NOT TESTED: MySQL has no bulk execution")
    typed = b"\x80\0\x08\0\xfd\0"
    told = []
    for place in (mysql_server, proxy):
        mysql_server.admin("CREATE OR REPLACE TABLE app.bulk_raw (id BIGINT, name TEXT)")
        with MysqlClient(place.host, place.port) as client:
            capabilities = wire.BASE & ~wire.LONG_PASSWORD
            client.login(
                "app", "app-secret", "app", capabilities=capabilities, extended=BULK_OPERATIONS
            )
            sql = b"INSERT INTO bulk_raw VALUES (?, ?)"
            # A server that uses a thread again does not begin with 1.
            number = client.exchange(bytes([wire.PREPARE]) + sql)[0].payload[1:5]
            replies = [client.exchange(bulk(number, typed, (1, b"one"), (2, None)))]
            with connect(place.host, place.port, "app", "app-secret", "app") as other:
                other.rows("SELECT 1")
                other.query("RESET QUERY CACHE")
            replies.append(client.exchange(bulk(number, b"\0\0", (3, b"three"), (4, b"x" * 300))))
            replies.append(client.exchange(bulk(number, typed, (5, b"five"))[:-3]))
            stored = client.rows("SELECT id, name FROM bulk_raw ORDER BY id")
        told.append(([[p.payload for p in reply] for reply in replies], stored))
    assert told[0] == told[1]
    assert told[1][1][1:3] == [("2", None), ("3", "three")]
    mysql_server.admin("DROP TABLE app.bulk_raw")


@pytest.mark.parametrize("asked", [True, False])
def test_reports_of_progress_are_for_those_who_ask(
    proxy: ProxyProcess, mysql_server: MysqlServer, asked: bool
) -> None:
    if mysql_server.kind != MARIADB:
        pytest.skip("NOT TESTED: MySQL does not report progress")
    told = []
    for place in (mysql_server, proxy):
        mysql_server.admin(
            "CREATE OR REPLACE TABLE app.slow (a INT)",
            "INSERT INTO app.slow SELECT seq FROM app.seq_1_to_100",
        )
        with MysqlClient(place.host, place.port) as client:
            client.login("app", "app-secret", "app", extended=PROGRESS if asked else 0)
            client.query("SET progress_report_time = 1")
            client.send(bytes([wire.QUERY]) + SLOW_ALTER)
            packets = [client.read()]
            while packets[-1].payload.startswith(b"\xff\xff\xff"):
                packets.append(client.read())
            assert [packet.sequence for packet in packets] == list(range(1, len(packets) + 1))
            assert (len(packets) > 1) == asked
            told.append(packets[-1].payload)
            assert client.rows("SELECT 1") == [("1",)]
    assert told[0] == told[1]
    mysql_server.admin("DROP TABLE app.slow")


def test_changing_to_another_user_with_a_wrong_schema(
    proxy: ProxyProcess, mysql_server: MysqlServer
) -> None:
    told = []
    for place in (mysql_server, proxy):
        errors: list[list[tuple[Any, ...]]] = []
        for schema in ("nowhere", "no" * 40, "mysql"):
            with connect(place.host, place.port, "app", "app-secret", "app") as client:
                try:
                    client.change_user("other", "other-secret", schema)
                    errors.append(client.rows("SELECT CURRENT_USER(), DATABASE()"))
                except Refused as error:
                    errors.append([error.args])
        told.append(errors)
        with connect(place.host, place.port, "app", "app-secret", "app") as client:
            client.change_user("other", "other-secret", "other")
            assert client.rows("SELECT CURRENT_USER(), DATABASE()") == [("other@%", "other")]
    assert told[0] == told[1]
    assert told[1][0][0][0] == 1044


def test_replication_is_refused(proxy: ProxyProcess) -> None:
    [answer] = answers(proxy.host, proxy.port, BINLOG_DUMP)
    assert answer[0] == 0xFF


def after_a_wrong_password(host: str, port: int) -> tuple[int, bool]:
    """Change the user with a wrong password; the error, and whether the session goes on."""
    with MysqlClient(host, port) as client:
        client.login("app", "app-secret", "app")
        with pytest.raises(Refused) as caught:
            client.change_user("app", "wrong")
        errno = caught.value.errno
        try:
            client.rows("SELECT 1")
        except (Closed, OSError):
            return errno, False
        return errno, True


def test_a_wrong_password_on_changing_the_user_ends_the_session(
    proxy: ProxyProcess, mysql_server: MysqlServer
) -> None:
    # MySQL ends it as well; MariaDB lets the user from before go on.
    direct = after_a_wrong_password(mysql_server.host, mysql_server.port)
    assert direct == (1045, mysql_server.kind == MARIADB)
    assert after_a_wrong_password(proxy.host, proxy.port) == (1045, False)


def test_query_attributes_arrive(proxy: ProxyProcess, mysql_server: MysqlServer) -> None:
    if mysql_server.kind != MYSQL:
        pytest.skip("NOT TESTED: MariaDB has no query attributes")
    mysql_server.admin("INSTALL COMPONENT 'file://component_query_attributes'")
    connection: Any = mysql.connector.connect(
        host=proxy.host, port=proxy.port, user="app", password="app-secret", use_pure=True
    )
    try:
        cursor = connection.cursor()
        cursor.add_attribute("trace", "abc-1")
        cursor.execute("SELECT mysql_query_attribute_string('trace'), CONNECTION_ID()")
        (row,) = cursor.fetchall()
        assert tuple(map(_text, row)) == ("abc-1", str(connection.connection_id))
    finally:
        connection.close()
        mysql_server.admin("UNINSTALL COMPONENT 'file://component_query_attributes'")


def _text(value: object) -> str:
    return bytes(value).decode() if isinstance(value, (bytes, bytearray)) else str(value)


def test_bulk_execution(proxy: ProxyProcess, mysql_server: MysqlServer) -> None:
    if mysql_server.kind != MARIADB:
        pytest.skip("NOT TESTED: MySQL has no bulk execution")
    try:
        driver: Any = importlib.import_module("mariadb")
    except ImportError:
        pytest.skip("NOT TESTED: MariaDB Connector/Python is not installed")
    connection = driver.connect(
        host=proxy.host, port=proxy.port, user="app", password="app-secret", database="app"
    )
    cursor = connection.cursor()
    cursor.execute("CREATE OR REPLACE TABLE bulk_items (id INT PRIMARY KEY, name VARCHAR(20))")
    rows = [(number, None if number % 7 == 0 else f"n{number}") for number in range(500)]
    cursor.executemany("INSERT INTO bulk_items VALUES (?, ?)", rows)
    assert cursor.rowcount == len(rows)
    connection.commit()
    cursor.execute("SELECT id, name FROM bulk_items ORDER BY id")
    assert cursor.fetchall() == rows
    cursor.execute("DROP TABLE bulk_items")
    connection.close()
