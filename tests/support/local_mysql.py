"""Starting MySQL and MariaDB from binaries, each on a data folder copied from a template."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.certificates import Certificates, make_certificates
from tests.support.local_postgres import NoServer, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MYSQL, MARIADB = "mysql", "mariadb"
START_TIMEOUT_S = 60.0
_ROOT = Path(__file__).resolve().parents[2]
# The compiled twin's copy of the checkout lies in the cache itself, and shares it.
CACHE = _ROOT.parent if _ROOT.parent.name == ".cache" else _ROOT / ".cache"
UNPACKED = CACHE / "mysql" / "bin"
"""Where ``.ci/mysql-server`` puts the programs it unpacks."""
TEMPLATES = CACHE / "servers"
"""Fresh data folders by server version: making one takes seconds, copying it a fraction of one."""

BIN_VARIABLES = {MYSQL: "TIDEGATE_TEST_MYSQL_BIN", MARIADB: "TIDEGATE_TEST_MARIADB_BIN"}

SETTINGS = {
    "bind-address": "127.0.0.1",
    "skip-name-resolve": "1",
    "max-connections": "150",
    "innodb-flush-log-at-trx-commit": "0",
    "innodb-doublewrite": "0",
    "innodb-buffer-pool-size": "32M",
    "performance-schema": "OFF",
    "skip-log-bin": "1",
    "max-allowed-packet": "64M",
    "local-infile": "1",
    "default-time-zone": "+00:00",
    "log-error-verbosity": "2",
    "loose-mysqlx": "OFF",
    "loose-innodb-redo-log-capacity": "16M",
    "loose-innodb-log-file-size": "16M",
}
KIND_SETTINGS: dict[str, dict[str, str]] = {
    MYSQL: {},
    MARIADB: {
        "log-error-verbosity": "",
        "log-warnings": "1",
        "character-set-server": "utf8mb4",
    },
}


def candidates(kind: str) -> Iterator[Path]:
    """Give the server programs of this kind on this machine, best first."""
    chosen = os.environ.get(BIN_VARIABLES[kind], "")
    names = ("mysqld",) if kind == MYSQL else ("mariadbd", "mysqld")
    for name in names:
        if chosen:
            yield Path(chosen) / name
        else:
            if kind == MYSQL and (UNPACKED / name).exists():
                yield UNPACKED / name
            found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
            if found:
                yield Path(found)


def server_version(program: Path) -> str:
    """Give what the program says of its version; ``""`` if it does not run."""
    with contextlib.suppress(OSError):
        run = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30)
        return run.stdout.strip() if run.returncode == 0 else ""
    return ""


def find_program(kind: str) -> Path:
    """Find the server program of this kind. Raises ``NoServer``."""
    tried = []
    for program in candidates(kind):
        version = server_version(program)
        if version and ("MariaDB" in version) == (kind == MARIADB):
            return program
        tried.append(f"{program} ({version or 'does not run'})")
    where = BIN_VARIABLES[kind]
    told = f"; looked at {', '.join(tried)}" if tried else ""
    how = "run .ci/mysql-server, or " if kind == MYSQL else "install mariadb-server, or "
    raise NoServer(f"no {kind} server: {how}set {where} to the folder of its programs{told}")


def _run(command: list[str]) -> None:
    run = subprocess.run(command, capture_output=True, cwd="/")
    if run.returncode != 0:
        raise NoServer(f"{command[0]} failed: {run.stderr.decode(errors='replace')[-2000:]}")


def _as_root() -> list[str]:
    return ["--user=root"] if os.geteuid() == 0 else []


def _create(kind: str, program: Path, data: Path) -> None:
    """Make a data folder."""
    if kind == MYSQL:
        # A wrapper that says where its own files are brings its own --no-defaults.
        own = [] if _wrapped(program) else ["--no-defaults"]
        _run([str(program), *own, "--initialize-insecure", f"--datadir={data}", *_as_root()])
        return
    installer = program.parent / "mariadb-install-db"
    script = str(installer) if installer.exists() else shutil.which("mariadb-install-db")
    if script is None:
        raise NoServer(f"no mariadb-install-db beside {program} or in PATH")
    options = ["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]
    _run([script, *options, f"--datadir={data}", *_as_root()])


def _wrapped(program: Path) -> bool:
    with program.open("rb") as file:
        return file.read(2) == b"#!"


def template(kind: str, program: Path) -> Path:
    """Give a fresh data folder to copy, made at first use."""
    stamp = "".join(c if c.isalnum() else "-" for c in server_version(program).partition("Ver")[2])
    ready = TEMPLATES / f"{kind}{stamp}"
    if not ready.exists():
        TEMPLATES.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=TEMPLATES) as folder:
            made = Path(folder) / "data"
            _create(kind, program, made)
            with contextlib.suppress(OSError):  # Another process was first.
                made.rename(ready)
    return ready


@dataclass(slots=True)
class LocalMysql:
    """A server process of ours: a data folder, a port, and the way to start and stop it."""

    base: Path
    """Temporary folder that holds everything of it."""
    kind: str
    program: Path
    init: list[str]
    """SQL statements, one line each, that it runs at every start."""
    settings: dict[str, str] = field(default_factory=dict)
    """Options on top of ``SETTINGS``."""
    port: int = field(default_factory=free_port)
    certificates: Certificates | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.base / "data"

    @property
    def socket(self) -> Path:
        """Its Unix socket."""
        return self.base / "s.sock"

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self.base / "log"

    def create(self) -> None:
        """Copy the data folder and make certificates."""
        shutil.copytree(template(self.kind, self.program), self.data)
        # Else copies of one template would pass for one server.
        (self.data / "auto.cnf").unlink(missing_ok=True)
        self.certificates = make_certificates(self.base / "tls")
        (self.base / "init.sql").write_text("\n".join(self.init) + "\n")

    def _command(self) -> list[str]:
        assert self.certificates is not None
        merged = {
            **SETTINGS,
            "datadir": str(self.data),
            "socket": str(self.socket),
            "pid-file": str(self.base / "pid"),
            "port": str(self.port),
            "init-file": str(self.base / "init.sql"),
            "ssl-ca": str(self.certificates.authority),
            "ssl-cert": str(self.certificates.certificate),
            "ssl-key": str(self.certificates.key),
            **KIND_SETTINGS[self.kind],
            **self.settings,
        }
        command = [str(self.program), *([] if _wrapped(self.program) else ["--no-defaults"])]
        command += [f"--{name}={value}" for name, value in merged.items() if value]
        return command + _as_root()

    def start(self, answers: Callable[[], bool]) -> None:
        """Run it and wait until ``answers()``. Raises ``NoServer`` with the end of its log."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command(), stdout=log, stderr=log, cwd="/")
        deadline = time.monotonic() + START_TIMEOUT_S
        while not answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                tail = self.log.read_text(errors="replace")[-2000:]
                raise NoServer(f"{self.kind} did not start: {tail}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it: an orderly shutdown, a kill if that takes too long."""
        if self.process is None or self.process.poll() is not None:
            return
        for number, patience_s in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience_s)
                return


@contextlib.contextmanager
def local_mysql(kind: str, init: list[str], settings: dict[str, str]) -> Iterator[LocalMysql]:
    """Give a server that is created but not started, in a folder that is removed at the end."""
    program = find_program(kind)
    # A Unix socket's path may not exceed 107 bytes, so the folder's name is short.
    base = Path(tempfile.mkdtemp(prefix="tgmy", dir="/tmp"))
    local = LocalMysql(base, kind, program, init, settings)
    try:
        local.create()
        yield local
    finally:
        local.stop()
        shutil.rmtree(base, ignore_errors=True)
