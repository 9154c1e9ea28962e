"""A MySQL or MariaDB of our own with the demonstration's tables."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.demo.engine import APPLICATION_USER, DATABASE, PRODUCTS, STOCK
from proxy.demo.mysql.database import FAILURES, OBSERVERS_INIT, MysqlLogin
from proxy.demo.processes import DemoError, free_port, last_lines

if TYPE_CHECKING:
    import subprocess

    from proxy.demo.mysql.server import Server

_START_ATTEMPTS = 3
_ATTEMPT_S = 5.0
"""Seconds that one attempt to log in to a starting server may take."""

_SCHEMA = (
    "CREATE TABLE product (id int PRIMARY KEY, name varchar(40) NOT NULL, stock int NOT NULL)",
    """CREATE TABLE purchase (
        id bigint AUTO_INCREMENT PRIMARY KEY,
        product int NOT NULL,
        environment int NOT NULL,
        placed_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
        INDEX (environment)
    )""",
    "INSERT INTO product VALUES "  # noqa: S608 - numbers of ours
    + ", ".join(f"({number}, 'product {number}', {STOCK})" for number in range(1, PRODUCTS + 1)),
)

_RESET = ("TRUNCATE purchase", f"UPDATE product SET stock = {STOCK}")  # noqa: S608 - likewise


class MysqlCluster:
    """One server with the demonstration's database, listening on 127.0.0.1."""

    def __init__(self, server: Server, *, superuser_password: str, password: str) -> None:
        self.superuser_password = superuser_password
        self.password = password
        self.port = 0
        self._server = server
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def title(self) -> str:
        """What the server is, for people."""
        return self._server.title

    @property
    def login(self) -> MysqlLogin:
        """The application's login."""
        return self.login_through(self.port)

    @property
    def superuser_login(self) -> MysqlLogin:
        """The observer's login: it may use the one connection beyond ``max_connections``."""
        return MysqlLogin(self.port, "root", self.superuser_password, init_command=OBSERVERS_INIT)

    @property
    def _maintenance_login(self) -> MysqlLogin:
        return MysqlLogin(self.port, "root", self.superuser_password, database=None)

    def login_through(self, port: int) -> MysqlLogin:
        """Return the application's login by way of a proxy's port."""
        return MysqlLogin(port, APPLICATION_USER, self.password)

    async def start(self) -> None:
        """Create the data, start the server and create the tables. Raises ``DemoError``."""
        await self._server.prepare()
        for attempt in range(1, _START_ATTEMPTS + 1):
            # Another program may take the port between our look and the server's.
            self.port = free_port()
            self._process = process = self._server.launch(self.port)
            if await self._accepts_connections(process):
                break
            if attempt == _START_ATTEMPTS or process.poll() is None:
                raise DemoError(f"{self.title} did not start:{last_lines(self._server.log)}")
            await self.stop()
        await self._create_database()

    async def stop(self) -> None:
        """Stop the server: shutdown, then by force."""
        if self._process is not None:
            await self._server.stop(self._process)
            self._process = None

    async def reset(self) -> None:
        """Put the tables back as they were at the start."""
        await self._run(self.superuser_login, *_RESET)

    async def _accepts_connections(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait until the server answers; ``False`` if it ended or never did."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._server.patience_s
        while process.poll() is None and loop.time() < deadline:
            try:
                connection = await self._maintenance_login.connect(timeout_s=_ATTEMPT_S)
            except FAILURES:
                await asyncio.sleep(0.1)
                continue
            await connection.close(timeout=_ATTEMPT_S)
            return True
        return False

    async def _create_database(self) -> None:
        # The password is ours and made of URL-safe letters: nothing to quote.
        await self._run(
            self._maintenance_login,
            f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4",
            f"CREATE USER '{APPLICATION_USER}'@'%' IDENTIFIED BY '{self.password}'",
            f"GRANT ALL ON {DATABASE}.* TO '{APPLICATION_USER}'@'%'",
        )
        await self._run(self.login, *_SCHEMA)

    async def _run(self, login: MysqlLogin, *statements: str) -> None:
        connection = await login.connect()
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close(timeout=_ATTEMPT_S)
