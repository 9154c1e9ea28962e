"""One proxy at run time: it lets clients in, keeps the pools, and lets clients and servers meet."""

from __future__ import annotations

import asyncio
import random
import secrets
from hmac import compare_digest
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, cast

from proxy.errors import (
    ClientAuthError,
    CredentialError,
    LoginTimeout,
    ProxyError,
    QueryCanceled,
    ServerRefused,
    TooManyClients,
)
from proxy.metrics.counters import EndpointCounters, PoolCounters
from proxy.net.address import is_local, is_private
from proxy.net.dialer import Dialer, backoff_s, poller
from proxy.net.janitor import Janitor
from proxy.net.journal import GatewayJournal
from proxy.net.runtime import spawn
from proxy.pool.limits import Target
from proxy.pool.pool import Pool, PoolKey
from proxy.session.client_link import ClientLink
from proxy.session.server_link import ServerLink
from proxy.wire.dialect import Arrival, Cancel, Dialect, Login, ServerPlan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.config.model import AuthConfig, ProxyConfig
    from proxy.credentials.cache import CredentialCache
    from proxy.net.conversation import ConversationProtocol
    from proxy.net.tls import ServerTls
    from proxy.wire.steps import Fetch

LIFETIME_JITTER: Final = 0.1
"""Share of the maximum lifetime by which it varies, so that connections do not all go at once."""


class Gateway:
    """Clients, pools and server connections of one ``[proxy.NAME]``."""

    def __init__(
        self,
        config: ProxyConfig,
        dialect: Dialect,
        dialer: Dialer,
        credentials: CredentialCache,
        tls: ServerTls | None,
        *,
        allow_public: bool,
    ) -> None:
        self.config = config
        self.dialect = dialect
        self.dialer = dialer
        self.credentials = credentials
        self.tls = tls
        self.allow_public = allow_public
        self.target = Target(self._open_connection)
        if config.target_group.max_connections:
            self.target.maximum = config.target_group.max_connections
        self.pools: dict[PoolKey, Pool] = {}
        self.clients: dict[int, ClientLink] = {}
        self.servers: set[ServerLink] = set()
        self.logins: set[ConversationProtocol] = set()
        self.draining = False
        self.available = True
        """The last attempt to open a server connection succeeded."""
        self.janitor = Janitor(
            config,
            self.target,
            self.clients.values,
            self._server_links,
            self.cancel_server,
            self._forget,
        )
        self._journal = GatewayJournal(self)
        self._next_number = random.randrange(1 << 30)  # noqa: S311

    # Clients arrive.

    async def serve(self, connection: ConversationProtocol, counters: EndpointCounters) -> None:
        """See a new client through its login, and join it to a pool."""
        counters.clients += 1
        counters.clients_received += 1
        self.logins.add(connection)
        try:
            async with asyncio.timeout(self.config.login_timeout_s):
                result = await self._accept(connection)
        except TimeoutError:
            self._turn_away(connection, counters, LoginTimeout("canceling login due to timeout"))
        except (EOFError, OSError):
            self._turn_away(connection, counters, None)
        except ProxyError as error:
            self._turn_away(connection, counters, error)
        except Exception:
            self._turn_away(connection, counters, ProxyError("internal error"))
            raise
        else:
            if isinstance(result, Cancel):
                self._turn_away(connection, counters, None)
                self._cancel(result)
            else:
                self._welcome(connection, counters, result)
        finally:
            self.logins.discard(connection)

    async def _accept(self, connection: ConversationProtocol) -> Login | Cancel:
        local = is_local(connection.peername)
        if not self.allow_public and not is_private(connection.peername):
            raise ClientAuthError("connections from public addresses are not accepted")
        if len(self.clients) + len(self.logins) > self.config.max_client_connections:
            raise TooManyClients("sorry, too many clients already")
        first = await connection.first_byte()
        arrival = Arrival(
            tls_available=self.tls is not None and not connection.is_unix,
            tls_required=self.config.require_tls and not connection.is_unix,
            direct_tls=first == 0x16,
            local=local,
        )
        context = self.tls.context if self.tls is not None else None
        conversation = self.dialect.accept(arrival)
        result: Login | Cancel = await connection.run(
            conversation,
            context=context,
            server_side=True,
            own_certificate=self.tls.certificate_der if self.tls is not None else b"",
            fetch=self._client_secret,
        )
        return result

    async def _client_secret(self, fetch: Fetch) -> Any:
        entry = self._auth_entry(fetch.user)
        if entry is None:
            return self.dialect.client_secret("scram-sha-256", None, {})
        method = entry.client_auth
        if method == "trust":
            return self.dialect.client_secret(
                "trust-anywhere" if entry.allow_trust_from_network else "trust", None, {}
            )
        try:
            held = await self.credentials.get(entry.credential, fetch.user)
        except CredentialError as error:
            self._journal.credential_failed(entry.credential, error)
            return self.dialect.client_secret(method, None, {})
        return self.dialect.client_secret(method, held.secret, held.derived)

    def _auth_entry(self, user: str) -> AuthConfig | None:
        for entry in self.config.auth:
            if entry.user in (user, "*"):
                return entry
        return None

    def _turn_away(
        self,
        connection: ConversationProtocol,
        counters: EndpointCounters,
        error: ProxyError | None,
    ) -> None:
        counters.clients -= 1
        counters.clients_closed += 1
        if isinstance(error, ClientAuthError):
            counters.setup_failed_auth += 1
        elif error is not None:
            counters.setup_failed_other += 1
        if error is not None:
            self._journal.login_failed(connection, error)
            connection.send(self.dialect.reply(error))
        connection.close()

    def _welcome(
        self, connection: ConversationProtocol, counters: EndpointCounters, login: Login
    ) -> None:
        """Make the session of a client that has authenticated."""
        pool = self.pool(login)
        number = self._new_number()
        secret = secrets.token_bytes(login.secret_bytes)
        stream = self.dialect.client_stream(
            pool.shared,
            login,
            number,
            secret,
            session_pooling=self.config.target_group.pool_mode == "session",
        )
        client = ClientLink(
            connection.transport,
            stream,
            pool,
            counters,
            self._journal,
            number,
            secret,
            login.tls is not None,
        )
        counters.setup_succeeded += 1
        if login.tls is not None:
            counters.clients_tls += 1
        else:
            counters.clients_no_tls += 1
        self.clients[number] = client
        pool.sessions += 1
        self._journal.client_connected(client, login)
        leftover = connection.hand_over(cast("asyncio.Protocol", client))
        client.begin(self.dialect.greeting(pool.shared, stream), monotonic())
        if leftover:
            client.data_received(leftover)
        if self.draining:
            client.drain()

    def _new_number(self) -> int:
        while True:
            self._next_number = self._next_number % 0x7FFFFFFF + 1
            if self._next_number not in self.clients:
                return self._next_number

    # Pools.

    def pool(self, login: Login) -> Pool:
        """The pool that serves a login, made on first use."""
        key = (login.database, login.user, login.pool_key)
        pool = self.pools.get(key)
        if pool is None:
            group = self.config.target_group
            shared = self.dialect.shared_state(
                max_prepared_statements=group.max_prepared_statements
            )
            pool = Pool(self.target, key, PoolCounters(), group.min_connections, shared)
            self.pools[key] = pool
            self.target.pools.append(pool)
        if login.recovered is not None:
            pool.recovered = login.recovered
        return pool

    def _forget(self, pool: Pool) -> None:
        self.target.pools.remove(pool)
        del self.pools[pool.key]

    # Server connections.

    def _server_links(self) -> Iterable[ServerLink]:
        return self.servers

    def _open_connection(self, pool: Pool) -> None:
        spawn(self._open(pool), f"open {self.config.name} {pool.name}")

    async def _open(self, pool: Pool) -> None:
        try:
            link = await self._dial(pool)
        except ProxyError as error:
            pool.counters.setup_failed += 1
            self._reject_secret(pool, error)
            self.available = isinstance(error, ServerRefused)
            self._journal.open_failed(pool, error)
            pool.open_failed(error, monotonic(), backoff_s(pool.failures))
        except BaseException:
            pool.open_failed(ProxyError("internal error"), monotonic(), backoff_s(pool.failures))
            raise
        else:
            self.available = True
            pool.counters.setup_succeeded += 1
            pool.opened(link, monotonic())

    async def _dial(self, pool: Pool) -> ServerLink:
        database, user, parameters = pool.key
        secret = await self._server_secret(pool, user)
        # A new secret has begun a generation, to which this connection belongs. One that begins
        # from here on makes the connection out of date before it is open.
        generation = pool.generation
        plan = ServerPlan(
            user=user,
            database=database,
            parameters=dict(parameters),
            tls_mode=self.dialer.target.tls,
            unix_socket=self.dialer.target.host.startswith("/"),
            secret=secret,
        )
        group = self.config.target_group
        warm_up = self.dialect.warm_up(
            pool.shared, group.init_query, monotonic(), limits=not group.max_connections
        )
        connection, session, facts = await self.dialer.open(plan, warm_up)
        now = monotonic()
        if not group.max_connections:
            allowed = facts.usable_connections * group.max_connections_percent // 100
            self.target.set_maximum(max(1, allowed), now)
        lifetime_s = group.connection_max_lifetime_s
        lifetime_s *= 1.0 + random.uniform(-LIFETIME_JITTER, LIFETIME_JITTER)  # noqa: S311
        stream = self.dialect.server_stream(pool.shared, session, facts)
        link = ServerLink(connection.transport, stream, pool, self._journal, now, lifetime_s)
        link.generation = generation
        link.cancel_request = session.cancel_request
        link.number = session.process_id
        link.tls = session.tls is not None
        link.poll = poller(connection.transport)
        self.servers.add(link)
        self._journal.server_connected(link)
        leftover = connection.hand_over(cast("asyncio.Protocol", link))
        if leftover:
            stream.receive(leftover)
        return link

    def _reject_secret(self, pool: Pool, error: ProxyError) -> None:
        """Fetch the secret again for the next attempt if the server did not take this one."""
        entry = self._auth_entry(pool.key[1])
        if isinstance(error, ServerRefused) and error.code == "28P01" and entry is not None:
            self.credentials.invalidate(entry.credential, pool.key[1])

    async def _server_secret(self, pool: Pool, user: str) -> Any:
        entry = self._auth_entry(user)
        if entry is None:
            raise CredentialError(f'no auth entry for user "{user}" any more')
        if not entry.credential:
            return self.dialect.server_secret("", {}, pool.recovered)
        held = await self.credentials.get(entry.credential, user)
        if held.generation != pool.credential_generation:
            if pool.credential_generation is not None:
                pool.retire_all()
            pool.credential_generation = held.generation
        return self.dialect.server_secret(held.secret, held.derived, pool.recovered)

    # Cancelling.

    def _cancel(self, request: Cancel) -> None:
        client = self.clients.get(request.number)
        if client is None or not compare_digest(client.secret, request.secret):
            self._journal.cancel_ignored()
            return
        client.pool.counters.cancels += 1
        if client.parked:
            client.pool.unpark(client)
            client.turn_away(QueryCanceled("canceling statement due to user request"))
        elif client.server is not None and not client.server.stream.is_quiet():
            self.cancel_server(client.server)

    def cancel_server(self, server: ServerLink) -> None:
        """Cancel what a server connection runs; it stays with its client until that is done."""
        server.cancelling += 1
        spawn(self._deliver_cancel(server), "cancel")

    async def _deliver_cancel(self, server: ServerLink) -> None:
        try:
            await self.dialer.cancel(server.cancel_request, tls=server.tls)
        finally:
            server.cancel_done()

    # Reload.

    def reconfigure(self, config: ProxyConfig) -> None:
        """Apply the settings of a reloaded configuration that can be applied while running."""
        before = self.config
        self.config = config
        self.janitor.config = config
        self._journal.debug = config.debug_logging
        group = config.target_group
        if group.max_connections:
            self.target.set_maximum(group.max_connections, monotonic())
        for pool in self.pools.values():
            pool.minimum = group.min_connections
            if group.init_query != before.target_group.init_query or config.auth != before.auth:
                pool.shared.forget_greetings()
                pool.retire_all()

    # The end.

    def drain(self) -> None:
        """Lend nothing more; close every client as soon as its transaction is over."""
        self.draining = True
        for client in list(self.clients.values()):
            client.drain()

    def close_clients(self) -> None:
        """Close every client that is left."""
        for client in list(self.clients.values()):
            client.shut_down()
        for connection in list(self.logins):
            connection.abort()

    async def close_servers(self, deadline: float) -> None:
        """Say goodbye to every server connection and wait for the servers' processes to end."""
        self.target.closed = True
        for pool in self.pools.values():
            pool.retire_all()
        while self.servers and monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for server in list(self.servers):
            server.transport.abort()
