"""The servers of the tests themselves: that they start, let clients in and speak TLS."""

from __future__ import annotations

import ssl
import struct
from typing import TYPE_CHECKING

import pytest

from tests.support import mysql_messages as wire
from tests.support.mysql_wire import MysqlClient, Refused, connect

if TYPE_CHECKING:
    from tests.support.mysql_servers import MysqlServer


def test_logs_in_with_each_user(mysql_server: MysqlServer) -> None:
    for user in ("app", "other"):
        arguments = (mysql_server.host, mysql_server.port, user, mysql_server.password(user), user)
        with connect(*arguments) as client:
            assert client.rows("SELECT DATABASE()") == [(user,)]
            client.quit()


def test_runs_the_named_server(mysql_server: MysqlServer) -> None:
    version = mysql_server.admin("SELECT VERSION()")[0][0]
    assert version is not None
    assert ("MariaDB" in version) == (mysql_server.kind == "mariadb")


def test_refuses_a_wrong_password(mysql_server: MysqlServer) -> None:
    with (
        MysqlClient(mysql_server.host, mysql_server.port) as client,
        pytest.raises(Refused) as refused,
    ):
        client.login("app", "wrong")
    assert refused.value.errno == 1045


def test_speaks_tls(mysql_server: MysqlServer) -> None:
    if mysql_server.certificates is None:
        pytest.skip("a server that the tests do not control")
    context = ssl.create_default_context(cafile=str(mysql_server.certificates.authority))
    with MysqlClient(mysql_server.host, mysql_server.port) as client:
        client.login("app", mysql_server.password("app"), "app", tls=context)
        cipher = client.rows("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        assert cipher[0][1]
        client.quit()


@pytest.mark.parametrize("capabilities", [0, wire.DEPRECATE_EOF])
def test_cursor_is_fetched_to_its_end(mysql_server: MysqlServer, capabilities: int) -> None:
    with MysqlClient(mysql_server.host, mysql_server.port) as client:
        password = mysql_server.password("app")
        client.login("app", password, "app", capabilities=wire.BASE | capabilities)
        prepared = client.exchange(bytes([wire.PREPARE]) + b"SELECT 1 UNION SELECT 2")
        statement = prepared[0].payload[1:5]
        execute = bytes([wire.EXECUTE]) + statement + b"\x01" + struct.pack("<I", 1)
        client.exchange(execute)
        assert client.status & wire.CURSOR_EXISTS
        fetched = client.exchange(bytes([wire.FETCH]) + statement + struct.pack("<I", 9))
        assert len(fetched) == 3
        client.quit()
