"""Finding a MySQL or MariaDB to run: a program of this machine, else Docker."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from proxy.demo.engine import MAX_CONNECTIONS
from proxy.demo.processes import (
    DemoError,
    is_reachable_by_others,
    last_lines,
    spawn,
    stop,
    unprivileged_account,
    wait_exit,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BIN_VARIABLE = "TIDEGATE_DEMO_MYSQL_BIN"
IMAGE = "mysql:9"

MYSQL, MARIADB = "MySQL", "MariaDB"
OLDEST = {MYSQL: (8, 0), MARIADB: (10, 5)}

_PROGRAMS = ("mysqld", "mariadbd")
_SYSTEM_PROGRAMS = "/usr/sbin:/usr/local/sbin:/usr/libexec"
_PROBE_S = 20.0
_CREATE_S = 120.0

_SETTINGS = {
    "skip-name-resolve": "1",
    "max-connections": str(MAX_CONNECTIONS),
    "innodb-buffer-pool-size": "32M",
    "performance-schema": "OFF",
    # The data is thrown away in a minute: durability would only measure the disk.
    "innodb-flush-log-at-trx-commit": "0",
    "innodb-doublewrite": "0",
    "skip-log-bin": "1",
    "loose-mysqlx": "OFF",
    "loose-innodb-redo-log-capacity": "16M",
    "loose-innodb-log-file-size": "16M",
}

_NOTHING_FOUND = f"""\
found no MySQL or MariaDB to start. One of these will do:
    MySQL 8.0 or newer, or MariaDB 10.5 or newer, on this machine. Only its programs are used,
        never its data, and it need not run:
        Debian, Ubuntu:   apt-get install mariadb-server-core
        Fedora, RHEL:     dnf install mariadb-server
        macOS:            brew install mysql
    {BIN_VARIABLE}=DIRECTORY, if its mysqld or mariadbd is somewhere else than in PATH
    Docker, with its engine running: {IMAGE} is then downloaded and run"""


class Server(Protocol):
    """A way to run a database server."""

    log: Path
    patience_s: float
    """Seconds until it must have answered."""

    @property
    def title(self) -> str:
        """What it is, for people."""
        ...

    async def prepare(self) -> None:
        """Create its data, with a user ``root`` that may log in by TCP. Raises ``DemoError``."""
        ...

    def launch(self, port: int) -> subprocess.Popen[bytes]:
        """Start it on a port of 127.0.0.1."""
        ...

    async def stop(self, process: subprocess.Popen[bytes]) -> None:
        """Stop what ``launch`` started, whatever state it is in."""
        ...


@dataclass(frozen=True, slots=True)
class Program:
    """A server program."""

    path: Path
    product: str
    """``MySQL`` or ``MariaDB``."""
    version: str

    @property
    def first_options(self) -> list[str]:
        """What keeps the machine's own option files out; it must come first."""
        with self.path.open("rb") as file:
            # A script that starts the program has options of its own that come first.
            return [] if file.read(2) == b"#!" else ["--no-defaults"]


def read_version(text: str) -> tuple[str, str] | None:
    """Read product and version from what ``--version`` prints; ``None`` if it says neither."""
    found = re.search(r"Ver (\d+\.\d+[.\d]*)", text)
    if found is None:
        return None
    return (MARIADB if "MariaDB" in text else MYSQL), found[1].rstrip(".")


def examine(path: Path) -> Program | str:
    """Return the program if it can be used, else why not."""
    if unprivileged_account() is not None and not is_reachable_by_others(path.parent):
        return "only root can reach it, and as root a server does not run"
    try:
        run = subprocess.run(  # noqa: S603 - a server program found by its name
            [path, "--version"], capture_output=True, text=True, timeout=_PROBE_S, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired):
        return "does not run"
    if run.returncode != 0:
        return "does not run"
    said = read_version(run.stdout)
    if said is None:
        return "does not tell its version"
    product, version = said
    major, minor = version.split(".")[:2]
    if (int(major), int(minor)) < OLDEST[product]:
        return f"is {product} {version}, which is too old"
    return Program(path, product, version)


def candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    """Give the server programs of this machine, best first; those of the variable's folder only."""
    chosen = environment.get(BIN_VARIABLE, "")
    places = [chosen] if chosen else [environment.get("PATH", os.defpath), _SYSTEM_PROGRAMS]
    for place in places:
        for name in _PROGRAMS:
            if found := shutil.which(name, path=place):
                yield Path(found).absolute()


def _docker() -> str | None:
    """Return the ``docker`` program if its engine answers."""
    program = shutil.which("docker")
    if program is None:
        return None
    try:
        run = subprocess.run(  # noqa: S603 - found by its name
            [program, "info"], capture_output=True, timeout=_PROBE_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return program if run.returncode == 0 else None


def find_server(directory: Path, superuser_password: str) -> Server:
    """Return a server to start with files in a directory. Raises ``DemoError`` if there is none."""
    unusable = []
    for path in candidates(os.environ):
        examined = examine(path)
        if isinstance(examined, Program):
            return LocalServer(examined, directory, superuser_password)
        unusable.append(f"\n    {path} {examined}")
    chosen = os.environ.get(BIN_VARIABLE)
    if chosen:
        told = "".join(unusable) or "\n    there is no mysqld nor mariadbd in it"
        raise DemoError(f"{BIN_VARIABLE}={chosen} is of no use:{told}")
    if docker := _docker():
        return DockerServer(docker, directory, superuser_password)
    raise DemoError(_NOTHING_FOUND + ("\nOf no use:" + "".join(unusable) if unusable else ""))


def _options(settings: Mapping[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in settings.items()]


class LocalServer:
    """A server program of this machine on data of its own."""

    patience_s = 60.0

    def __init__(self, program: Program, directory: Path, superuser_password: str) -> None:
        self.log = directory / "mysql.log"
        self._program = program
        self._directory = directory
        self._home = directory / "mysql"
        self._superuser_password = superuser_password
        self._account = unprivileged_account()

    @property
    def title(self) -> str:
        """Product, version and where its program is."""
        program = self._program
        return f"{program.product} {program.version} from {program.path}"

    async def prepare(self) -> None:
        """Create the data directory. Raises ``DemoError``."""
        self.log.touch(mode=0o600)
        self._home.mkdir(mode=0o700)
        (self._home / "tmp").mkdir()
        init = self._home / "init.sql"
        init.touch(mode=0o600)
        # One statement to a line. Before the server listens, root has a password.
        init.write_text(
            "CREATE USER IF NOT EXISTS 'root'@'127.0.0.1';\n"
            f"ALTER USER 'root'@'127.0.0.1' IDENTIFIED BY '{self._superuser_password}';\n"
            "GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;\n"
            "ALTER USER 'root'@'localhost' ACCOUNT LOCK;\n"
        )
        if self._account is not None:
            for path in (self._home, self._home / "tmp", init):
                os.chown(path, self._account.uid, self._account.gid)
        process = self._run(*self._creation())
        try:
            status = await wait_exit(process, _CREATE_S)
        finally:
            if process.poll() is None:
                # MariaDB's is a script: the server that it started has to end with it.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if status != 0:
            raise DemoError(f"{self.title} could not create its data:{last_lines(self.log)}")

    def launch(self, port: int) -> subprocess.Popen[bytes]:
        """Start the server on a port of 127.0.0.1."""
        settings = {
            **_SETTINGS,
            "bind-address": "127.0.0.1",
            "port": str(port),
            "datadir": str(self._home / "data"),
            "tmpdir": str(self._home / "tmp"),
            # Relative to the data: a socket's whole path may not exceed 107 bytes.
            "socket": "mysql.sock",
            "pid-file": str(self._home / "mysql.pid"),
            "init-file": str(self._home / "init.sql"),
        }
        program = self._program
        return self._run(program.path, *program.first_options, *_options(settings))

    async def stop(self, process: subprocess.Popen[bytes]) -> None:
        """Shut it down, by force when it does not end."""
        await stop(process, (signal.SIGTERM,), patience_s=15.0)

    def _creation(self) -> list[str | Path]:
        program = self._program
        data = f"--datadir={self._home / 'data'}"
        if program.product == MYSQL:
            return [program.path, *program.first_options, "--initialize-insecure", data]
        # Root logs in by the Unix socket only, so that there is no moment without a password.
        options = ("--auth-root-authentication-method=socket", "--skip-test-db", data)
        return [*self._installer(), *options]

    def _installer(self) -> list[str | Path]:
        """Return the start of the command that creates MariaDB's data. Raises ``DemoError``."""
        name = "mariadb-install-db"
        base = self._program.path.parent.parent
        for folder in (self._program.path.parent, base / "bin", base / "scripts"):
            if (folder / name).exists():
                return [folder / name, "--no-defaults", f"--basedir={base}"]
        if found := shutil.which(name):
            return [found, "--no-defaults"]
        raise DemoError(f"there is no {name} beside {self._program.path} nor in PATH")

    def _run(self, *command: str | Path) -> subprocess.Popen[bytes]:
        return spawn(
            command,
            log=self.log,
            environment={"LC_ALL": "C", "TZ": "UTC", "PATH": os.environ.get("PATH", os.defpath)},
            directory=self._home,
            account=self._account,
        )


class DockerServer:
    """The ``mysql`` image, its data in memory."""

    patience_s = 600.0
    """The image may have to be downloaded first."""

    def __init__(self, docker: str, directory: Path, superuser_password: str) -> None:
        self.log = directory / "mysql.log"
        self._docker = docker
        self._directory = directory
        self._superuser_password = superuser_password
        self._name = directory.name

    @property
    def title(self) -> str:
        """The image's name."""
        return f"{IMAGE} in Docker"

    async def prepare(self) -> None:
        """Do nothing: the image creates its data."""
        self.log.touch(mode=0o600)

    def launch(self, port: int) -> subprocess.Popen[bytes]:
        """Run the image, with its port published on 127.0.0.1 only."""
        # The password comes by the environment: a command line is for everyone to read.
        return self._run(
            "run", "--rm", "--name", self._name, "--publish", f"127.0.0.1:{port}:3306",
            "--env", "MYSQL_ROOT_PASSWORD", "--tmpfs", "/var/lib/mysql",
            IMAGE, *_options(_SETTINGS),
        )  # fmt: skip

    async def stop(self, process: subprocess.Popen[bytes]) -> None:
        """Shut it down, and remove the container whatever it does."""
        await stop(process, (signal.SIGTERM,), patience_s=15.0)
        removal = self._run("rm", "--force", "--volumes", self._name)
        await wait_exit(removal, 15.0)
        await stop(removal, (signal.SIGTERM,), patience_s=5.0)

    def _run(self, *arguments: str) -> subprocess.Popen[bytes]:
        return spawn(
            (self._docker, *arguments),
            log=self.log,
            environment={**os.environ, "MYSQL_ROOT_PASSWORD": self._superuser_password},
            directory=self._directory,
        )
