"""Tidegate itself, started as its users start it: ``tidegate serve --config FILE``."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.demo.engine import APPLICATION_USER
from proxy.demo.processes import DemoError, free_port, last_lines, spawn, stop

if TYPE_CHECKING:
    import subprocess

    from proxy.demo.engine import Cluster, Engine, Login

BUDGET = 10
"""``max_connections`` of the demonstration's pool."""

PASSWORD_VARIABLE = "TIDEGATE_DEMO_PASSWORD"  # noqa: S105 - a name, not a password

_READY_TIMEOUT_S = 20.0
_START_ATTEMPTS = 3

_CONFIG = """\
[process]
admin_listen = "127.0.0.1:{admin_port}"
shutdown_grace_s = 5

[proxy.demo]
engine = "{engine}"

[[proxy.demo.endpoint]]
listen = "127.0.0.1:{port}"

[[proxy.demo.auth]]
user = "{user}"
credential = "env:{variable}"

[proxy.demo.target_group]
max_connections = {budget}

[[proxy.demo.target]]
host = "127.0.0.1"
port = {target_port}
tls = "disable"
"""


def config_text(
    *, engine: str, port: int, admin_port: int, target_port: int, budget: int = BUDGET
) -> str:
    """Return the configuration file of the demonstration's proxy; it holds no secret."""
    return _CONFIG.format(
        engine=engine,
        port=port,
        admin_port=admin_port,
        target_port=target_port,
        budget=budget,
        user=APPLICATION_USER,
        variable=PASSWORD_VARIABLE,
    )


def waiting_clients(metrics: str) -> int | None:
    """Read the number of clients waiting for a server connection from a ``/metrics`` page.

    ``None`` if the page does not say.
    """
    total: int | None = None
    for line in metrics.splitlines():
        if line.startswith("tidegate_clients_waiting"):
            total = (total or 0) + int(float(line.rpartition(" ")[2]))
    return total


async def http_get(port: int, path: str, *, timeout_s: float = 2.0) -> tuple[int, str]:
    """GET a page of the admin server on 127.0.0.1; return its status and body.

    Raises ``OSError`` or ``TimeoutError`` when there is no answer.
    """
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            # HTTP/1.0: the body ends where the connection does, whatever its framing.
            writer.write(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
            answer = (await reader.read(-1)).decode(errors="replace")
        finally:
            writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    words = head.split(None, 2)
    if len(words) < 2 or not words[1].isdigit():
        raise OSError(f"no HTTP answer from port {port}")
    return int(words[1]), body


class ProxyProcess:
    """A proxy in front of the demonstration's database, as a child process."""

    def __init__(self, directory: Path, engine: Engine, cluster: Cluster) -> None:
        self._directory = directory
        self._engine = engine
        self._cluster = cluster
        self._log = directory / "tidegate.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.admin_port = 0

    @property
    def login(self) -> Login:
        """The application's login, through the proxy."""
        return self._cluster.login_through(self.port)

    async def start(self) -> None:
        """Start the proxy and wait until ``/readyz`` says so. Raises ``DemoError``."""
        for _ in range(_START_ATTEMPTS):
            # Another program may take a port between our look and the proxy's.
            self.port, self.admin_port = free_port(), free_port()
            self._log.unlink(missing_ok=True)
            self._process = process = self._launch()
            if await self._becomes_ready(process):
                return
            await self.stop()
        raise DemoError(f"the proxy did not start:{last_lines(self._log)}")

    async def stop(self) -> None:
        """Stop the proxy: drain, or by force when it does not end."""
        if self._process is not None:
            await stop(self._process, (signal.SIGTERM,), patience_s=10.0)
            self._process = None

    async def waiting(self) -> int | None:
        """Ask the proxy how many clients wait for a server connection; ``None`` if unknown."""
        try:
            _, page = await http_get(self.admin_port, "/metrics")
        except (OSError, TimeoutError):
            return None
        return waiting_clients(page)

    def _launch(self) -> subprocess.Popen[bytes]:
        config = self._directory / "tidegate.toml"
        config.write_text(
            config_text(
                engine=self._engine.name,
                port=self.port,
                admin_port=self.admin_port,
                target_port=self._cluster.port,
            )
        )
        # The same code as ours, installed or not, and never a `proxy` folder that happens to be
        # in the working directory.
        package_parent = Path(__file__).resolve().parents[2]
        environment = {
            **os.environ,
            "PYTHONPATH": str(package_parent),
            PASSWORD_VARIABLE: self._cluster.password,
        }
        return spawn(
            (sys.executable, "-P", "-m", "proxy", "serve", "--config", config),
            log=self._log,
            environment=environment,
            directory=self._directory,
        )

    async def _becomes_ready(self, process: subprocess.Popen[bytes]) -> bool:
        deadline = asyncio.get_running_loop().time() + _READY_TIMEOUT_S
        while process.poll() is None and asyncio.get_running_loop().time() < deadline:
            try:
                status, _ = await http_get(self.admin_port, "/readyz")
            except (OSError, TimeoutError):
                status = 0
            if status == 200:
                return True
            await asyncio.sleep(0.05)
        return False
