"""Finding the plug-ins of a MySQL Router that was unpacked somewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.router import VARIABLE, built_for, plugin_folder, unpacked

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

HELP = """Usage

Plugins Path:
  /usr/lib/mysqlrouter/plugin

Default Log Directory:
  /var/log/mysqlrouter
"""
FOLDER = "/usr/lib/mysqlrouter/plugin"


def test_what_the_help_says() -> None:
    assert built_for(HELP) == FOLDER
    assert built_for("Usage") == ""


def test_beside_the_program_or_the_one_it_wraps(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / FOLDER[1:]).mkdir(parents=True)
    program = root / "usr" / "bin" / "mysqlrouter"
    program.parent.mkdir()
    program.write_bytes(b"\x7fELF")
    wrapper = tmp_path / "bin" / "mysqlrouter"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec "{program}" "$@"\n')
    assert unpacked(program, FOLDER) == str(root / FOLDER[1:])
    assert unpacked(wrapper, FOLDER) == str(root / FOLDER[1:])
    assert unpacked(wrapper, "/usr/lib/nowhere-to-be-found") == ""


def test_what_the_environment_says_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/opt/plugins")
    plugin_folder.cache_clear()
    try:
        assert plugin_folder() == "/opt/plugins"
    finally:
        plugin_folder.cache_clear()
