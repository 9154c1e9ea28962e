"""Finding a server program, else Docker; what is said when there is neither."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from proxy.demo.mysql import server
from proxy.demo.mysql.server import (
    DockerServer,
    LocalServer,
    Program,
    candidates,
    examine,
    find_server,
    read_version,
)
from proxy.demo.processes import Account, DemoError, wait_exit

if TYPE_CHECKING:
    from pathlib import Path

NEW = "mysqld  Ver 9.7.4 for Linux on x86_64 (Source)"


@pytest.fixture(autouse=True)
def _bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the servers of this machine, and be no root: the folders of tests are private."""
    monkeypatch.setattr(server, "_SYSTEM_PROGRAMS", str(tmp_path / "sbin"))
    monkeypatch.setattr(server, "unprivileged_account", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("TIDEGATE_DEMO_MYSQL_BIN", raising=False)


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def says(path: Path, version: str) -> Path:
    return script(path, f"echo '{version}'")


class TestVersion:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            (NEW, ("MySQL", "9.7.4")),
            ("/usr/sbin/mysqld  Ver 8.0.36-0ubuntu0 for Linux on aarch64", ("MySQL", "8.0.36")),
            ("mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian", ("MariaDB", "10.11.19")),
            ("mysqld  Ver 9.7.4-2 for Linux", ("MySQL", "9.7.4")),
            ("PostgreSQL 18", None),
        ],
    )
    def test_is_read(self, text: str, found: tuple[str, str] | None) -> None:
        assert read_version(text) == found


class TestExamination:
    def test_good(self, tmp_path: Path) -> None:
        path = says(tmp_path / "mysqld", NEW)
        assert examine(path) == Program(path, "MySQL", "9.7.4")

    @pytest.mark.parametrize(
        ("body", "why"),
        [
            ("echo 'mysqld  Ver 5.7.44 for Linux'", "is MySQL 5.7.44, which is too old"),
            ("echo 'mysqld  Ver 10.3.9-MariaDB'", "is MariaDB 10.3.9, which is too old"),
            ("echo hello", "does not tell its version"),
            ("exit 127", "does not run"),
        ],
    )
    def test_bad(self, tmp_path: Path, body: str, why: str) -> None:
        assert examine(script(tmp_path / "mysqld", body)) == why

    def test_private_to_root(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server, "unprivileged_account", lambda: Account(65534, 65534))
        tmp_path.chmod(0o700)
        assert "only root can reach it" in str(examine(says(tmp_path / "mysqld", NEW)))


class TestFinding:
    def test_path_comes_before_the_system(self, tmp_path: Path) -> None:
        first = says(tmp_path / "bin" / "mariadbd", NEW)
        second = says(tmp_path / "sbin" / "mysqld", NEW)
        assert list(candidates(os.environ)) == [first, second]

    def test_the_variable_shuts_out_all_others(self, tmp_path: Path) -> None:
        says(tmp_path / "bin" / "mysqld", NEW)
        chosen = says(tmp_path / "own" / "mysqld", NEW)
        environment = {**os.environ, "TIDEGATE_DEMO_MYSQL_BIN": str(chosen.parent)}
        assert list(candidates(environment)) == [chosen]

    def test_the_first_that_works_is_taken(self, tmp_path: Path) -> None:
        script(tmp_path / "bin" / "mysqld", "exit 1")
        path = says(tmp_path / "sbin" / "mysqld", NEW)
        found = find_server(tmp_path, "super")
        assert isinstance(found, LocalServer)
        assert found.title == f"MySQL 9.7.4 from {path}"

    def test_docker_is_the_last_resort(self, tmp_path: Path) -> None:
        script(tmp_path / "bin" / "docker", "exit 0")
        assert isinstance(find_server(tmp_path, "super"), DockerServer)
        says(tmp_path / "sbin" / "mysqld", NEW)
        assert isinstance(find_server(tmp_path, "super"), LocalServer)

    def test_nothing_found_says_what_to_install(self, tmp_path: Path) -> None:
        script(tmp_path / "bin" / "docker", "exit 1")
        script(tmp_path / "bin" / "mysqld", "exit 1")
        with pytest.raises(DemoError) as failed:
            find_server(tmp_path, "super")
        said = str(failed.value)
        assert "apt-get install mariadb-server-core" in said
        assert "TIDEGATE_DEMO_MYSQL_BIN=DIRECTORY" in said
        assert "Docker, with its engine running" in said
        assert f"{tmp_path / 'bin' / 'mysqld'} does not run" in said

    def test_a_chosen_folder_without_a_server(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        says(tmp_path / "bin" / "mysqld", NEW)
        monkeypatch.setenv("TIDEGATE_DEMO_MYSQL_BIN", str(tmp_path))
        with pytest.raises(DemoError, match="is of no use:\n    there is no mysqld nor mariadbd"):
            find_server(tmp_path, "super")


class TestLocalServer:
    async def test_failed_creation_is_explained(self, tmp_path: Path) -> None:
        path = script(tmp_path / "mysqld", "echo 'no space left'; exit 1")
        local = LocalServer(Program(path, "MySQL", "9.7.4"), tmp_path, "super")
        with pytest.raises(DemoError, match=r"could not create its data:\n +no space left"):
            await local.prepare()

    async def test_mariadb_without_its_installer(self, tmp_path: Path) -> None:
        path = script(tmp_path / "sbin" / "mariadbd", "")
        local = LocalServer(Program(path, "MariaDB", "10.11.1"), tmp_path, "super")
        with pytest.raises(DemoError, match="there is no mariadb-install-db beside"):
            await local.prepare()

    async def test_the_machines_option_files_are_kept_out(self, tmp_path: Path) -> None:
        program = tmp_path / "mysqld"
        program.write_bytes(b"\x7fELF")
        assert Program(program, "MySQL", "9.7.4").first_options == ["--no-defaults"]
        assert Program(script(program, ""), "MySQL", "9.7.4").first_options == []


class TestDockerServer:
    async def test_runs_on_loopback_and_is_removed(self, tmp_path: Path) -> None:
        said = tmp_path / "said"
        body = f'echo "$MYSQL_ROOT_PASSWORD: $@" >> {said}; [ "$1" = rm ] || exec /bin/sleep 60'
        docker = DockerServer(str(script(tmp_path / "docker", body)), tmp_path, "super")
        await docker.prepare()
        process = docker.launch(4711)
        while not said.exists():
            assert await wait_exit(process, 0.02) is None
        await docker.stop(process)
        assert process.returncode == -signal.SIGTERM
        run, removal = said.read_text().splitlines()
        assert run.startswith(f"super: run --rm --name {tmp_path.name} ")
        assert " --publish 127.0.0.1:4711:3306 " in run
        assert " mysql:9 --" in run
        assert "super" not in run.partition(": ")[2]
        assert removal == f"super: rm --force --volumes {tmp_path.name}"
