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
from benchmarks.accounting import members
from tests.support.local_postgres import account, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.certificates import Certificates

POOL_SIZE = 20
"""Server connections that each peer may open."""
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
    beforehand: tuple[str, ...] = ()
    """Commands that write files of its configuration which nothing else can."""
    client_tls: bool = True
    """Whether it ends TLS of its clients (HAProxy only relays here)."""
    server_tls: bool = True
    """Whether it speaks TLS to servers and shares connections then, too."""
    most_clients: int = 1_000_000
    """Where more clients would break it, or the machine."""
    unreliable: str = ""
    """Why it only takes part where it is asked for by name."""
    unprivileged: bool = True
    """Whether it refuses to run as root."""
    compiled: bool = True
    workers: int = 1
    """Relay processes; only Tidegate has more than one."""


POSTGRESQL_PEERS = (
    Peer("tidegate", "", ("tidegate.toml",), ("serve", "--config", "{config}"), unprivileged=False),
    Peer("pgbouncer", "pgbouncer", ("pgbouncer.ini", "userlist.txt"), ("{config}",)),
    Peer(
        "odyssey",
        "odyssey",
        ("odyssey.conf",),
        ("{config}",),
        # It takes more memory than the rest together, and as much for each client.
        most_clients=5000,
    ),
    Peer(
        "pgagroal",
        "pgagroal",
        ("pgagroal.conf", "pgagroal_hba.conf", "pgagroal_databases.conf"),
        ("-D", "{folder}"),
        beforehand=(
            "pgagroal-admin master-key -P benchmarks",
            "pgagroal-admin -f {folder}/pgagroal_users.conf -U {user} -P {password} user add",
        ),
        server_tls=False,
        most_clients=POOL_SIZE,
        # Seen with pgagroal 2.1.0, and read in its pipeline_transaction.c (transaction_server).
        unreliable="its transaction mode returns a connection only where ReadyForQuery begins a"
        " packet, so clients keep theirs; clients above the pool size hang, and some below it",
    ),
    Peer(
        "haproxy",
        "haproxy",
        ("haproxy.cfg",),
        ("-db", "-f", "{config}"),
        client_tls=False,
        server_tls=False,
        unprivileged=False,
        # It holds a server connection for each client: no more than the server has.
        most_clients=700,
    ),
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
    Peer(
        "proxysql",
        "proxysql",
        ("proxysql.cnf",),
        ("--foreground", "--initial", "--config", "{config}", "--datadir", "{folder}"),
        unprivileged=False,
    ),
)
PEERS = {"postgresql": POSTGRESQL_PEERS, "mysql": MYSQL_PEERS}
"""By the name of an engine."""


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
            "client_tls_pgagroal": "on" if self.client_tls else "off",
            "server_tls": required,
            "server_tls_odyssey": required,
            "plugin_folder": f"plugin_folder = {plugins}" if plugins else "",
            "tls_block": f'tls "allow"\n    {pem}' if self.client_tls else 'tls "disable"',
        }


class Absent(Exception):
    """A peer cannot take part; the message says why."""


class Running:
    """A started peer, or the database itself, which has no process to account for."""

    def __init__(
        self,
        name: str,
        port: int,
        process: subprocess.Popen[bytes] | None,
        most_clients: int = 1_000_000,
    ) -> None:
        self.name = name
        self.port = port
        self.process = process
        self.most_clients = most_clients

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
                break
        # pgagroal's workers outlive it, and wait for connections without a pause.
        for pid in members(self.session):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _which(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin")


def find(peer: Peer) -> Path:
    """Find or build a peer's program. Raises ``Absent``."""
    if peer.binary:
        for name in (peer.binary, *(line.split()[0] for line in peer.beforehand)):
            if _which(name) is None:
                raise Absent(f"no program {name} on the PATH")
        return Path(_which(peer.binary) or "")
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


def _filled(line: Sequence[str], words: dict[str, Any]) -> list[str]:
    return [part.format(**words) for part in line]


@contextlib.contextmanager
def running(peer: Peer, setup: Setup, base: Path) -> Iterator[Running]:
    """Run a peer for as long as the context lasts. Raises ``Absent``."""
    if setup.client_tls and not peer.client_tls:
        raise Absent("does not end its clients' TLS")
    if setup.server_tls and not peer.server_tls:
        raise Absent("does not pool connections with TLS to the server")
    program = find(peer)
    folder = base / f"{peer.name}-{free_port()}"
    folder.mkdir()
    port = free_port()
    config = configure(peer, setup, folder, port)
    words = {"config": config, "folder": folder, "user": setup.user, "password": setup.password}
    options: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "cwd": folder,
        "env": {**os.environ, "HOME": str(folder)},
        **(account().popen_options() if peer.unprivileged else {}),
    }
    for line in peer.beforehand:
        command = _filled(line.split(), words)
        done = subprocess.run(command, capture_output=True, text=True, **options)
        if done.returncode != 0:
            raise Absent(f"{line} failed: {(done.stdout + done.stderr)[-300:]}")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(program), *_filled(peer.arguments, words)],
            stdout=log,
            stderr=log,
            start_new_session=True,
            **options,
        )
    started = Running(peer.name, port, process, peer.most_clients)
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
