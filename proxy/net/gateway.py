"""One proxy at run time: it lets clients in, keeps the pools, and lets clients and servers meet."""

from __future__ import annotations

import asyncio
import random
import secrets
from functools import partial
from hmac import compare_digest
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, cast

from proxy.errors import (
    ClientAuthError,
    CredentialError,
    LoginTimeout,
    ProxyError,
    QueryCanceled,
    SessionKilled,
    TooManyClients,
)
from proxy.net.address import is_local, is_private
from proxy.net.entrance import Entrance
from proxy.net.errands import Errands
from proxy.net.janitor import Janitor
from proxy.net.journal import GatewayJournal
from proxy.net.opener import Opener, auth_entry, make_pool
from proxy.net.oversight import Oversight
from proxy.net.profile import Profile
from proxy.net.runtime import spawn
from proxy.pool.limits import Target
from proxy.session.client_link import ClientLink
from proxy.wire.dialect import Arrival, Cancel, Dialect, Login
from proxy.wire.steps import Fetch, FetchTarget

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from proxy.config.model import AuthConfig, ProxyConfig
    from proxy.credentials.cache import CredentialCache
    from proxy.metrics.counters import EndpointCounters
    from proxy.net.conversation import ConversationProtocol
    from proxy.net.dialer import Dialer
    from proxy.net.tls import ServerTls
    from proxy.pool.pool import Pool, PoolKey
    from proxy.session.server_link import ServerLink
    from proxy.wire.dialect import LogInAgain

TLS_HANDSHAKE: Final = 0x16
"""First byte of a TLS handshake."""
FIRST_NUMBER: Final = 1 << 30
LAST_NUMBER: Final = (1 << 31) - 1
"""Between these are the sessions' numbers: MySQL's thread ids do not come so far."""


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
        oversight: Oversight | None = None,
    ) -> None:
        self.config = config
        self.dialect = dialect
        self.dialer = dialer
        self.credentials = credentials
        self.tls = tls
        self.allow_public = allow_public
        self.opener = Opener(self)
        self.profile = Profile(self)
        self.target = Target(self.opener.open)
        self.oversight = oversight or Oversight()
        self.pools: dict[PoolKey, Pool] = {}
        self.clients: dict[int, ClientLink] = {}
        self.servers: set[ServerLink] = set()
        self.logins: set[ConversationProtocol] = set()
        self.entrance = Entrance()
        self.draining = False
        self.available = True
        """The last attempt to open a server connection succeeded."""
        self.janitor = Janitor(
            config,
            self.target,
            self.clients.values,
            lambda: self.servers,
            self.cancel_server,
            self._forget,
        )
        self.journal = GatewayJournal(self)
        self.errands = Errands(self)
        self._next_number = self._number(random.randrange(FIRST_NUMBER, LAST_NUMBER))  # noqa: S311
        self.oversight.attend(self)

    # Clients arrive.

    async def serve(self, connection: ConversationProtocol, counters: EndpointCounters) -> None:
        """See a new client through its login, and join it to a pool."""
        arrival = self._arrival(connection, self._new_number())
        await self._see_in(connection, counters, arrival, self._accept(connection, arrival))

    async def serve_again(
        self,
        connection: ConversationProtocol,
        counters: EndpointCounters,
        number: int,
        errand: LogInAgain,
    ) -> None:
        """See a client through another login, after the end of its session ``number``."""
        arrival = self._arrival(connection, number)
        arrival.sequence = 1
        conversation = self.dialect.log_in_again(arrival, errand)
        accepting = connection.run(conversation, server_side=True, fetch=self._fetch)
        await self._see_in(connection, counters, arrival, accepting)

    async def _see_in(
        self,
        connection: ConversationProtocol,
        counters: EndpointCounters,
        arrival: Arrival,
        accepting: Coroutine[Any, Any, Login | Cancel],
    ) -> None:
        counters.clients += 1
        counters.clients_received += 1
        self.logins.add(connection)
        refuse = partial(self._turn_away, connection, counters, arrival)
        try:
            async with asyncio.timeout(self.config.login_timeout_s):
                result = await accepting
        except TimeoutError:
            refuse(LoginTimeout("canceling login due to timeout"))
        except (EOFError, OSError):
            refuse(None)
        except ProxyError as error:
            refuse(error)
        except Exception:
            refuse(ProxyError("internal error"))
            raise
        else:
            if isinstance(result, Cancel):
                refuse(None)
                self.cancel(result)
            else:
                self._welcome(connection, counters, result, arrival.number)
        finally:
            self.logins.discard(connection)

    def _arrival(self, connection: ConversationProtocol, number: int) -> Arrival:
        local = is_local(connection.peername)
        return Arrival(
            tls_available=self.tls is not None and not connection.is_unix,
            tls_required=self.config.require_tls and not connection.is_unix,
            direct_tls=False,
            local=local,
            host="localhost" if local else str(cast("Any", connection.peername or "?")[0]),
            number=number,
        )

    async def _accept(self, connection: ConversationProtocol, arrival: Arrival) -> Login | Cancel:
        if not self.allow_public and not is_private(connection.peername):
            raise ClientAuthError("connections from public addresses are not accepted")
        if len(self.clients) + len(self.logins) > self.oversight.share(
            self.config.max_client_connections
        ):
            raise TooManyClients("sorry, too many clients already")
        if not self.dialect.speaks_first:
            arrival.direct_tls = await connection.first_byte() == TLS_HANDSHAKE
        let_next_in = await self.entrance.enter()

        async def fetch(asked: Fetch | FetchTarget) -> Any:
            if isinstance(asked, Fetch):
                let_next_in()
            return await self._fetch(asked)

        try:
            return await connection.run(
                self.dialect.accept(arrival),
                context=self.tls.context if self.tls is not None else None,
                server_side=True,
                own_certificate=self.tls.certificate_der if self.tls is not None else b"",
                fetch=fetch,
            )
        finally:
            let_next_in()

    async def _fetch(self, fetch: Fetch | FetchTarget) -> Any:
        if isinstance(fetch, FetchTarget):
            return await self.profile.get()
        entry = self.auth_entry(fetch.user)
        if entry is None:
            return self.dialect.client_secret("", None, {})
        method = entry.client_auth
        if method == "trust":
            anywhere = "-anywhere" if entry.allow_trust_from_network else ""
            return self.dialect.client_secret(method + anywhere, None, {})
        try:
            held = await self.credentials.get(entry.credential, fetch.user)
        except CredentialError as error:
            self.journal.credential_failed(entry.credential, error)
            return self.dialect.client_secret(method, None, {})
        return self.dialect.client_secret(method, held.secret, held.derived)

    def auth_entry(self, user: str) -> AuthConfig | None:
        """Give the first auth entry that speaks of a user."""
        return auth_entry(self.config, user)

    def _turn_away(
        self,
        connection: ConversationProtocol,
        counters: EndpointCounters,
        arrival: Arrival,
        error: ProxyError | None,
    ) -> None:
        counters.clients -= 1
        counters.clients_closed += 1
        if isinstance(error, ClientAuthError):
            counters.setup_failed_auth += 1
        elif error is not None:
            counters.setup_failed_other += 1
        if error is not None:
            self.journal.login_failed(connection, error)
            connection.send(self.dialect.reply(error, arrival))
        connection.close()

    def _welcome(
        self,
        connection: ConversationProtocol,
        counters: EndpointCounters,
        login: Login,
        number: int,
    ) -> None:
        """Make the session of a client that has authenticated."""
        pool = self.pool((login.database, login.user, login.pool_key))
        if login.recovered is not None:
            pool.recovered = login.recovered
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
            self.journal,
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
        pool.warm_from = 0.0
        self.journal.client_connected(client, login)
        leftover = connection.hand_over(cast("asyncio.Protocol", client))
        client.begin(self.dialect.greeting(pool.shared, stream), monotonic())
        if leftover:
            client.data_received(leftover)
        if self.draining:
            client.drain()

    def _new_number(self) -> int:
        while True:
            self._next_number += self.oversight.processes
            if self._next_number > LAST_NUMBER:
                self._next_number = self._number(FIRST_NUMBER)
            if self._next_number not in self.clients:
                return self._next_number

    def _number(self, base: int) -> int:
        """The first session number of this process above a base: its remainder says whose it is."""
        processes = self.oversight.processes
        return base - base % processes + processes + self.oversight.index

    # Pools.

    def pool(self, key: PoolKey) -> Pool:
        """The pool of a database, a user and parameters, made on first use."""
        pool = self.pools.get(key)
        if pool is None:
            pool = self.pools[key] = make_pool(self, key)
            self.target.pools.append(pool)
        return pool

    def _forget(self, pool: Pool) -> None:
        self.target.pools.remove(pool)
        del self.pools[pool.key]

    # Cancelling.

    def cancel(self, request: Cancel) -> None:
        """Cancel what a session runs or waits for, if the request has the whole of its secret."""
        client = self.clients.get(request.number)
        if client is None and self.oversight.forward_cancel(self, request):
            return
        if client is None or not _may_cancel(client, request):
            self.journal.cancel_ignored()
            return
        client.pool.counters.cancels += 1
        if request.whole:
            self._kill(client)
        elif client.parked:
            client.pool.unpark(client)
            client.turn_away(QueryCanceled("canceling statement due to user request"))
        elif client.server is not None and not client.server.stream.is_quiet():
            self.cancel_server(client.server)

    def _kill(self, client: ClientLink) -> None:
        """End a session: what it runs is cancelled."""
        server = client.server
        busy = client.parked or (server is not None and not server.stream.is_quiet())
        if busy and not (server is not None and server.stream.is_forwarding()):
            client.fail(SessionKilled("Query execution was interrupted"), "killed")
        else:
            client.close("killed")

    def cancel_server(self, server: ServerLink) -> None:
        """Cancel what a server connection runs; it stays with its client until that is done."""
        server.cancelling += 1
        spawn(self._deliver_cancel(server), "cancel")

    async def _deliver_cancel(self, server: ServerLink) -> None:
        try:
            plan = None
            if self.dialect.cancels_by_login:
                plan = await self.opener.plan_for(server.pool.key[1])
            await self.dialer.cancel(server.cancel_request, tls=server.tls, plan=plan)
        except CredentialError as error:
            self.journal.cancel_failed(server, error)
        finally:
            server.cancel_done()

    # Reload.

    def reconfigure(self, config: ProxyConfig) -> None:
        """Apply the settings of a reloaded configuration that can be applied while running."""
        before = self.config
        self.config = config
        self.janitor.config = config
        self.journal.debug = config.debug_logging
        group = config.target_group
        if group.max_connections:
            self.oversight.set_budget(self, group.max_connections, monotonic())
        for pool in self.pools.values():
            pool.minimum = self.oversight.share(group.min_connections)
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


def _may_cancel(client: ClientLink, request: Cancel) -> bool:
    if request.user:
        return client.pool.key[1] == request.user
    return compare_digest(client.secret, request.secret)
