"""Connections to a server that answers, refuses, is silent, or is not there."""

from __future__ import annotations

import asyncio
import secrets
import select
import shutil
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.config.model import TargetConfig
from proxy.errors import ConnectFailed, ServerRefused
from proxy.net import dialer as dialling
from proxy.net.dialer import BACKOFF_FIRST_S, BACKOFF_MOST_S, Dialer, backoff_s, poller
from proxy.postgres.dialect import PostgresDialect
from proxy.postgres.messages import cancel_request
from proxy.wire.dialect import ServerFacts, ServerPlan, ServerSession
from tests.support.fake_postgres import error
from tests.support.target import FakeTarget, Served, running_target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from proxy.wire.steps import Conversation

DIALECT = PostgresDialect(secrets.token_bytes)


@pytest.fixture
async def target() -> AsyncIterator[FakeTarget]:
    """A server."""
    async with running_target() as started:
        yield started


@pytest.fixture
def folder() -> Iterator[Path]:
    """Somewhere with a path short enough for a Unix socket."""
    made = Path(tempfile.mkdtemp(prefix="tgd", dir="/tmp"))
    yield made
    shutil.rmtree(made)


def dialer_to(port: int, host: str = "127.0.0.1", timeout_s: float = 5.0) -> Dialer:
    config = TargetConfig(host=host, port=port, tls="disable", connect_timeout_s=timeout_s)
    return Dialer(config, DIALECT, None)


def plan(password: str = "", tls: str = "disable") -> ServerPlan:
    return ServerPlan(
        user="app",
        database="app",
        parameters={},
        tls_mode=tls,
        unix_socket=False,
        secret=DIALECT.server_secret(password, {}, None),
    )


def warm_up(init_query: str = "") -> Callable[[ServerSession], Conversation[ServerFacts]]:
    shared = DIALECT.shared_state(max_prepared_statements=10)
    return lambda session: DIALECT.warm_up(shared, session, init_query, 0.0, limits=True)


async def gone(target: FakeTarget) -> None:
    """Wait until the server sees no connection any more."""
    async with asyncio.timeout(5):
        while target.connections:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_open_logs_in_and_warms_up(target: FakeTarget) -> None:
    target.password = "secret"
    dialer = dialer_to(target.port)
    connection, session, facts = await dialer.open(plan("secret"), warm_up("SET work_mem = '8MB'"))
    assert session.process_id == 1
    assert session.cancel_request == cancel_request(1, (77).to_bytes(4, "big"))
    assert session.reported["TimeZone"] == "UTC"
    assert session.tls is None
    assert facts.usable_connections == 7
    assert any(text.startswith("SET work_mem") for text in target.database.executed)
    assert len(target.connections) == 1
    assert not connection.is_closed
    connection.abort()


async def test_refused_logins_leave_nothing_open(target: FakeTarget) -> None:
    target.refusal = error("53300", "sorry, too many clients already", "FATAL")
    with pytest.raises(ServerRefused) as caught:
        await dialer_to(target.port).open(plan(), warm_up())
    assert caught.value.code == "53300"
    assert caught.value.response == target.refusal
    await gone(target)


async def test_init_query_that_fails_leaves_nothing_open(target: FakeTarget) -> None:
    with pytest.raises(ServerRefused) as caught:
        await dialer_to(target.port).open(plan(), warm_up("SELECT fail"))
    assert caught.value.code == "22012"
    await gone(target)


async def test_silent_server_is_left(target: FakeTarget) -> None:
    target.silent = True
    with pytest.raises(ConnectFailed, match=r"did not answer within 0\.05 seconds"):
        await dialer_to(target.port, timeout_s=0.05).open(plan(), warm_up())
    await gone(target)


async def test_giving_up_leaves_nothing_open(target: FakeTarget) -> None:
    target.silent = True
    attempt = asyncio.ensure_future(dialer_to(target.port).open(plan(), warm_up()))
    async with asyncio.timeout(5):
        while not target.connections:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    await gone(target)


async def test_server_that_hangs_up(target: FakeTarget) -> None:
    target.silent = True
    attempt = asyncio.ensure_future(dialer_to(target.port).open(plan(), warm_up()))
    async with asyncio.timeout(5):
        while not target.connections:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        target.connections[0].transport.close()
        # Whether the end or a reset is seen depends on what was still on its way to the server.
        with pytest.raises(ConnectFailed, match=r"closed the connection during login|failed: "):
            await attempt


async def test_server_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ConnectFailed, match=rf"server 127\.0\.0\.1:{port}: .*{port}"):
        await dialer_to(port).open(plan(), warm_up())


async def test_host_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ConnectFailed, match="db:5432: Name or service not known"):
        await dialer_to(5432, "db").connect()


async def test_unix_socket(target: FakeTarget, folder: Path) -> None:
    loop = asyncio.get_running_loop()
    path = f"{folder}/.s.PGSQL.5433"
    server = await loop.create_unix_server(lambda: Served(target), path)
    connection, session, _ = await dialer_to(5433, str(folder)).open(plan(), warm_up())
    assert connection.is_unix
    assert session.process_id == 1
    connection.abort()
    server.close()
    with pytest.raises(ConnectFailed):
        await dialer_to(5434, str(folder)).connect()


@pytest.mark.parametrize("tls", [False, True])
async def test_cancel_is_delivered(target: FakeTarget, tls: bool) -> None:
    await dialer_to(target.port).cancel(cancel_request(42, b"\0\0\0\1"), tls=tls)
    assert target.cancels == [42], "the server has taken it by the time we return"
    await gone(target)


async def test_cancel_of_a_server_that_is_not_there_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    await dialer_to(port).cancel(cancel_request(1, b"\0\0\0\1"), tls=False)


async def test_cancel_is_bounded(target: FakeTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling, "CANCEL_S", 0.05)
    target.silent = True
    async with asyncio.timeout(5):
        await dialer_to(target.port).cancel(cancel_request(1, b"\0\0\0\1"), tls=False)
    await gone(target)
    assert target.cancels == []


async def test_poll_sees_what_the_event_loop_has_not(target: FakeTarget) -> None:
    connection, _, _ = await dialer_to(target.port).open(plan(), warm_up())
    poll = poller(connection.transport)
    assert poll(0) == []
    connection.transport.pause_reading()
    target.connections[0].say(b"bye")
    assert [events for _, events in poll(1000)] == [select.POLLIN]
    connection.abort()


def test_no_poll_without_a_socket() -> None:
    class Transport:
        def get_extra_info(self, name: str) -> None:
            assert name == "socket"

    assert poller(Transport()) is None


def test_back_off_doubles_up_to_a_limit() -> None:
    for failures in range(40):
        expected = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2**failures)
        waits = [backoff_s(failures) for _ in range(50)]
        assert all(0.8 * expected <= wait <= 1.2 * expected for wait in waits)
        assert len(set(waits)) > 1, "proxies that fail together must not retry together"


async def test_a_host_name_that_cannot_be_encoded() -> None:
    with pytest.raises(ConnectFailed, match=r"database\.\.example"):
        await dialer_to(5432, "database..example").connect()
