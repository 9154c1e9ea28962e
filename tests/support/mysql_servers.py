"""Real MySQL and MariaDB servers for the tests.

Where one comes from, first match wins:

1. ``TIDEGATE_TEST_MYSQL=mysql://root:password@host:port`` (``TIDEGATE_TEST_MARIADB`` likewise): a
   server that is already there; the user must be allowed to create users. Tests that must stop,
   freeze or configure a server start one of their own.
2. ``TIDEGATE_TEST_MYSQL_BIN=/folder/with/mysqld`` (``TIDEGATE_TEST_MARIADB_BIN``: ``mariadbd`` and
   ``mariadb-install-db``).
3. Docker, where the ``testcontainers`` package is installed and an engine answers.
4. ``mysqld`` and ``mariadbd`` of the machine.

``TIDEGATE_STRICT=1`` (CI) makes a missing server a failure instead of a skip.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from tests.support.local_mysql import BIN_VARIABLES, MARIADB, MYSQL, LocalMysql, local_mysql
from tests.support.local_postgres import NoServer
from tests.support.mysql_wire import Closed, MysqlClient, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.certificates import Certificates

KINDS = (MYSQL, MARIADB)
SUPERUSER = "admin"
SUPERUSER_PASSWORD = "admin-secret"
USERS = {"app": "app-secret", "other": "other-secret"}
"""Name to password; each owns the database of its name."""
IMAGES = {MYSQL: "mysql:9", MARIADB: "mariadb:11"}


@dataclass(slots=True)
class MysqlServer:
    """A running server that has ``USERS`` and a database for each."""

    kind: str
    host: str
    port: int
    superuser: str = SUPERUSER
    superuser_password: str = SUPERUSER_PASSWORD
    local: LocalMysql | None = None
    """The process; ``None`` for a server that the tests may not stop, freeze or configure."""

    @property
    def certificates(self) -> Certificates | None:
        """Its TLS files; ``None`` where the tests do not control it."""
        return self.local.certificates if self.local else None

    @property
    def version(self) -> str:
        """What it says of its version."""
        [[version]] = self.admin("SELECT VERSION()")
        return version or ""

    def password(self, user: str) -> str:
        """Give a user's password."""
        return USERS.get(user, self.superuser_password)

    def arguments(self, user: str = "app", database: str | None = None) -> dict[str, Any]:
        """Give the arguments that PyMySQL, mysqlclient, aiomysql and their like connect with."""
        return {
            "host": self.host,
            "port": self.port,
            "user": user,
            "password": self.password(user),
            "database": database or user,
        }

    def admin(self, *statements: str) -> list[tuple[str | None, ...]]:
        """Run statements as superuser on one connection; gives the rows of the last."""
        rows: list[tuple[str | None, ...]] = []
        with self.administrator() as client:
            for statement in statements:
                rows = client.rows(statement)
        return rows

    @contextlib.contextmanager
    def administrator(self) -> Iterator[MysqlClient]:
        """Hold a superuser's connection."""
        with MysqlClient(self.host, self.port) as client:
            client.login(self.superuser, self.superuser_password)
            yield client
            client.quit()

    def backends(self, user: str = "app") -> list[int]:
        """Give the numbers of a user's connections, oldest first."""
        query = "SELECT id FROM information_schema.processlist WHERE user = '{}' ORDER BY id"
        return [int(number or 0) for (number,) in self.admin(query.format(user))]

    def answers(self) -> bool:
        """Say whether it accepts connections. Raises ``NoServer`` if not the superuser's."""
        try:
            self.admin("SELECT 1")
        except (OSError, Closed):
            return False
        except Refused as error:
            raise NoServer(f"{self.kind} at {self.host}:{self.port}: {error}") from error
        return True

    def restart(self) -> None:
        """Stop it and start it again on the same port; local servers only."""
        assert self.local is not None
        self.local.stop()
        self.local.start(self.answers)


def _accounts() -> list[str]:
    statements = []
    for user, password in USERS.items():
        statements += [
            f"CREATE DATABASE IF NOT EXISTS `{user}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            f"CREATE USER IF NOT EXISTS '{user}'@'%' IDENTIFIED BY '{password}'",
            f"GRANT ALL ON `{user}`.* TO '{user}'@'%'",
        ]
    return [*statements, "GRANT SELECT ON `app`.* TO 'other'@'%'"]


def _init() -> list[str]:
    superuser = f"'{SUPERUSER}'@'%'"
    return [
        # It would come before everyone else who connects through the Unix socket.
        "DROP USER IF EXISTS ''@'localhost';",
        f"CREATE USER IF NOT EXISTS {superuser} IDENTIFIED BY '{SUPERUSER_PASSWORD}';",
        f"GRANT ALL ON *.* TO {superuser} WITH GRANT OPTION;",
        *(f"{statement};" for statement in _accounts()),
    ]


def attach(kind: str, address: str) -> MysqlServer:
    """Use a server that is already there, given as a superuser's URL. Raises ``NoServer``."""
    url = urlsplit(address)
    server = MysqlServer(
        kind,
        url.hostname or "127.0.0.1",
        url.port or 3306,
        unquote(url.username or SUPERUSER),
        unquote(url.password or ""),
    )
    if not server.answers():
        raise NoServer(f"no {kind} server answers at {server.host}:{server.port}")
    server.admin(*_accounts())
    return server


@contextlib.contextmanager
def _container(kind: str) -> Iterator[MysqlServer | None]:
    """Run it in Docker; ``None`` where there is no testcontainers or no engine."""
    if importlib.util.find_spec("testcontainers") is None or shutil.which("docker") is None:
        yield None
        return
    if subprocess.run(["docker", "info"], capture_output=True).returncode != 0:
        yield None
        return
    module = importlib.import_module("testcontainers.mysql")
    container = module.MySqlContainer(IMAGES[kind], root_password=SUPERUSER_PASSWORD)
    with container as running:
        address = f"{running.get_container_host_ip()}:{running.get_exposed_port(3306)}"
        yield attach(kind, f"mysql://root:{SUPERUSER_PASSWORD}@{address}")


@contextlib.contextmanager
def own_mysql(kind: str, settings: dict[str, str] | None = None) -> Iterator[MysqlServer]:
    """Start a server that the caller may stop, freeze and configure. Raises ``NoServer``."""
    with local_mysql(kind, _init(), settings or {}) as local:
        server = MysqlServer(kind, "127.0.0.1", local.port, local=local)
        local.start(server.answers)
        yield server


@contextlib.contextmanager
def running_mysql(kind: str) -> Iterator[MysqlServer]:
    """Give the server of a kind that most tests share. Raises ``NoServer``."""
    address = os.environ.get(f"TIDEGATE_TEST_{kind.upper()}", "")
    if address:
        yield attach(kind, address)
        return
    with contextlib.ExitStack() as stack:
        server = None
        if not os.environ.get(BIN_VARIABLES[kind], ""):
            server = stack.enter_context(_container(kind))
        yield server or stack.enter_context(own_mysql(kind))
