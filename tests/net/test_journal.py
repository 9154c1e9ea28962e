"""Events of sessions as log records, and the gauges that follow them."""

from __future__ import annotations

import logging
from time import monotonic
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from proxy.errors import ClientAuthError, CredentialError, ServerRefused, TooManyClients
from proxy.net.journal import GatewayJournal
from proxy.net.oversight import Oversight
from tests.support import messages as wire
from tests.support.stand import Stand

if TYPE_CHECKING:
    from collections.abc import Iterator


class Records(logging.Handler):
    """Keeps what is logged, as (level, event, fields)."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[str, str, dict[str, Any]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        fields = record.__dict__["fields"]
        self.kept.append((record.levelname, record.getMessage(), fields))

    def only(self) -> tuple[str, str, dict[str, Any]]:
        """Take the one record there is."""
        (record,) = self.kept
        self.kept.clear()
        return record

    def names(self) -> list[str]:
        """Take the names of the events."""
        names = [name for _, name, _ in self.kept]
        self.kept.clear()
        return names


@pytest.fixture
def records() -> Iterator[Records]:
    """What goes to the log, debugging included."""
    log, handler = logging.getLogger("tidegate"), Records()
    level = log.level
    log.setLevel(logging.DEBUG)
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)
    log.setLevel(level)


class Reported(Stand):
    """A stand whose journal is a gateway's."""

    def __init__(self, *, debug: bool = False, engine: str = "postgresql") -> None:
        super().__init__()
        self.cancelled: list[object] = []
        gateway: Any = SimpleNamespace(
            config=SimpleNamespace(name="main", debug_logging=debug, engine=engine),
            clients={},
            servers=set(),
            cancel_server=self.cancelled.append,
            oversight=Oversight(),
        )
        self.gateway = gateway
        self.told = GatewayJournal(gateway)
        self.journal = self.told  # type: ignore[assignment]


def test_a_session_with_debugging(records: Records) -> None:
    stand = Reported(debug=True)
    client = stand.client()
    for sql in ("LISTEN c", "UNLISTEN *"):
        client.send(wire.query(sql))
        stand.run()
    pinned = records.kept[1]
    fields = {"proxy": "main", "client": 1, "server": 0, "reason": "listen"}
    assert pinned == ("DEBUG", "pinned", fields)
    assert records.kept[-1][2]["held_s"] >= 0
    assert records.names() == ["borrowed", "pinned", "unpinned", "returned"]


def test_a_session_without_debugging(records: Records) -> None:
    stand = Reported()
    client = stand.client()
    for sql in ("LISTEN c", "UNLISTEN *"):
        client.send(wire.query(sql))
        stand.run()
    assert records.names() == []
    assert stand.pool.counters.pins_by_reason == {"listen": 1}, "counted all the same"


@pytest.mark.parametrize("tls", [True, False])
def test_end_of_a_client(records: Records, tls: bool) -> None:
    stand = Reported()
    client, counters = stand.client(), stand.endpoint
    client.link.tls = tls
    counters.clients = counters.clients_tls = counters.clients_no_tls = 5
    stand.pool.sessions = 2
    stand.gateway.clients[client.link.number] = client.link
    client.send(wire.TERMINATE)
    stand.run()
    assert stand.gateway.clients == {}
    assert stand.pool.sessions == 1
    assert (counters.clients, counters.clients_closed) == (4, 1)
    assert (counters.clients_tls, counters.clients_no_tls) == ((4, 5) if tls else (5, 4))
    assert counters.closed_by_reason == {"terminated": 1}
    expected = {"proxy": "main", "client": 1, "reason": "terminated"}
    assert records.only() == ("INFO", "client_closed", expected)


def test_end_of_a_server_connection(records: Records) -> None:
    stand = Reported()
    client = stand.client()
    client.send(wire.query("SELECT 1"))
    stand.run()
    server = stand.servers[0]
    server.link.number = 77
    stand.gateway.servers.add(server.link)
    server.frozen = True
    stand.pool.retire_all()
    assert stand.gateway.servers == {server.link}, "its process has not ended yet"
    server.frozen = False
    stand.run()
    assert stand.gateway.servers == set()
    assert stand.pool.counters.closed_by_reason == {"replaced": 1}
    expected = {"proxy": "main", "server": 77, "pool": "db/user", "reason": "replaced"}
    assert records.only() == ("INFO", "server_closed", expected)


def test_cancel_is_passed_on() -> None:
    stand = Reported()
    client = stand.client()
    client.send(wire.query("SELECT pg_sleep(9)"))
    stand.run()
    client.vanish()
    stand.run()
    assert stand.cancelled == [stand.servers[0].link]


@pytest.mark.parametrize(
    ("error", "level"),
    [(ClientAuthError("no"), "WARNING"), (TooManyClients("full"), "INFO")],
)
def test_failed_logins(records: Records, error: Any, level: str) -> None:  # noqa: ANN401
    connection: Any = SimpleNamespace(peername=("10.0.0.1", 5))
    Reported().told.login_failed(connection, error)
    fields = {
        "proxy": "main",
        "peer": ("10.0.0.1", 5),
        "sqlstate": error.sqlstate,
        "error": str(error),
    }
    assert records.only() == (level, "client_login_failed", fields)


def test_errors_have_the_codes_of_their_engine(records: Records) -> None:
    connection: Any = SimpleNamespace(peername=("10.0.0.1", 5))
    stand = Reported(engine="mysql")
    stand.told.login_failed(connection, ClientAuthError("no"))
    assert records.only()[2]["errno"] == 1045
    refusal = ServerRefused("no such database", response=b"\xff", code="42000", errno=1049)
    stand.told.open_failed(stand.pool, refusal)
    assert records.only()[2]["errno"] == 1049


def test_cancels_that_could_not_be_delivered(records: Records) -> None:
    stand = Reported(engine="mysql")
    server: Any = SimpleNamespace(number=77)
    stand.told.cancel_failed(server, CredentialError("no such file"))
    expected = {"proxy": "main", "server": 77, "error": "no such file"}
    assert records.only() == ("WARNING", "cancel_failed", expected)


@pytest.mark.parametrize(("version", "told"), [("TLSv1.3", "TLSv1.3"), ("", "no")])
def test_logins(records: Records, version: str, told: str) -> None:
    stand = Reported()
    tls = SimpleNamespace(version=version) if version else None
    login: Any = SimpleNamespace(user="app", database="shop", tls=tls)
    stand.told.client_connected(stand.client().link, login)
    fields = {"proxy": "main", "client": 1, "user": "app", "database": "shop", "tls": told}
    assert records.only() == ("INFO", "client_connected", fields)


def test_connections_that_could_not_be_opened(records: Records) -> None:
    stand = Reported()
    stand.pool.retry_at = monotonic() + 50
    refusal = ServerRefused("no such database", response=b"E", code="3D000")
    stand.told.open_failed(stand.pool, refusal)
    level, name, fields = records.only()
    assert (level, name) == ("WARNING", "server_connection_failed")
    assert fields["sqlstate"] == "3D000", "the server's own, not ours"
    assert fields["pool"] == "db/user"
    assert 40 < fields["retry_in_s"] <= 50


def test_secrets_are_not_told(records: Records) -> None:
    Reported().told.credential_failed("static:hunter2", CredentialError("it failed"))
    level, name, fields = records.only()
    assert (level, name) == ("ERROR", "credential_failed")
    assert fields == {"proxy": "main", "scheme": "static", "error": "it failed"}
