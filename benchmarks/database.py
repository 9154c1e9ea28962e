"""The PostgreSQL server behind all peers of a run."""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
from typing import TYPE_CHECKING

import psycopg

from benchmarks import driver
from benchmarks.pgbench import Server
from tests.support.local_postgres import NoServer
from tests.support.servers import ROLES, PostgresServer, chosen_binaries, own_server, program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

USER = "app"
PASSWORD = ROLES[USER].password
DATABASE = "app"
SCALE = 5
"""pgbench's: 100,000 accounts each."""

MOST_CLIENTS = 1100
"""Connections it allows: as many as the largest burst that direct connections take part in."""

_SETTINGS = {
    "max_connections": str(MOST_CLIENTS),
    "shared_buffers": "256MB",
    "autovacuum": "off",
    "jit": "off",
    "max_wal_size": "4GB",
}


def short_port() -> int:
    """Give a free loopback port of four digits: pgagroal 2.1 aborts where a server's has five."""
    for port in random.sample(range(5500, 10000), 100):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise NoServer("no free port from 5500 to 9999")


@contextlib.contextmanager
def database() -> Iterator[tuple[PostgresServer, Server]]:
    """Run a server that has TLS and pgbench's tables. Raises ``NoServer``."""
    binaries = chosen_binaries(tls=True)
    with own_server(binaries, settings=_SETTINGS, port=short_port()) as server:
        found = program("pgbench", server)
        if found is None:
            raise FileNotFoundError("no pgbench: apt-get install postgresql-contrib")
        line = [str(found), "-i", "-q", "-s", str(SCALE), "-h", "127.0.0.1"]
        line += ["-p", str(server.port), "-U", USER, DATABASE]
        environment = {"PGPASSWORD": PASSWORD, "PATH": "/usr/bin:/bin"}
        subprocess.run(line, check=True, capture_output=True, env=environment)
        with psycopg.connect(server.conninfo(USER, DATABASE), autocommit=True) as connection:
            for statement in driver.PREPARE:
                connection.execute(statement.encode())
        yield server, Server(found, USER, PASSWORD, DATABASE)


@contextlib.contextmanager
def counting(server: PostgresServer) -> Iterator[Callable[[], int]]:
    """Hold a connection that counts the clients' connections."""
    info = server.conninfo(server.superuser, "postgres", application_name="counting")
    sql = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND application_name <> 'counting'"
    )
    with psycopg.connect(info, autocommit=True) as connection:

        def count() -> int:
            row = connection.execute(sql.encode()).fetchone()
            return int(row[0]) if row else 0

        yield count


def empty(server: PostgresServer) -> None:
    """Close the clients' connections."""
    server.admin(
        "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
