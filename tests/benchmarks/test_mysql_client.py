"""The generator's MySQL client, against servers: each way that a password is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.client import Refused
from benchmarks.mysql_client import MysqlClient, connect, error_text, query
from tests.support.local_mysql import MARIADB
from tests.support.wire import tls_context

if TYPE_CHECKING:
    from tests.support.mysql_servers import MysqlServer


async def _logged_in(server: MysqlServer, *, tls: bool) -> MysqlClient:
    client = await connect(server.port, tls_context() if tls else None)
    await client.login("app", "app-secret", "app")
    return client


@pytest.mark.parametrize("tls", [False, True])
async def test_logs_in_and_queries(mysql_server: MysqlServer, tls: bool) -> None:
    client = await _logged_in(mysql_server, tls=tls)
    for sql in ("SELECT 1", "SELECT 1 UNION SELECT 2", "SELECT 1, 2 LIMIT 0", "DO 1", "SELECT 1"):
        await client.query(query(sql))
    with pytest.raises(Refused, match="1064 You have an error"):
        await client.query(query("SELEC"))
    await client.query(query("SELECT 1"))
    client.vanish()


@pytest.mark.parametrize("tls", [False, True])
async def test_the_password_itself_where_it_is_not_cached(
    mysql_server: MysqlServer, tls: bool
) -> None:
    if mysql_server.kind == MARIADB:
        pytest.skip("MariaDB 10.11 has no caching_sha2_password")
    # With it go the passwords that the server has cached.
    mysql_server.admin("FLUSH PRIVILEGES")
    client = await _logged_in(mysql_server, tls=tls)
    await client.query(query("SELECT 1"))
    client.vanish()


async def test_wrong_password(mysql_server: MysqlServer) -> None:
    client = await connect(mysql_server.port, None)
    with pytest.raises(Refused, match="1045 Access denied"):
        await client.login("app", "wrong", "app")
    client.vanish()


def test_error_text_with_and_without_a_sqlstate() -> None:
    assert error_text(b"\xff\x10\x04Too many") == "1040 Too many"
    assert error_text(b"\xff\x10\x04#08004Too many") == "1040 Too many"
