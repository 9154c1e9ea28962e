"""The stage: one burst against a real server, and what happens when something breaks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.demo.processes import DemoError

if TYPE_CHECKING:
    from tests.demo.conftest import Scene


async def test_a_burst_is_measured(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    from proxy.demo.burst import BurstPlan
    from proxy.demo.sampler import Sampler
    from proxy.demo.stage import Stage

    cluster, engine = scene.cluster, scene.engine
    await cluster.reset()
    sampler = await Sampler.connect(cluster.superuser_login, engine)
    try:
        assert await sampler.wait_until_alone(10)
        stage = Stage(BurstPlan(environments=8, duration_s=1), engine, sampler, plain=True)
        result = await stage.perform("title", cluster.login, 60, None)
    finally:
        await sampler.close()
    assert result.clean, (result.measures, result.ledger_problem)
    assert result.measures.served == result.measures.started >= 8
    assert 1 <= result.peak_connections <= result.measures.started
    assert result.duration_s >= 1
    assert "tx/s" in capsys.readouterr().out


async def test_a_lost_observer_ends_the_show(scene: Scene) -> None:
    from proxy.demo.burst import BurstPlan
    from proxy.demo.sampler import Sampler
    from proxy.demo.stage import Stage

    connection = await scene.cluster.superuser_login.connect()
    connection.terminate()
    sampler = Sampler(connection, scene.engine)
    stage = Stage(BurstPlan(environments=1, duration_s=1), scene.engine, sampler, plain=True)
    with pytest.raises(DemoError, match=r"broke off: .*(connection is closed|Not connected)"):
        await stage.perform("title", scene.cluster.login, 60, None)


@pytest.mark.usefixtures("demo_packages")
def test_the_directory_can_be_entered_by_the_servers_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from proxy.demo import stage
    from proxy.demo.processes import Account

    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr("tempfile.tempdir", str(closed))
    monkeypatch.setattr(stage, "unprivileged_account", lambda: Account(65534, 65534))
    directory = stage._make_directory()
    assert list(closed.iterdir()) == []
    assert directory.parent == Path("/tmp").resolve()
    assert directory.stat().st_mode & 0o777 == 0o711
    directory.rmdir()
    monkeypatch.setattr(stage, "unprivileged_account", lambda: None)
    directory = stage._make_directory()
    assert directory.parent == closed
    assert directory.stat().st_mode & 0o777 == 0o700
