"""MySQL drivers with their default settings, direct and through a pool of two."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import shutil
import subprocess
import uuid
from typing import TYPE_CHECKING, Any, Protocol

import aiomysql
import asyncmy
import mysql.connector
import pymysql
import pymysql.cursors
import pytest

from tests.differential.mysql.player import Place
from tests.support.mysql_proxy import HAS_ENGINE, NO_ENGINE, mysql_proxy_settings
from tests.support.proxy import running_proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from tests.support.mysql_servers import MysqlServer

CLIENTS = 8
VALUES = (
    7,
    -(2**40),
    1.5,
    decimal.Decimal("12345.6789"),
    "naïve 中文 🎈",
    b"\x00\xff'",
    datetime.datetime.fromisoformat("2024-02-29T01:02:03.000456"),
    datetime.date(2024, 2, 29),
    None,
)
COLUMNS = "a INT, b BIGINT, c DOUBLE, d DECIMAL(20,4), e TEXT, f BLOB, g DATETIME(6), h DATE, i INT"
PLACEHOLDERS = ", ".join(["%s"] * len(VALUES))


class Connection(Protocol):
    """A connection of the DB-API."""

    cursor: Callable[[], Any]

    def commit(self) -> None:
        """Commit."""
        ...

    def rollback(self) -> None:
        """Roll back."""
        ...


@pytest.fixture(scope="module")
def mysql_pooled(
    mysql_server: MysqlServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """A proxy with a pool of two."""
    settings = mysql_proxy_settings(mysql_server, {"max_connections": 2})
    with running_proxy(settings, tmp_path_factory.mktemp("mysql-pooled")) as proxy:
        yield Place(proxy.host, proxy.port, mysql_server)


@pytest.fixture(
    params=[
        "direct",
        pytest.param("proxied", marks=pytest.mark.skipif(not HAS_ENGINE, reason=NO_ENGINE)),
    ]
)
def mysql_place(request: pytest.FixtureRequest, mysql_server: MysqlServer) -> Place:
    """The server itself, then a proxy in front of it: a test must hold for both."""
    if request.param == "direct":
        return Place(mysql_server.host, mysql_server.port, mysql_server)
    place: Place = request.getfixturevalue("mysql_pooled")
    return place


def arguments(place: Place, database: str = "database") -> dict[str, Any]:
    """Give what drivers connect with; some say ``db``."""
    given = {**place.server.arguments(), "host": place.host, "port": place.port}
    given[database] = given.pop("database")
    return given


@pytest.fixture
def table(mysql_place: Place) -> Iterator[str]:
    """A table that is new for each test."""
    name = f"drivers_{uuid.uuid4().hex[:12]}"
    server = mysql_place.server
    server.admin("USE app", f"CREATE TABLE {name} (id INT AUTO_INCREMENT PRIMARY KEY, {COLUMNS})")
    yield name
    server.admin("USE app", f"DROP TABLE {name}")


def _insert(table: str) -> str:
    return f"INSERT INTO {table} (a, b, c, d, e, f, g, h, i) VALUES ({PLACEHOLDERS})"


def _select(table: str) -> str:
    return f"SELECT a, b, c, d, e, f, g, h, i FROM {table}"


def _work(connection: Connection, table: str) -> None:
    """What every driver of the DB-API must be able to do."""
    cursor = connection.cursor()
    cursor.execute(_insert(table), VALUES)
    assert (cursor.rowcount, cursor.lastrowid) == (1, 1)
    cursor.execute(_select(table))
    assert [tuple(row) for row in cursor.fetchall()] == [VALUES]
    connection.rollback()
    cursor.execute(f"SELECT COUNT(*) FROM {table}")
    assert tuple(cursor.fetchone()) == (0,)
    cursor.executemany(f"INSERT INTO {table} (e) VALUES (%s)", [("x",), ("y",), ("z",)])
    assert cursor.rowcount == 3
    connection.commit()
    cursor.execute("SET SESSION time_zone = '+09:00'")
    connection.commit()
    cursor.execute("SELECT @@time_zone")
    assert tuple(cursor.fetchone()) == ("+09:00",)
    with pytest.raises(Exception, match="1146"):
        cursor.execute("SELECT * FROM nosuch")
    cursor.close()


def test_pymysql(mysql_place: Place, table: str) -> None:
    with pymysql.connect(**arguments(mysql_place)) as connection:
        _work(connection, table)
        with connection.cursor(pymysql.cursors.SSDictCursor) as cursor:
            cursor.execute(f"SELECT e FROM {table} ORDER BY id")
            assert [row["e"] for row in cursor] == ["x", "y", "z"]
        connection.ping(reconnect=False)


@pytest.mark.parametrize("pure", [True, False], ids=["pure", "C"])
def test_mysql_connector(mysql_place: Place, table: str, pure: bool) -> None:
    if not pure and not mysql.connector.HAVE_CEXT:
        pytest.skip("NOT TESTED: mysql-connector-python without its C extension")
    connection: Any = mysql.connector.connect(**arguments(mysql_place), use_pure=pure)
    try:
        _work(connection, table)
        cursor = connection.cursor(prepared=True)
        for number in range(5):
            cursor.execute("SELECT ?, ?", (number, "text"))
            assert cursor.fetchall() == [(number, "text")]
        cursor.close()
        connection.cmd_reset_connection()
        assert connection.is_connected()
    finally:
        connection.close()


@pytest.mark.parametrize("driver", [aiomysql, asyncmy], ids=lambda driver: driver.__name__)
async def test_asynchronous_drivers(mysql_place: Place, table: str, driver: ModuleType) -> None:
    # aiomysql 0.3 cannot escape bytes with PyMySQL 1.2, whatever it is connected to.
    sent = tuple(None if driver is aiomysql and type(v) is bytes else v for v in VALUES)

    async def client(number: int) -> None:
        connection = await driver.connect(**arguments(mysql_place, "db"))
        try:
            async with connection.cursor() as cursor:
                await cursor.execute(_insert(table), sent)
                await cursor.execute("SELECT @@autocommit, %s", (number,))
                assert await cursor.fetchone() == (0, number)
                await cursor.execute(_select(table))
                assert sent in await cursor.fetchall()
            await connection.commit()
        finally:
            connection.close()

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    rows = mysql_place.server.admin("USE app", f"SELECT COUNT(*) FROM {table}")
    assert rows == [(str(CLIENTS),)]


@pytest.mark.parametrize("program", ["mysql", "mariadb"])
def test_command_line_client(mysql_place: Place, program: str) -> None:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"NOT TESTED: no {program} program")
    given = arguments(mysql_place)
    command = [path, "--no-defaults", f"--host={given['host']}", f"--port={given['port']}"]
    command += [f"--user={given['user']}", f"--password={given['password']}", "--protocol=tcp"]
    command += ["--batch", "--skip-column-names", "app"]
    sql = "SELECT DATABASE(); SET @a = 5; SELECT @a; USE information_schema; SELECT DATABASE();"
    run = subprocess.run(command, input=sql, capture_output=True, text=True, timeout=30)
    if "caching_sha2_password" in run.stderr and mysql_place.server.kind == "mysql":
        pytest.skip(f"NOT TESTED: this {program} cannot log in to MySQL 9")
    assert run.stdout.split() == ["app", "5", "information_schema"], run.stderr
