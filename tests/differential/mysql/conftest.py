"""A proxy in front of each MySQL server, with a pool of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.differential.mysql.player import Place
from tests.support.mysql_proxy import mysql_proxy_settings
from tests.support.proxy import running_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.mysql_servers import MysqlServer


@pytest.fixture(scope="module")
def mysql_single(
    mysql_server: MysqlServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """A proxy with a pool of one: every client shares one server connection."""
    settings = mysql_proxy_settings(mysql_server, {"max_connections": 1})
    with running_proxy(settings, tmp_path_factory.mktemp("mysql-single")) as proxy:
        yield Place(proxy.host, proxy.port, mysql_server)
