"""MySQL and MariaDB, as the generic part of the proxy sees them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from proxy.errors import ConnectFailed, ServerRefused
from proxy.mysql import accept as accepting
from proxy.mysql import login as logging_in
from proxy.mysql import warmup
from proxy.mysql.capabilities import TargetProfile, is_mariadb, pool_capabilities
from proxy.mysql.client_stream import MysqlClientStream
from proxy.mysql.constants import COM_QUIT, MARIADB_CLIENT_EXTENDED_METADATA
from proxy.mysql.key_pair import KeyPair
from proxy.mysql.lenenc import packet
from proxy.mysql.login import ServerSecret
from proxy.mysql.messages import err_payload, read_err
from proxy.mysql.pool_state import PoolState
from proxy.mysql.reply import error_packet, error_payload
from proxy.mysql.server_stream import MysqlServerStream
from proxy.mysql.tracking import tracking_sql
from proxy.wire.dialect import Arrival, Cancel, Login, ServerFacts, ServerPlan, ServerSession
from proxy.wire.steps import Read, Send

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.errors import ProxyError
    from proxy.mysql.handshake import HandshakeV10
    from proxy.mysql.login import ServerLogin
    from proxy.wire.dialect import LogInAgain
    from proxy.wire.steps import Conversation
    from proxy.wire.stream import ClientStream, ServerStream

_QUIT = packet(bytes((COM_QUIT,)), 0)
_MOST_OF_A_LOGIN = 255
"""Largest number of a collation that a login has room for."""
_NAMES = ("utf-8", "surrogateescape")


class MysqlDialect:
    """Satisfies ``proxy.wire.dialect.Dialect``."""

    default_port = 3306
    speaks_first = True
    cancels_by_login = True
    state_spans_databases = True

    def __init__(self, nonce: Callable[[int], bytes]) -> None:
        self._nonce = nonce
        """Makes random bytes: ``secrets.token_bytes``."""
        self._keys = KeyPair()

    def socket_path(self, host: str, port: int) -> str:
        return host

    def accept(self, arrival: Arrival) -> Conversation[Login | Cancel]:
        return _login_of((yield from accepting.accept(arrival, self._nonce, self._keys)))

    def log_in_again(self, arrival: Arrival, errand: LogInAgain) -> Conversation[Login]:
        conversation = accepting.change_user(
            arrival, errand.facts, errand.message, self._nonce, self._keys
        )
        return _login_of((yield from conversation))

    def client_secret(self, method: str, secret: str | None, derived: dict[str, Any]) -> Any:
        return accepting.client_secret(method, secret, derived)

    def server_secret(self, secret: str, derived: dict[str, Any], recovered: Any) -> Any:
        return ServerSecret(password=secret.encode(*_NAMES), derived=derived)

    def log_in(self, plan: ServerPlan) -> Conversation[ServerSession]:
        result = yield from self._log_in(plan)
        collation = int(plan.parameters.get("collation", "0"))
        if collation > _MOST_OF_A_LOGIN:
            yield from warmup.use_collation(collation, result.capabilities)
        return ServerSession(
            reported={
                "server_version": result.profile.server_version,
                "schema": plan.database,
            },
            process_id=result.thread_id,
            cancel_request=b"KILL QUERY %d" % result.thread_id,
            tls=result.tls,
            capabilities=result.capabilities,
            profile=result.profile,
        )

    def _log_in(self, plan: ServerPlan) -> Conversation[ServerLogin]:
        greeting = yield from logging_in.read_greeting()
        return (yield from self._answer(greeting, plan))

    def _answer(self, greeting: HandshakeV10, plan: ServerPlan) -> Conversation[ServerLogin]:
        return logging_in.answer_greeting(
            greeting,
            user=plan.user,
            database=plan.database,
            pool_capabilities=int(plan.parameters.get("capabilities", "0"), 16),
            collation=int(plan.parameters.get("collation", str(greeting.collation))),
            tls_mode=plan.tls_mode,
            unix_socket=plan.unix_socket,
            secret=plan.secret,
            nonce=self._nonce,
        )

    def warm_up(
        self,
        shared: PoolState,
        session: ServerSession,
        init_query: str,
        now: float,
        *,
        limits: bool,
    ) -> Conversation[ServerFacts]:
        capabilities = session.capabilities
        usable_connections = 0
        if limits:
            usable_connections = yield from warmup.usable_connections(capabilities)
        if init_query:
            yield from warmup.initialise(init_query, capabilities)
        baseline: dict[str, str] = {}
        if not shared.has_baseline():
            baseline = yield from warmup.baseline(capabilities)
            payloads = yield from warmup.no_warnings(capabilities)
            extended = bool(capabilities & MARIADB_CLIENT_EXTENDED_METADATA)
            shared.learn_no_warnings(payloads, extended=extended)
        if shared.catalogue_is_due(now):
            shared.hidden = yield from warmup.hidden_effects(capabilities)
        mariadb = is_mariadb(session.reported["server_version"])
        yield from warmup.ask(tracking_sql(mariadb=mariadb), capabilities)
        return ServerFacts(usable_connections=usable_connections, baseline=baseline)

    def cancel(self, request: bytes, plan: ServerPlan | None, *, tls: bool) -> Conversation[None]:
        if plan is None:
            return
        session = yield from self._log_in(plan)
        # It may have ended meanwhile.
        with contextlib.suppress(ServerRefused):
            yield from warmup.ask(request, session.capabilities)
        yield Send(_QUIT)

    def learn_target(self, plan: ServerPlan | None) -> Conversation[TargetProfile]:
        greeting = yield from logging_in.read_greeting()
        if plan is not None:
            # Whoever logs in here will hear of errors; what we came for we know.
            with contextlib.suppress(ServerRefused, ConnectFailed, EOFError):
                yield from self._answer(greeting, plan)
                yield Send(_QUIT)
                yield Read(1)
        return logging_in.profile_of(greeting)

    def shared_state(self, *, max_prepared_statements: int) -> PoolState:
        return PoolState(max_prepared_statements=max_prepared_statements)

    def client_stream(
        self,
        shared: PoolState,
        login: Login,
        number: int,
        secret: bytes,
        *,
        session_pooling: bool,
    ) -> ClientStream:
        return MysqlClientStream(shared, login, number, session_pooling=session_pooling)

    def greeting(self, shared: PoolState, stream: ClientStream) -> bytes | None:
        assert isinstance(stream, MysqlClientStream)
        return stream.greet() if stream.session.schema in shared.proven else None

    def server_stream(
        self, shared: PoolState, session: ServerSession, facts: ServerFacts
    ) -> ServerStream:
        shared.learn_baseline(facts.baseline)
        return MysqlServerStream(shared, session)

    def pack(self, stream: ServerStream) -> dict[str, Any]:
        assert isinstance(stream, MysqlServerStream)
        return {
            "reported": {**stream.reported, "schema": stream.schema.decode(*_NAMES)},
            "capabilities": stream.capabilities,
            "baseline": stream.shared.baseline,
        }

    def unpack(self, shared: PoolState, facts: dict[str, Any]) -> ServerStream:
        shared.learn_baseline(facts["baseline"])
        capabilities = facts["capabilities"]
        session = ServerSession(facts["reported"], 0, b"", None, capabilities=capabilities)
        stream = MysqlServerStream(shared, session)
        # COM_RESET_CONNECTION takes the last session's state away.
        stream.dirty = True
        return stream

    def reply(self, error: ProxyError, arrival: Arrival) -> bytes:
        if arrival.sequence == 0:
            # What is there instead of a greeting has no SQLSTATE yet.
            told = read_err(error_payload(error))
            return packet(err_payload(told.errno, "", told.message), 0)
        return error_packet(error, arrival.sequence)


def _login_of(result: accepting.ClientLogin) -> Login:
    capabilities = pool_capabilities(result.facts.capabilities)
    return Login(
        user=result.user,
        database=result.database,
        pool_key=(
            ("capabilities", f"{capabilities:x}"),
            ("collation", str(result.facts.collation)),
        ),
        settings={},
        tls=result.facts.tls,
        secret_bytes=0,
        facts=result.facts,
    )
