"""Logging in to the MySQL engine: drivers, programs, TLS on both sides, KILL, bad input."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import time
from typing import TYPE_CHECKING, Any

import aiomysql
import mysql.connector
import pymysql
import pytest

from tests.support import mysql_messages as wire
from tests.support.local_mysql import MYSQL
from tests.support.mysql_proxy import mysql_proxy_settings
from tests.support.mysql_wire import Closed, MysqlClient, Refused
from tests.support.proxy import ProxyProcess, running_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.certificates import Certificates
    from tests.support.mysql_servers import MysqlServer

DENIED = "Access denied for user '{}'@'localhost' (using password: {})"
SLOW = "SELECT SLEEP(20)"


@pytest.fixture(scope="module")
def proxy(
    mysql_server: MysqlServer,
    proxy_certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ProxyProcess]:
    """A proxy with a pool of four that offers TLS and uses it towards the server."""
    made = mysql_proxy_settings(mysql_server, {"max_connections": 4})
    made.certificates = proxy_certificates
    made.target = {"tls": "prefer"}
    made.auth[1]["client_auth"] = "password"
    made.auth.append({"user": "ghost", "credential": "static:nobody-knows"})
    with running_proxy(made, tmp_path_factory.mktemp("mysql-logins")) as running:
        yield running


def arguments(proxy: ProxyProcess, **changed: Any) -> dict[str, Any]:
    """Give what PyMySQL and MySQL's own driver connect with."""
    given = {"host": proxy.host, "port": proxy.port, "user": "app", "password": "app-secret"}
    return {**given, "database": "app", **changed}


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_pymysql(proxy: ProxyProcess, proxy_certificates: Certificates, tls: bool) -> None:
    options = {"ssl_ca": str(proxy_certificates.authority)} if tls else {"ssl_disabled": True}
    with (
        pymysql.connect(**arguments(proxy), **options) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT CONNECTION_ID(), DATABASE()")
        assert cursor.fetchone() == (connection.thread_id(), "app")


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_mysql_connector(proxy: ProxyProcess, tls: bool) -> None:
    connection: Any = mysql.connector.connect(
        **arguments(proxy), ssl_disabled=not tls, use_pure=True
    )
    cursor = connection.cursor()
    cursor.execute("SELECT CONNECTION_ID()")
    assert cursor.fetchone() == (connection.connection_id,)
    connection.cmd_change_user("app", "app-secret", "information_schema")
    cursor.execute("SELECT DATABASE()")
    assert cursor.fetchone() == ("information_schema",)
    connection.close()


async def test_aiomysql(proxy: ProxyProcess) -> None:
    given = arguments(proxy)
    connection = await aiomysql.connect(db=given.pop("database"), **given)
    async with connection.cursor() as cursor:
        await cursor.execute("SELECT CURRENT_USER()")
        assert await cursor.fetchone() == ("app@%",)
    connection.close()


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("program", ["mysql", "mariadb"])
def test_programs(proxy: ProxyProcess, mysql_server: MysqlServer, program: str, tls: bool) -> None:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"NOT TESTED: no {program} program")
    version = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
    mine = "MariaDB" in version
    option = ("--ssl" if tls else "--skip-ssl") if mine else ""
    option = option or ("--ssl-mode=REQUIRED" if tls else "--ssl-mode=DISABLED")
    command = [path, "--no-defaults", option, f"--host={proxy.host}", f"--port={proxy.port}"]
    command += ["--user=app", "--password=app-secret", "--protocol=tcp", "-N", "-B", "app"]
    sql = "SELECT CURRENT_USER(), DATABASE()"
    run = subprocess.run(command, input=sql, capture_output=True, text=True, timeout=30)
    if "cannot be loaded" in run.stderr or "Plugin caching_sha2" in run.stderr:
        pytest.skip(f"NOT TESTED: this {program} lacks a plugin: {run.stderr}")
    assert run.stdout.split() == ["app@%", "app"], run.stderr


def test_the_server_is_told_apart_by_its_own_version(
    proxy: ProxyProcess, mysql_server: MysqlServer
) -> None:
    with MysqlClient(proxy.host, proxy.port) as ours, _direct(mysql_server) as theirs:
        greetings = [wire.read_greeting(client.read().payload) for client in (ours, theirs)]
    assert greetings[0].version == greetings[1].version
    assert greetings[0].plugin == greetings[1].plugin
    assert greetings[0].connection_id >= 1 << 30


def _direct(server: MysqlServer) -> MysqlClient:
    return MysqlClient(server.host, server.port)


def test_towards_the_server_tls_is_used(proxy: ProxyProcess) -> None:
    with MysqlClient(proxy.host, proxy.port) as client:
        client.login("app", "app-secret")
        [(_, cipher)] = client.rows("SHOW STATUS LIKE 'Ssl_cipher'")
        assert cipher


@pytest.mark.parametrize(
    ("user", "password", "used"),
    [
        ("app", "wrong", "YES"),
        ("app", "", "NO"),
        ("nobody", "app-secret", "YES"),
        ("nobody", "", "NO"),
        ("ghost", "wrong", "YES"),
    ],
)
def test_wrong_passwords(proxy: ProxyProcess, user: str, password: str, used: str) -> None:
    with MysqlClient(proxy.host, proxy.port) as client:
        with pytest.raises(Refused) as caught:
            client.login(user, password)
        assert caught.value.errno == 1045
        assert str(caught.value.args[1]) == "#28000" + DENIED.format(user, used)
        with pytest.raises(Closed):
            client.read()


def test_what_the_server_refuses_is_told_in_its_words(
    proxy: ProxyProcess, mysql_server: MysqlServer
) -> None:
    told = []
    for port in (proxy.port, mysql_server.port):
        with MysqlClient(proxy.host, port) as client, pytest.raises(Refused) as caught:
            client.login("app", "app-secret", "nowhere")
        told.append(caught.value.args)
    assert told[0] == told[1]
    # The proxy knows this user, the server does not.
    with MysqlClient(proxy.host, proxy.port) as client, pytest.raises(Refused) as caught:
        client.login("ghost", "nobody-knows")
    assert caught.value.errno == 1045


def test_a_password_in_clear_needs_tls(
    proxy: ProxyProcess, proxy_certificates: Certificates
) -> None:
    given = arguments(proxy, user="other", password="other-secret", database="other")
    context = ssl.create_default_context(cafile=str(proxy_certificates.authority))
    context.check_hostname = False
    connection: Any = mysql.connector.connect(
        **given, ssl_ca=str(proxy_certificates.authority), use_pure=True
    )
    connection.close()


@pytest.fixture(scope="module")
def by_method(
    mysql_server: MysqlServer,
    proxy_certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, ProxyProcess]]:
    """Proxies whose clients log in by one method each."""
    with contextlib.ExitStack() as stack:
        made = {}
        for method in ("caching_sha2_password", "client_ed25519", "parsec", "sha256_password"):
            chosen = mysql_proxy_settings(mysql_server, {"max_connections": 2})
            chosen.certificates = proxy_certificates
            chosen.auth[0]["client_auth"] = method
            place = tmp_path_factory.mktemp(method)
            made[method] = stack.enter_context(running_proxy(chosen, place))
        yield made


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("method", ["caching_sha2_password", "client_ed25519", "sha256_password"])
def test_methods_with_pymysql(
    by_method: dict[str, ProxyProcess], proxy_certificates: Certificates, method: str, tls: bool
) -> None:
    proxy = by_method[method]
    options = {"ssl_ca": str(proxy_certificates.authority)} if tls else {"ssl_disabled": True}
    with (
        pymysql.connect(**arguments(proxy), **options) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT CURRENT_USER()")
        assert cursor.fetchone() == ("app@%",)
    for user in ("app", "nobody"):
        with pytest.raises(pymysql.OperationalError) as caught:
            pymysql.connect(**arguments(proxy, user=user, password="wrong"), **options)
        assert caught.value.args == (1045, DENIED.format(user, "YES"))


def test_parsec(by_method: dict[str, ProxyProcess]) -> None:
    proxy = by_method["parsec"]
    with MysqlClient(proxy.host, proxy.port) as client:
        client.login("app", "app-secret")
        assert client.rows("SELECT CURRENT_USER()") == [("app@%",)]
        client.change_user("app", "app-secret")
        assert client.rows("SELECT 1") == [("1",)]
    for password in ("wrong", ""):
        with MysqlClient(proxy.host, proxy.port) as client, pytest.raises(Refused) as caught:
            client.login("app", password)
        # MariaDB itself does not note that a password was used.
        assert caught.value.args == (1045, "#28000" + DENIED.format("app", "NO"))


@pytest.mark.parametrize("method", ["client_ed25519", "parsec", "sha256_password"])
def test_methods_with_the_mariadb_program(by_method: dict[str, ProxyProcess], method: str) -> None:
    path = shutil.which("mariadb")
    if path is None:
        pytest.skip("NOT TESTED: no mariadb program")
    proxy = by_method[method]
    command = [path, "--no-defaults", "--ssl", "--skip-ssl-verify-server-cert"]
    command += [f"--host={proxy.host}", f"--port={proxy.port}"]
    command += ["--user=app", "--password=app-secret", "--protocol=tcp", "-N", "-B"]
    command += ["-e", "SELECT CURRENT_USER()"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if "cannot be loaded" in run.stderr:
        pytest.skip(f"NOT TESTED: this mariadb lacks a plugin: {run.stderr}")
    assert run.stdout.split() == ["app@%"], run.stderr


async def test_aiomysql_is_let_in_though_it_scrambles_with_a_wrong_nonce(
    by_method: dict[str, ProxyProcess],
) -> None:
    given = arguments(by_method["caching_sha2_password"])
    # With TLS, aiomysql leaves sockets open.
    connection = await aiomysql.connect(
        db=given.pop("database"), auth_plugin="mysql_native_password", **given
    )
    await connection.ping()
    connection.close()


def test_a_change_of_user_is_a_new_session(proxy: ProxyProcess) -> None:
    with MysqlClient(proxy.host, proxy.port) as client:
        client.login("app", "app-secret", "app")
        query = "SELECT CONNECTION_ID(), CURRENT_USER(), DATABASE(), @a, @@sql_mode = ''"
        assert client.greeting is not None
        number = str(client.greeting.connection_id)
        for statement in ("SET @a = 1, sql_mode = ''", "BEGIN"):
            assert not client.query(statement)[-1].error
        assert not client.query("CREATE TEMPORARY TABLE t (a INT)")[-1].error
        assert client.rows(query) == [(number, "app@%", "app", "1", "1")]
        client.change_user("app", "app-secret", "information_schema")
        assert client.rows(query) == [(number, "app@%", "information_schema", None, "0")]
        client.change_user("app", "app-secret")
        assert client.rows(query) == [(number, "app@%", None, None, "0")]
        with pytest.raises(Refused) as caught:
            client.change_user("app", "wrong")
        assert caught.value.errno == 1045
        with pytest.raises(Closed):
            client.read()


def test_a_change_of_user_may_name_a_collation_that_a_login_cannot(
    proxy: ProxyProcess, mysql_server: MysqlServer
) -> None:
    if mysql_server.kind != MYSQL:
        pytest.skip("NOT TESTED: MariaDB has no such collation")
    told = []
    for port in (proxy.port, mysql_server.port):
        with MysqlClient(proxy.host, port) as client:
            client.login("app", "app-secret", "app")
            client.change_user("app", "app-secret", "app", collation=309)
            told.append(client.rows("SHOW VARIABLES LIKE 'collation_connection'"))
    assert told[0] == told[1] == [("collation_connection", "utf8mb4_0900_bin")]


def test_clients_that_say_nothing_do_not_keep_others_out(proxy: ProxyProcess) -> None:
    silent = [socket.create_connection((proxy.host, proxy.port)) for _ in range(50)]
    try:
        began = time.monotonic()
        with MysqlClient(proxy.host, proxy.port) as client:
            client.login("app", "app-secret")
        assert time.monotonic() - began < 5
    finally:
        for connection in silent:
            connection.close()


async def test_a_burst_of_logins(proxy: ProxyProcess) -> None:
    given = arguments(proxy)
    database = given.pop("database")

    async def client() -> None:
        connection = await aiomysql.connect(db=database, **given)
        async with connection.cursor() as cursor:
            await cursor.execute("SELECT 1")
        connection.close()

    await asyncio.gather(*(client() for _ in range(100)))


def test_the_greetings_plugin_is_the_servers(
    mysql_server: MysqlServer, proxy: ProxyProcess
) -> None:
    with MysqlClient(proxy.host, proxy.port) as client:
        greeting = wire.read_greeting(client.read().payload)
    expected = "caching_sha2_password" if mysql_server.kind == MYSQL else "mysql_native_password"
    assert greeting.plugin == expected


@pytest.mark.parametrize("database", ["", "app"])
@pytest.mark.parametrize("extra", [0, wire.SESSION_TRACK, wire.SESSION_TRACK | wire.DEPRECATE_EOF])
def test_a_login_ends_in_the_servers_own_words(
    proxy: ProxyProcess, mysql_server: MysqlServer, database: str, extra: int
) -> None:
    told = []
    for port in (proxy.port, mysql_server.port, proxy.port):
        with MysqlClient(proxy.host, port) as client:
            final = client.login("app", "app-secret", database, capabilities=wire.BASE | extra)
            told.append(final.payload)
    assert told[0] == told[1] == told[2]


@pytest.mark.parametrize("collation", [8, 33, 45, 63])
def test_the_collation_of_a_login_is_the_sessions(
    proxy: ProxyProcess, mysql_server: MysqlServer, collation: int
) -> None:
    told = []
    queries = ("SHOW VARIABLES LIKE 'character_set%'", "SHOW VARIABLES LIKE 'collation%'")
    for port in (proxy.port, mysql_server.port):
        with MysqlClient(proxy.host, port) as client:
            client.login("app", "app-secret", "app", collation=collation)
            told.append([client.rows(query) for query in queries])
    assert told[0] == told[1]


def test_what_parts_sessions_parts_their_server_connections(proxy: ProxyProcess) -> None:
    """CLIENT_FOUND_ROWS changes what UPDATE counts: it holds for its own session only."""
    with contextlib.ExitStack() as stack:
        counts = []
        for extra in (0, wire.FOUND_ROWS, 0, wire.FOUND_ROWS):
            client = stack.enter_context(MysqlClient(proxy.host, proxy.port))
            client.login("app", "app-secret", "app", capabilities=wire.BASE | extra)
            client.query("CREATE TABLE IF NOT EXISTS counted (a INT)")
            client.query("BEGIN")
            client.query("INSERT INTO counted VALUES (1)")
            [reply] = client.query("UPDATE counted SET a = 1")
            counts.append(reply.payload[1])
            client.query("ROLLBACK")
        assert counts == [0, 1, 0, 1]
        client.query("DROP TABLE counted")
