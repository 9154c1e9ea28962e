"""The MySQL and the MariaDB of the demonstration."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

import pytest

from proxy.demo.processes import DemoError, spawn, stop

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from proxy.demo.engine import Connection
    from tests.demo.conftest import Scene

pytestmark = pytest.mark.usefixtures("demo_packages")


async def _connected_as_superuser(scene: Scene) -> Connection:
    """Connect once the one that was just refused, which takes the last place, has left it."""
    async with asyncio.timeout(5):
        while True:
            with contextlib.suppress(*scene.engine.failures):
                return await scene.cluster.superuser_login.connect()
            await asyncio.sleep(0.02)


async def test_the_observer_finds_room_where_the_application_finds_none(
    mysql_scene: Scene,
) -> None:
    from proxy.demo.engine import MAX_CONNECTIONS

    connections: list[Connection] = []

    async def take_all() -> None:
        while len(connections) <= MAX_CONNECTIONS:
            connections.append(await mysql_scene.cluster.login.connect())

    try:
        with pytest.raises(mysql_scene.engine.failures, match="Too many connections"):
            await take_all()
        observer = await _connected_as_superuser(mysql_scene)
        await observer.close(timeout=5)
    finally:
        for connection in connections:
            await connection.close(timeout=5)
    assert len(connections) <= MAX_CONNECTIONS


@pytest.mark.parametrize("user", ["root", ""])
async def test_nobody_gets_in_without_a_password(mysql_scene: Scene, user: str) -> None:
    from proxy.demo.mysql.database import MysqlLogin

    with pytest.raises(mysql_scene.engine.failures, match="Access denied"):
        await MysqlLogin(mysql_scene.cluster.port, user, "", database=None).connect()


class Broken:
    """A server whose program ends at once, with a word of why."""

    patience_s = 30.0
    title = "BrokenSQL 1.0"

    def __init__(self, directory: Path) -> None:
        self.log = directory / "log"
        self._directory = directory
        self.launched = 0

    async def prepare(self) -> None:
        return None

    def launch(self, port: int) -> subprocess.Popen[bytes]:
        self.launched += 1
        program = (sys.executable, "-c", "print('no disk'); raise SystemExit(1)")
        return spawn(program, log=self.log, environment={}, directory=self._directory)

    async def stop(self, process: subprocess.Popen[bytes]) -> None:
        await stop(process, (), patience_s=1)


async def test_failed_start_is_tried_again_and_explained(tmp_path: Path) -> None:
    from proxy.demo.mysql.cluster import MysqlCluster

    server = Broken(tmp_path)
    cluster = MysqlCluster(server, superuser_password="super", password="secret")
    with pytest.raises(DemoError, match=r"BrokenSQL 1\.0 did not start:\n +no disk"):
        await cluster.start()
    await cluster.stop()
    assert server.launched == 3
