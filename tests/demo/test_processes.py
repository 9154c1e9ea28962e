"""Children are started, watched and always stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

from proxy.demo.processes import (
    Account,
    free_port,
    is_reachable_by_others,
    last_lines,
    spawn,
    stop,
    unprivileged_account,
    wait_exit,
)

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_directory_nobody_else_may_enter_is_not_reachable(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    tmp_path.chmod(0o700)
    assert not is_reachable_by_others(inner)
    assert is_reachable_by_others(inner.parents[len(inner.parents) - 1])


def test_only_root_needs_another_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert unprivileged_account() is None
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    account = unprivileged_account()
    assert isinstance(account, Account)
    assert account.uid != 0


class TestProcesses:
    async def test_a_child_that_ignores_the_signal_is_killed(self, tmp_path: Path) -> None:
        program = (
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
            "print('deaf', flush=True); time.sleep(60)"
        )
        log = tmp_path / "log"
        child = spawn((sys.executable, "-c", program), log=log, environment={}, directory=tmp_path)
        while "deaf" not in log.read_text():
            assert await wait_exit(child, 0.02) is None
        await stop(child, (signal.SIGTERM,), patience_s=0.1)
        assert child.returncode == -signal.SIGKILL

    async def test_exit_status_and_last_lines(self, tmp_path: Path) -> None:
        program = "print('one'); print('two'); print('three'); raise SystemExit(3)"
        log = tmp_path / "log"
        child = spawn((sys.executable, "-c", program), log=log, environment={}, directory=tmp_path)
        assert await wait_exit(child, 20) == 3
        await stop(child, (signal.SIGTERM,), patience_s=0.1)
        assert last_lines(log, 2) == "\n    two\n    three"
        assert last_lines(tmp_path / "none") == ""

    async def test_free_port_can_be_listened_on(self) -> None:
        server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", free_port())
        server.close()
        await server.wait_closed()
