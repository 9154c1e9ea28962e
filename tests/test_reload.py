from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config.load import parse
from proxy.reload import LOOK_S, Reloader
from tests.config.sample import process_text

if TYPE_CHECKING:
    from pathlib import Path


def reloader(path: Path) -> Reloader:
    path.write_text(process_text())
    return Reloader(parse(process_text(), source="test"), path)


async def test_applies_what_it_can_and_keeps_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "tidegate.toml"
    watched = reloader(file)
    assert await watched.look() is None
    file.write_text(process_text(idle=90, budget=19, mode="session"))
    assert await watched.look() == 3
    main = watched.config.proxy["main"]
    assert main.idle_client_timeout_s == 90
    assert main.target_group.max_connections == 19
    assert main.target_group.pool_mode == "transaction", "this needs a restart"
    assert await watched.look() is None


async def test_nonsense_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "tidegate.toml"
    watched = reloader(file)
    before = watched.config
    file.write_text("not toml [")
    assert await watched.look() is None
    assert watched.config is before


async def test_reads_an_unchanged_file_when_asked(tmp_path: Path) -> None:
    watched = reloader(tmp_path / "tidegate.toml")
    watched.ask()
    assert await watched.look() == 0


def test_looks_now_and_then_or_when_asked(tmp_path: Path) -> None:
    watched = reloader(tmp_path / "tidegate.toml")
    now = watched._looked
    assert not watched.is_due(now + LOOK_S / 2)
    assert watched.is_due(now + LOOK_S)
    assert not watched.is_due(now + LOOK_S)
    watched.ask()
    assert watched.is_due(now + LOOK_S)
