"""Settings for a proxy in front of MySQL or MariaDB."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from tests.support.local_mysql import MYSQL
from tests.support.mysql_servers import USERS, MysqlServer
from tests.support.proxy import ProxySettings
from tests.support.servers import PostgresServer

if TYPE_CHECKING:
    from tests.support.proxy import Table

HAS_ENGINE = importlib.util.find_spec("proxy.mysql.dialect") is not None
"""Whether this proxy can serve MySQL clients at all."""
NO_ENGINE = "NOT TESTED: the proxy has no MySQL engine yet"


def mysql_proxy_settings(server: MysqlServer, group: Table) -> ProxySettings:
    """Make settings for a proxy that lets ``USERS`` in as the server itself does."""
    plugin = "caching_sha2_password" if server.kind == MYSQL else "mysql_native_password"
    auth: list[Table] = [
        {"user": user, "credential": f"static:{password}", "client_auth": plugin}
        for user, password in USERS.items()
    ]
    # Of the server, settings take the address only.
    address = PostgresServer(host=server.host, port=server.port)
    return ProxySettings(address, group=group, proxy={"engine": "mysql"}, auth=auth)
