"""The peers' configurations: filled in completely, and accepted by our own checker."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benchmarks.accounting import members
from benchmarks.command import parser, taking_part
from benchmarks.peers import (
    MYSQL_PEERS,
    POSTGRESQL_PEERS,
    Absent,
    Peer,
    Running,
    Setup,
    configure,
    find,
    running,
)
from proxy.cli import main
from tests.support.certificates import make_certificates

if TYPE_CHECKING:
    from pathlib import Path


def setup(folder: Path, *, tls: bool = False) -> Setup:
    return Setup(
        server_port=5432,
        user="app",
        password="secret",
        pool_size=20,
        certificates=make_certificates(folder / "tls"),
        client_tls=tls,
        server_tls=tls,
    )


@pytest.mark.parametrize("peer", [*POSTGRESQL_PEERS, *MYSQL_PEERS], ids=lambda peer: peer.name)
@pytest.mark.parametrize("tls", [False, True])
def test_templates_are_filled_in(peer: Peer, tls: bool, tmp_path: Path) -> None:
    folder = tmp_path / "peer"
    folder.mkdir()
    own = replace(peer, unprivileged=False)
    text = configure(own, setup(tmp_path, tls=tls), folder, 6432).read_text()
    assert "6432" in text
    assert not re.search(r"\{[a-z_]+\}", text)
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize("peer", [POSTGRESQL_PEERS[0], MYSQL_PEERS[0]], ids=["pg", "mysql"])
def test_our_own_configuration_is_valid(peer: Peer, tmp_path: Path) -> None:
    folder = tmp_path / "peer"
    folder.mkdir()
    path = configure(peer, setup(tmp_path, tls=True), folder, 6432)
    assert main(["check", "--config", str(path)]) == 0


def test_a_missing_program_is_absent() -> None:
    with pytest.raises(Absent, match="no program nowhere-to-be-found"):
        find(replace(POSTGRESQL_PEERS[1], binary="nowhere-to-be-found"))
    with pytest.raises(Absent, match="no program not-to-be-found"):
        find(replace(POSTGRESQL_PEERS[1], binary="sh", beforehand=("not-to-be-found --all",)))


def test_what_cannot_end_tls_is_absent(tmp_path: Path) -> None:
    haproxy = next(peer for peer in POSTGRESQL_PEERS if peer.name == "haproxy")
    with (
        pytest.raises(Absent, match="does not end"),
        running(haproxy, setup(tmp_path, tls=True), tmp_path),
    ):
        pass


def test_an_unreliable_peer_takes_part_by_name_only(capsys: pytest.CaptureFixture[str]) -> None:
    names = [peer.name for peer in taking_part(parser().parse_args([]))]
    assert "pgagroal" not in names
    assert "without pgagroal" in capsys.readouterr().out
    named = taking_part(parser().parse_args(["--peers", "pgagroal,pgbouncer"]))
    assert [peer.name for peer in named] == ["pgbouncer", "pgagroal"]


def test_whoever_outlives_a_peer_is_ended_with_it() -> None:
    script = "import os, time; os.fork() or os.setpgid(0, 0); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    while len({os.getpgid(pid) for pid in members(process.pid)}) < 2:
        time.sleep(0.01)
    Running("forking", 1, process).stop()
    deadline = time.monotonic() + 5
    while members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert members(process.pid) == []
