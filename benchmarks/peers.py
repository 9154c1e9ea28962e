"""The proxies that are compared, as data, and how one is started and stopped."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import build, router
from tests.support.local_postgres import account, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.certificates import Certificates

TEMPLATES = Path(__file__).parent / "templates"
_START_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Peer:
    """A proxy of one kind."""

    name: str
    binary: str
    """Program to look for; empty for Tidegate, which is built."""
    files: tuple[str, ...]
    """Templates; the first is the configuration that ``arguments`` name as ``{config}``."""
    arguments: tuple[str, ...]
    tls: bool = True
    """Whether it can end TLS itself on both sides (HAProxy only relays here)."""
    transactions: bool = True
    """Whether it shares server connections by transaction."""
    unprivileged: bool = True
    """Whether it refuses to run as root."""
    compiled: bool = True
    workers: int = 1
    """Relay processes; only Tidegate has more than one."""


POSTGRESQL_PEERS = (
    Peer("tidegate", "", ("tidegate.toml",), ("serve", "--config", "{config}"), unprivileged=False),
    Peer("pgbouncer", "pgbouncer", ("pgbouncer.ini", "userlist.txt"), ("{config}",)),
    Peer("odyssey", "odyssey", ("odyssey.conf",), ("{config}",)),
    Peer("haproxy", "haproxy", ("haproxy.cfg",), ("-db", "-f", "{config}"), False, False, False),
)
INTERPRETED = Peer(
    "tidegate-interpreted",
    "",
    ("tidegate.toml",),
    ("serve", "--config", "{config}"),
    unprivileged=False,
    compiled=False,
)
WORKERS = tuple(
    replace(POSTGRESQL_PEERS[0], name=f"tidegate-{count}-workers", workers=count)
    for count in (1, 2, 4)
)
_SERVE = ("serve", "--config", "{config}")
MYSQL_PEERS = (
    Peer("tidegate", "", ("tidegate-mysql.toml",), _SERVE, unprivileged=False),
    Peer("mysqlrouter", "mysqlrouter", ("mysqlrouter.conf",), ("-c", "{config}")),
)
PEERS = {"postgresql": POSTGRESQL_PEERS, "mysql": MYSQL_PEERS}
"""By the name of an engine."""
LEFT_OUT = {
    "pgagroal": "its transaction mode wants a users file that only pgagroal-admin can write",
}
"""Peers this suite knows and cannot run yet, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What every peer of a comparison is given alike."""

    server_port: int
    user: str
    password: str
    pool_size: int
    certificates: Certificates
    client_tls: bool = False
    """Offer TLS to clients. Tidegate always offers it; that costs nothing unless it is used."""
    server_tls: bool = False

    def words(self, folder: Path, port: int) -> dict[str, Any]:
        """Return what the templates' placeholders stand for."""
        pem = f'tls_cert_file "{folder}/server.pem"\n    tls_key_file "{folder}/server.key"'
        plugins = router.plugin_folder()
        required = "require" if self.server_tls else "disable"
        return {
            "folder": folder,
            "port": port,
            "admin_port": free_port(),
            "server_port": self.server_port,
            "user": self.user,
            "password": self.password,
            "pool_size": self.pool_size,
            "certificate": folder / "server.pem",
            "key": folder / "server.key",
            "client_tls": "allow" if self.client_tls else "disable",
            "server_tls": required,
            "server_tls_odyssey": required,
            "plugin_folder": f"plugin_folder = {plugins}" if plugins else "",
            "tls_block": f'tls "allow"\n    {pem}' if self.client_tls else 'tls "disable"',
        }


class Absent(Exception):
    """A peer cannot take part; the message says why."""


class Running:
    """A started peer, or the database itself, which has no process to account for."""

    def __init__(self, name: str, port: int, process: subprocess.Popen[bytes] | None) -> None:
        self.name = name
        self.port = port
        self.process = process

    @property
    def session(self) -> int:
        """The session that all its processes are in; 0 for the database itself."""
        return self.process.pid if self.process else 0

    def stop(self) -> None:
        """End it and whatever it has started."""
        if self.process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(3)
                return


def find(peer: Peer) -> Path:
    """Find or build a peer's program. Raises ``Absent``."""
    if peer.binary:
        found = shutil.which(peer.binary) or shutil.which(peer.binary, path="/usr/sbin")
        if found is None:
            raise Absent(f"no program {peer.binary} on the PATH")
        return Path(found)
    try:
        return build.installed(compiled=peer.compiled)
    except subprocess.CalledProcessError as error:
        raise Absent(f"cannot be built: {error}") from error


def configure(peer: Peer, setup: Setup, folder: Path, port: int) -> Path:
    """Write a peer's configuration into ``folder``; return the path of its main file."""
    words = {**setup.words(folder, port), "workers": peer.workers}
    shutil.copy(setup.certificates.certificate, folder / "server.pem")
    shutil.copy(setup.certificates.key, folder / "server.key")
    for name in peer.files:
        (folder / name).write_text((TEMPLATES / name).read_text().format(**words))
    if peer.unprivileged:
        account().own(folder, *folder.iterdir())
    return folder / peer.files[0]


@contextlib.contextmanager
def running(peer: Peer, setup: Setup, base: Path) -> Iterator[Running]:
    """Run a peer for as long as the context lasts. Raises ``Absent``."""
    if not peer.tls and (setup.client_tls or setup.server_tls):
        raise Absent("does not end TLS")
    program = find(peer)
    folder = base / f"{peer.name}-{free_port()}"
    folder.mkdir()
    port = free_port()
    config = configure(peer, setup, folder, port)
    command = [str(program), *(part.format(config=config) for part in peer.arguments)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,
            **(account().popen_options() if peer.unprivileged else {}),
        )
    started = Running(peer.name, port, process)
    try:
        _wait_until_listening(started, folder / "log")
        yield started
    finally:
        started.stop()


def _wait_until_listening(peer: Running, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", peer.port), 1):
            return
        assert peer.process is not None
        if peer.process.poll() is not None or time.monotonic() > deadline:
            raise Absent(f"did not start: {log.read_text(errors='replace')[-500:]}")
        time.sleep(0.05)
