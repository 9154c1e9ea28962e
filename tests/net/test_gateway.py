"""A whole proxy in one process: real sockets, sessions in memory behind them."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from proxy.config.model import AuthConfig, ProxyConfig, TargetConfig, TargetGroupConfig
from proxy.credentials.base import Credential
from proxy.credentials.cache import LOOK_S, CredentialCache
from proxy.errors import CredentialError, ServerRefused
from proxy.metrics.counters import EndpointCounters
from proxy.net.conversation import ConversationProtocol
from proxy.net.dialer import Dialer
from proxy.net.gateway import Gateway
from proxy.net.runtime import spawn
from proxy.postgres.dialect import PostgresDialect
from proxy.postgres.login import ServerLogin, login, server_secret
from proxy.postgres.warmup import ask
from proxy.wire.steps import Read
from tests.support import messages as wire
from tests.support.fake_postgres import error
from tests.support.target import FakeTarget, running_target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from proxy.pool.pool import Pool
    from proxy.wire.steps import Conversation

TRUSTED = (AuthConfig(user="*", client_auth="trust", credential="test:all"),)
CHECKED = (AuthConfig(user="app", client_auth="scram-sha-256", credential="test:all"),)


class Provider:
    """A source of one secret for everybody."""

    def __init__(self) -> None:
        self.secret = "one"
        self.fails = False
        self.has_changed = False

    async def fetch(self, user: str) -> Credential:
        if self.fails:
            raise CredentialError("the source is down")
        return Credential(self.secret)

    def changed(self) -> bool:
        changed, self.has_changed = self.has_changed, False
        return changed


def next_message() -> Conversation[wire.Message]:
    """Read one message that nobody asked for."""
    header = yield Read(5)
    payload = yield Read(int.from_bytes(header[1:], "big") - 4)
    return wire.Message(chr(header[0]), payload)


class Program:
    """A client program that has logged in."""

    def __init__(self, connection: ConversationProtocol, session: ServerLogin) -> None:
        self.connection = connection
        self.session = session

    async def ask(self, sql: str) -> list[list[bytes | None]]:
        """Run a query. Raises ``ServerRefused`` with the error."""
        return await self.connection.run(ask(sql))

    async def last_words(self) -> str:
        """Wait for the end; give the SQLSTATE told before."""
        message = await self.connection.run(next_message())
        with pytest.raises(EOFError):
            await self.connection.first_byte()
        return message.fields["C"]


class Place:
    """A proxy, the server behind it, and where clients find it."""

    def __init__(self, gateway: Gateway, target: FakeTarget, provider: Provider) -> None:
        self.gateway = gateway
        self.target = target
        self.provider = provider
        self.counters = EndpointCounters()
        self.port = 0
        self.now = 1000.0
        """The credential cache's clock."""
        self.peername: object = None
        """Where clients seem to come from, if not from where they do."""

    def accept(self, connection: ConversationProtocol) -> None:
        """Serve a connection as a listener does."""
        connection.peername = self.peername or connection.peername
        spawn(self.gateway.serve(connection, self.counters), "login")

    @property
    def pool(self) -> Pool:
        """The only pool."""
        (pool,) = self.gateway.pools.values()
        return pool

    async def connect(self) -> ConversationProtocol:
        """Connect and say nothing."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(ConversationProtocol, "127.0.0.1", self.port)
        return connection

    async def program(self, user: str = "app", password: str = "one") -> Program:
        """Log in. Raises ``ServerRefused``."""
        connection = await self.connect()
        secret = server_secret(password, {}, None)
        session = await connection.run(
            login(
                user=user,
                database="app",
                parameters={},
                tls_mode="disable",
                unix_socket=True,
                secret=secret,
                nonce=secrets.token_bytes,
            )
        )
        return Program(connection, session)

    async def refused(self, user: str = "app", password: str = "one") -> ServerRefused:
        """Fail to log in."""
        with pytest.raises(ServerRefused) as caught:
            await self.program(user, password)
        return caught.value

    async def cancel(self, number: int, key: bytes) -> None:
        """Send a cancel request and wait until it has been taken."""
        connection = await self.connect()
        connection.send(wire.cancel(number, key))
        await connection.closed()
        connection.abort()


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop turn until something that has no event of its own has come true."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def proxied(
    group: TargetGroupConfig | None = None, *, allow_public: bool = False, **settings: object
) -> AsyncIterator[Place]:
    """Run a proxy; no test takes longer than ten seconds."""
    async with asyncio.timeout(10), running_target() as target:
        at = TargetConfig(host="127.0.0.1", port=target.port, tls="disable")
        config = ProxyConfig(
            name="main",
            auth=TRUSTED,
            target=(at,),
            target_group=group or TargetGroupConfig(max_connections=1),
        )
        dialect, provider = PostgresDialect(secrets.token_bytes), Provider()
        credentials = CredentialCache(clock=lambda: place.now, open_provider=lambda _: provider)
        gateway = Gateway(
            replace(config, **settings),  # type: ignore[arg-type]
            dialect,
            Dialer(at, dialect, None),
            credentials,
            None,
            allow_public=allow_public,
        )
        place = Place(gateway, target, provider)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: ConversationProtocol(place.accept), "127.0.0.1")
        place.port = server.sockets[0].getsockname()[1]
        try:
            yield place
        finally:
            server.close()
            gateway.close_clients()
            await gateway.close_servers(0.0)
            await until(lambda: not gateway.servers and not gateway.logins)


# Clients come and go.


async def test_a_session_from_beginning_to_end() -> None:
    async with proxied() as place:
        program = await place.program()
        assert await program.ask("SELECT 5") == [[b"5"]]
        counters = place.counters
        assert (counters.clients, counters.clients_no_tls, counters.setup_succeeded) == (1, 1, 1)
        assert place.pool.sessions == 1
        assert len(place.pool.idle) == 1
        program.connection.send(wire.TERMINATE)
        await program.connection.closed()
        await until(lambda: not place.gateway.clients)
        assert (counters.clients, counters.clients_no_tls, counters.clients_closed) == (0, 0, 1)
        assert counters.closed_by_reason == {"terminated": 1}
        assert place.pool.sessions == 0
        assert place.pool.counters.setup_succeeded == 1


async def test_too_many_clients() -> None:
    async with proxied(max_client_connections=1) as place:
        first = await place.program()
        refusal = await place.refused()
        assert refusal.code == "53300"
        assert place.counters.setup_failed_other == 1
        assert await first.ask("SELECT 1") == [[b"1"]], "those who are in stay in"
        first.connection.abort()
        await until(lambda: not place.gateway.clients)
        assert await (await place.program()).ask("SELECT 2") == [[b"2"]]


async def test_clients_that_log_in_count_too() -> None:
    async with proxied(max_client_connections=1) as place:
        silent = await place.connect()
        await until(lambda: len(place.gateway.logins) == 1)
        assert (await place.refused()).code == "53300"
        silent.abort()
        await until(lambda: not place.gateway.logins)
        await place.program()


async def test_unknown_user_looks_like_a_wrong_password() -> None:
    async with proxied(auth=CHECKED) as place:
        wrong = await place.refused("app", "two")
        unknown = await place.refused("who", "one")
        assert wrong.code == "28P01"
        assert unknown.response == wrong.response.replace(b'"app"', b'"who"')
        assert place.counters.setup_failed_auth == 2
        assert place.counters.clients == 0
        assert place.target.logins == 0, "the server hears nothing of them"
        assert await (await place.program()).ask("SELECT 1") == [[b"1"]]


async def test_secret_that_cannot_be_fetched_looks_like_a_wrong_password() -> None:
    async with proxied(auth=CHECKED) as place:
        place.provider.fails = True
        refusal = await place.refused()
        place.provider.fails = False
        place.now += 10_000
        assert (await place.refused("app", "two")).response == refusal.response
        await place.program()


async def test_slow_login() -> None:
    async with proxied(login_timeout_s=0.05) as place:
        connection = await place.connect()
        message = await connection.run(next_message())
        assert message.fields["C"] == "08006"
        assert place.counters.setup_failed_other == 1
        await connection.closed()


@pytest.mark.parametrize("allow_public", [False, True])
async def test_public_clients(allow_public: bool) -> None:
    trusting = replace(TRUSTED[0], allow_trust_from_network=True)
    async with proxied(allow_public=allow_public, auth=(trusting,)) as place:
        place.peername = ("192.0.2.1", 5)
        if allow_public:
            await place.program()
        else:
            assert (await place.refused()).code == "28P01"
            assert place.target.logins == 0


# Cancelling.


async def test_cancel_with_a_wrong_key_is_ignored() -> None:
    async with proxied() as place:
        program = await place.program()
        query = spawn(program.ask("SELECT pg_sleep(9)"), "query")
        await until(lambda: any(c.session and c.session.sleeping for c in place.target.connections))
        number, key = program.session.process_id, program.session.secret
        await place.cancel(number, bytes(len(key)))
        await place.cancel(number, key[:-1])
        await place.cancel(number + 1, key)
        (link,) = place.gateway.servers
        assert link.cancelling == 0
        assert place.target.cancels == []
        await place.cancel(number, key)
        with pytest.raises(ServerRefused) as caught:
            await query
        assert caught.value.code == "57014"
        assert place.target.cancels == [1]
        assert await program.ask("SELECT 3") == [[b"3"]]
        assert place.pool.counters.cancels == 1


async def test_cancel_of_a_query_that_waits() -> None:
    async with proxied() as place:
        holder, waiter = await place.program(), await place.program()
        await holder.ask("BEGIN")
        query = spawn(waiter.ask("SELECT 1"), "query")
        await until(lambda: len(place.pool.waiters) == 1)
        await place.cancel(waiter.session.process_id, waiter.session.secret)
        with pytest.raises(ServerRefused) as caught:
            await query
        assert caught.value.code == "57014"
        assert not place.pool.waiters
        assert place.target.cancels == [], "the holder has nothing to do with it"
        await holder.ask("COMMIT")
        assert await waiter.ask("SELECT 2") == [[b"2"]]


async def test_cancel_of_a_client_at_rest_reaches_no_server() -> None:
    async with proxied() as place:
        program = await place.program()
        await program.ask("BEGIN")
        await place.cancel(program.session.process_id, program.session.secret)
        assert place.pool.counters.cancels == 1
        (link,) = place.gateway.servers
        assert link.cancelling == 0
        assert place.target.cancels == []


# Server connections.


async def test_budget_is_a_share_of_what_the_server_allows() -> None:
    async with proxied(TargetGroupConfig(max_connections_percent=50)) as place:
        await place.program()
        assert place.gateway.target.maximum == 3, "half of 10 less 2 and 1 reserved"


async def test_changed_secret_replaces_connections() -> None:
    async with proxied(TargetGroupConfig(max_connections=2)) as place:
        place.target.password = "one"
        old, new = await place.program(), await place.program()
        await old.ask("BEGIN")
        place.provider.secret = place.target.password = "two"
        place.provider.has_changed = True
        place.now += LOOK_S
        assert await new.ask("SELECT 1") == [[b"1"]]
        assert place.target.passwords == ["one", "two"], "one new connection is enough"
        assert place.pool.counters.closed_by_reason == {}, "transactions are not cut off"
        await old.ask("COMMIT")
        assert place.pool.counters.closed_by_reason == {"replaced": 1}
        await until(lambda: len(place.gateway.servers) == 1)
        assert [link.number for link in place.gateway.servers] == [2]


async def test_reload_while_a_connection_opens_makes_it_out_of_date() -> None:
    async with proxied() as place:
        place.target.silent = True
        login = spawn(place.program(), "login")
        await until(lambda: len(place.target.connections) == 1)
        group = replace(place.gateway.config.target_group, init_query="SET work_mem = '8MB'")
        place.gateway.reconfigure(replace(place.gateway.config, target_group=group))
        place.target.silent = False
        place.target.connections[0].data_received(b"")
        program = await login
        assert await program.ask("SHOW work_mem") == [[b"8MB"]]
        assert place.target.logins == 2


async def test_secret_that_the_server_rejects_is_fetched_again() -> None:
    async with proxied() as place:
        place.target.password = "two"
        assert (await place.refused()).code == "28P01"
        place.provider.secret = "two"
        place.now += LOOK_S
        place.pool.retry_at = 0.0
        await place.program()
        assert place.target.passwords == ["one", "two"]


async def test_refusal_of_the_server_is_passed_on() -> None:
    async with proxied() as place:
        place.target.refusal = error("57P03", "the database system is starting up", "FATAL")
        assert (await place.refused()).response == place.target.refusal
        assert place.gateway.available, "it is there, after all"
        assert place.pool.counters.setup_failed == 1


async def test_failing_server_is_left_alone_for_a_while() -> None:
    async with proxied() as place:
        place.target.refusal = error("57P03", "the database system is starting up", "FATAL")
        before = monotonic()
        await place.refused()
        assert place.pool.failures == 1
        assert 0.08 <= place.pool.retry_at - before < 5
        place.pool.retry_at = before + 50
        second = spawn(place.program(), "second")
        await until(lambda: len(place.pool.waiters) == 1)
        place.gateway.janitor.tick(before + 1)
        assert place.target.logins == 1
        assert place.pool.connecting == 0
        place.target.refusal = b""
        place.gateway.janitor.tick(before + 51)
        await second
        assert place.pool.failures == 0
        assert place.pool.retry_at == 0.0


async def test_server_that_is_not_there_makes_the_target_unavailable() -> None:
    async with proxied() as place:
        # TEST-NET would wait for its time-out; port 1 of loopback refuses at once.
        place.gateway.dialer.target = replace(place.gateway.dialer.target, port=1)
        assert (await place.refused()).code == "08001"
        assert not place.gateway.available
        place.gateway.dialer.target = replace(place.gateway.dialer.target, port=place.target.port)
        place.pool.retry_at = 0.0
        await place.program()
        assert place.gateway.available


async def test_pools_nobody_uses_are_forgotten() -> None:
    async with proxied() as place:
        place.target.refusal = error("3D000", 'database "app" does not exist', "FATAL")
        await place.refused()
        assert len(place.gateway.pools) == 1
        place.gateway.janitor.tick(monotonic())
        assert place.gateway.pools == {}
        assert place.gateway.target.pools == []


# Reload.


async def test_reload_of_the_budget_serves_who_waits() -> None:
    async with proxied() as place:
        holder, waiter = await place.program(), await place.program()
        await holder.ask("BEGIN")
        query = spawn(waiter.ask("SELECT 1"), "query")
        await until(lambda: len(place.pool.waiters) == 1)
        group = replace(place.gateway.config.target_group, max_connections=2)
        place.gateway.reconfigure(replace(place.gateway.config, target_group=group))
        assert await query == [[b"1"]]


async def test_reload_of_what_connections_start_with_replaces_them() -> None:
    async with proxied() as place:
        program = await place.program()
        await program.ask("SELECT 1")
        place.gateway.reconfigure(replace(place.gateway.config, query_timeout_s=5.0))
        assert len(place.pool.idle) == 1
        assert place.gateway.janitor.config.query_timeout_s == 5.0
        group = replace(place.gateway.config.target_group, init_query="SET work_mem = '8MB'")
        place.gateway.reconfigure(replace(place.gateway.config, target_group=group))
        assert place.pool.idle == []
        assert await program.ask("SHOW work_mem") == [[b"8MB"]]
        assert place.target.logins == 2


# The end.


async def test_drain_lets_transactions_end() -> None:
    async with proxied(TargetGroupConfig(max_connections=2)) as place:
        resting, busy = await place.program(), await place.program()
        await resting.ask("SELECT 1")
        await busy.ask("BEGIN")
        place.gateway.drain()
        assert await resting.last_words() == "57P01"
        assert await busy.ask("SELECT 2") == [[b"2"]]
        await busy.ask("COMMIT")
        assert await busy.last_words() == "57P01"
        assert place.gateway.clients == {}
        assert place.counters.closed_by_reason == {"drain": 2}


async def test_who_is_left_is_closed_and_servers_are_told_goodbye() -> None:
    async with proxied() as place:
        busy = await place.program()
        await busy.ask("BEGIN")
        silent = await place.connect()
        await until(lambda: len(place.gateway.logins) == 1)
        place.gateway.close_clients()
        assert await busy.last_words() == "57P01"
        with contextlib.suppress(ConnectionResetError):
            await silent.closed()
        await until(lambda: len(place.pool.idle) == 1)
        (session,) = [c.session for c in place.target.connections]
        await place.gateway.close_servers(monotonic() + 5)
        assert place.gateway.servers == set()
        assert session is not None
        assert session.received[-1] == wire.TERMINATE


async def test_server_that_does_not_end_is_not_waited_for() -> None:
    async with proxied() as place:
        await place.program()
        place.target.stays = True
        before = monotonic()
        await place.gateway.close_servers(before + 0.05)
        assert monotonic() - before < 2
        await until(lambda: not place.gateway.servers)
