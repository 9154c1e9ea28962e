"""The MySQL server behind all MySQL peers of a run."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.support.local_mysql import MYSQL
from tests.support.mysql_servers import own_mysql
from tests.support.mysql_wire import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.certificates import Certificates
    from tests.support.mysql_servers import MysqlServer

USER = "app"
"""Owns the database of its name."""
MOST_CLIENTS = 1100
"""Connections it allows: as many as the largest burst that direct connections take part in."""

_ACCOUNTS = (
    "CREATE TABLE app.accounts (aid INT PRIMARY KEY, abalance INT NOT NULL)",
    "INSERT INTO app.accounts VALUES (4711, 0)",
)


@contextlib.contextmanager
def database(certificates: Certificates) -> Iterator[MysqlServer]:
    """Run a server with a table of one account. Raises ``NoServer``."""
    settings = {
        "max-connections": str(MOST_CLIENTS),
        # A burst queues its logins; let them.
        "back-log": "4096",
        "ssl-ca": str(certificates.authority),
        "ssl-cert": str(certificates.certificate),
        "ssl-key": str(certificates.key),
    }
    with own_mysql(MYSQL, settings) as server:
        server.admin(*_ACCOUNTS)
        yield server


@contextlib.contextmanager
def counting(server: MysqlServer) -> Iterator[Callable[[], int]]:
    """Hold a connection that counts the others."""
    with server.administrator() as client:

        def count() -> int:
            ((_, number),) = client.rows("SHOW GLOBAL STATUS LIKE 'Threads_connected'")
            return int(number or 0) - 1

        yield count


def empty(server: MysqlServer) -> None:
    """Close the clients' connections."""
    for number in server.backends(USER):
        with contextlib.suppress(Refused):  # It was gone before.
            server.admin(f"KILL {number}")
