"""The command line: what each command calls, prints and returns."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from proxy import __version__
from proxy.cli import main
from proxy.errors import ConfigError, ConnectFailed
from tests.config.sample import SMALL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxy.config.model import Config


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a configuration file that can be used."""
    monkeypatch.setenv("APP_PASSWORD", "hunter2")
    path = tmp_path / "tidegate.toml"
    path.write_text(SMALL)
    return path


@pytest.fixture
def replace_module(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put functions in the place of a module that a command imports."""

    def replace(name: str, **functions: object) -> None:
        module = ModuleType(name)
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, name, module)

    return replace


@pytest.mark.parametrize(
    "arguments",
    [[], ["serve"], ["check"], ["serve", "--conf", "x"], ["nothing"], ["version", "x"], ["-x"]],
)
def test_bad_usage_is_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert all(command in printed for command in ("serve", "check", "demo", "version"))


def test_version_says_what_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"tidegate {__version__} (Python 3.")
    assert "hot path" in printed


def test_serve_hands_over_the_configuration(
    file: Path, replace_module: Callable[..., None]
) -> None:
    calls: list[tuple[Config, Path]] = []

    def serve(config: Config, path: Path) -> int:
        calls.append((config, path))
        return 5

    replace_module("proxy.app", serve=serve)
    assert main(["serve", "--config", str(file)]) == 5
    ((config, path),) = calls
    assert list(config.proxy) == ["orders"]
    assert path == file


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigError("address taken"), 2), (ConnectFailed("gone"), 1), (KeyboardInterrupt(), 1)],
)
def test_serve_tells_failures_apart(
    file: Path,
    replace_module: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
) -> None:
    def serve(_config: Config, _path: Path) -> int:
        raise error

    replace_module("proxy.app", serve=serve)
    assert main(["serve", "--config", str(file)]) == code
    message = capsys.readouterr().err
    assert message == (f"tidegate: {error}\n" if str(error) else "")


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_bad_configuration_is_2(
    file: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    file.write_text(SMALL.replace("listen =", "lisen =").replace("user =", "usr ="))
    assert main([command, "--config", str(file)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"{file}: 4 problems in the configuration" in captured.err
    assert "proxy.orders.endpoint[0].lisen: unknown key; did you mean listen?" in captured.err
    assert main([command, "--config", str(file.with_name("none"))]) == 2


def test_check_sums_up(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(file)]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == f"{file} can be used"
    assert "proxy orders: postgresql, transaction pooling" in captured.out
    assert captured.err == ""


def test_check_finds_what_the_file_does_not_show(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("APP_PASSWORD")
    file.write_text(SMALL.replace("127.0.0.1:6432", "8.8.8.8:6432"))
    assert main(["check", "--config", str(file)]) == 2
    captured = capsys.readouterr()
    assert "warning: proxy.orders.endpoint[0].listen: reachable over" in captured.out
    assert "can be used" not in captured.out
    assert "error: proxy.orders.endpoint[0].listen: " in captured.err
    assert "error: proxy.orders.auth[0].credential: env:APP_PASSWORD: " in captured.err
    assert captured.err.splitlines()[-1] == f"tidegate: {file} cannot be used"


def test_check_show_prints_every_setting_and_no_secret(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(SMALL.replace("env:APP_PASSWORD", "static:hunter2"))
    assert main(["check", "--show", "--config", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "max_prepared_statements = 200" in printed
    assert "hunter2" not in printed


def test_demo_gets_its_arguments_as_they_are(replace_module: Callable[..., None]) -> None:
    calls: list[list[str]] = []

    def run(arguments: list[str]) -> int:
        calls.append(arguments)
        return 3

    replace_module("proxy.demo", main=run)
    assert main(["demo", "--help", "--config", "x"]) == 3
    assert calls == [["--help", "--config", "x"]]


def test_demo_without_its_packages_says_what_to_install(
    replace_module: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_arguments: list[str]) -> int:
        raise ModuleNotFoundError("No module", name="rich.live")

    replace_module("proxy.demo", main=run)
    assert main(["demo"]) == 1
    assert "pip install 'tidegate[demo]'" in capsys.readouterr().err


def test_demo_does_not_hide_defects(replace_module: Callable[..., None]) -> None:
    def run(_arguments: list[str]) -> int:
        raise ModuleNotFoundError("No module", name="proxy.nothing")

    replace_module("proxy.demo", main=run)
    with pytest.raises(ModuleNotFoundError):
        main(["demo"])
