"""The proxy as its users run it: a subprocess, a configuration file, signals and an admin port."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg.conninfo import make_conninfo

from tests.support.local_postgres import free_port
from tests.support.servers import ROLES, PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.certificates import Certificates

ROOT = Path(__file__).resolve().parents[2]
"""The checkout: ``proxy`` is imported from here, so a compiled copy is tested as it is."""

START_TIMEOUT_S = 30.0
GRACE_S = 5
TROUBLE = ("Traceback", "never retrieved", "never awaited", "Task was destroyed")
"""What a healthy log never contains."""

Table = dict[str, Any]


def _inline(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    if isinstance(value, str | Path):
        return json.dumps(str(value))
    return repr(value)


def _lines(heading: str, table: Table) -> list[str]:
    return [heading, *(f"{key} = {_inline(value)}" for key, value in table.items()), ""]


def auth_entries(*users: str) -> list[Table]:
    """Give auth entries for ``ROLES``; clients of any of them log in with SCRAM."""
    return [
        {"user": name, "credential": f"static:{ROLES[name].password}"} for name in users or ROLES
    ]


@dataclass(slots=True)
class ProxySettings:
    """A configuration file in the making: one proxy called ``main`` in front of one server."""

    server: PostgresServer
    group: Table = field(default_factory=dict)
    """``[proxy.main.target_group]``."""
    proxy: Table = field(default_factory=dict)
    """``[proxy.main]``."""
    process: Table = field(default_factory=dict)
    """``[process]``."""
    target: Table = field(default_factory=dict)
    """``[[proxy.main.target]]``, on top of the server's address."""
    auth: list[Table] = field(default_factory=auth_entries)
    certificates: Certificates | None = None
    """What the proxy shows to clients; with ``None`` it offers no TLS."""
    unix_socket: str = ""
    """Path of a Unix socket to listen on too."""
    port: int = field(default_factory=free_port)
    admin_port: int = field(default_factory=free_port)

    def toml(self) -> str:
        """Write the file's text."""
        process = {
            "admin_listen": f"127.0.0.1:{self.admin_port}",
            "shutdown_grace_s": GRACE_S,
            **self.process,
        }
        proxy: Table = {"debug_logging": True}
        if self.certificates:
            proxy |= {"tls_cert": self.certificates.certificate, "tls_key": self.certificates.key}
        target = {"host": self.server.host, "port": self.server.port, "tls": "disable"}
        group = {"max_connections": 5, "connection_borrow_timeout_s": 20.0, **self.group}
        lines = _lines("[process]", process) + _lines("[proxy.main]", proxy | self.proxy)
        listen = [f"127.0.0.1:{self.port}"]
        listen += [f"unix:{self.unix_socket}"] if self.unix_socket else []
        for address in listen:
            lines += _lines("[[proxy.main.endpoint]]", {"listen": address})
        for entry in self.auth:
            lines += _lines("[[proxy.main.auth]]", entry)
        lines += _lines("[proxy.main.target_group]", group)
        lines += _lines("[[proxy.main.target]]", target | self.target)
        return "\n".join(lines)


class ProxyProcess:
    """A running ``tidegate serve``."""

    host = "127.0.0.1"

    def __init__(self, settings: ProxySettings, folder: Path) -> None:
        """Write the configuration into ``folder`` and start; ``wait_ready`` comes next."""
        self.settings = settings
        self.server = settings.server
        self.port = settings.port
        self.certificates = settings.certificates
        self.config_file = folder / "tidegate.toml"
        self.log_file = folder / "tidegate.log"
        self.write_config()
        command = [sys.executable, "-m", "proxy", "serve", "--config", str(self.config_file)]
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def write_config(self) -> None:
        """Write the settings as they are now to the configuration file."""
        replacement = self.config_file.with_suffix(".new")
        replacement.write_text(self.settings.toml())
        replacement.replace(self.config_file)

    def wait_ready(self) -> None:
        """Wait until ``/readyz`` says yes."""
        self.wait_for(lambda: self.http_status("/readyz") == 200, "ready", START_TIMEOUT_S)

    def wait_for(self, condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
        """Poll until ``condition()``; fails with the end of the log when it takes too long."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self.process.poll() is not None:
                raise AssertionError(f"proxy ended ({self.process.returncode}):\n{self.tail()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"not {what} after {timeout_s} s:\n{self.tail()}")
            time.sleep(0.02)

    def http(self, path: str) -> str:
        """Fetch a page of the admin server."""
        url = f"http://127.0.0.1:{self.settings.admin_port}{path}"
        with urllib.request.urlopen(url, timeout=10) as reply:
            text: str = reply.read().decode()
            return text

    def http_status(self, path: str) -> int:
        """Give the status code of an admin page; 0 when nobody answers."""
        try:
            self.http(path)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0
        return 200

    def metric(self, name: str, **labels: str) -> float:
        """Add up the samples of one metric that carry these labels. Raises ``KeyError``."""
        total, seen = 0.0, False
        for line in self.http("/metrics").splitlines():
            match = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)(?: \d+)?", line)
            if match is None or match[1] != name:
                continue
            found = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
            if labels.items() <= found.items():
                total, seen = total + float(match[3]), True
        if not seen:
            raise KeyError(f"no metric {name} with {labels}")
        return total

    def log(self) -> str:
        """Give the whole log."""
        return self.log_file.read_text(errors="replace")

    def tail(self) -> str:
        """Give the end of the log."""
        return self.log()[-4000:]

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def reload(self) -> None:
        """Apply changed settings with SIGHUP and wait until the log says so."""
        before = len(self.log())
        self.write_config()
        self.signal(signal.SIGHUP)
        self.wait_for(lambda: "reloaded" in self.log()[before:], "reloaded")

    def stop(self) -> None:
        """Stop it with SIGTERM; it must end with exit code 0 and leave a log without trouble."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(GRACE_S + 15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"did not stop on SIGTERM:\n{self.tail()}") from None
        assert self.process.returncode == 0, f"exit {self.process.returncode}:\n{self.tail()}"
        self.assert_healthy_log()

    def assert_healthy_log(self) -> None:
        """Fail if the log shows a crash, or one of the passwords."""
        text = self.log()
        for word in TROUBLE:
            position = text.find(word)
            assert position < 0, f"{word} in the log:\n{text[max(0, position - 500) :][:4000]}"
        for role in ROLES.values():
            assert role.password not in text, f"the password of {role.name} is in the log"

    def memory_bytes(self) -> int:
        """Give its resident memory (Linux)."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        """Count its open file descriptors (Linux)."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def conninfo(self, user: str = "app", database: str | None = None, **options: object) -> str:
        """Give a libpq connection string to the proxy with the role's password."""
        merged: dict[str, Any] = {"host": self.host, "port": self.port, **options}
        return make_conninfo(self.server.conninfo(user, database), **merged)


StartProxy = Callable[[ProxySettings], ProxyProcess]
"""The ``start_proxy`` fixture."""


@contextlib.contextmanager
def running_proxy(settings: ProxySettings, folder: Path) -> Iterator[ProxyProcess]:
    """Run the proxy for as long as the context lasts and check how it ended."""
    proxy = ProxyProcess(settings, folder)
    try:
        proxy.wait_ready()
        yield proxy
        proxy.stop()
    finally:
        if proxy.process.poll() is None:
            proxy.process.kill()
            proxy.process.wait()
