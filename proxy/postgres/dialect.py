"""PostgreSQL, as the generic part of the proxy sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.postgres import accept as accepting
from proxy.postgres import login as logging_in
from proxy.postgres import warmup
from proxy.postgres.changes import SESSION_POOLING
from proxy.postgres.client_stream import PostgresClientStream
from proxy.postgres.messages import backend_key_data, cancel_request
from proxy.postgres.pool_state import PoolState
from proxy.postgres.reply import error_reply
from proxy.postgres.server_stream import PostgresServerStream
from proxy.postgres.settings import START_ONLY_PARAMETERS
from proxy.wire.dialect import (
    Arrival,
    Cancel,
    Login,
    ServerFacts,
    ServerPlan,
    ServerSession,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.errors import ProxyError
    from proxy.wire.dialect import LogInAgain
    from proxy.wire.steps import Conversation
    from proxy.wire.stream import ClientStream, ServerStream


class PostgresDialect:
    """Satisfies ``proxy.wire.dialect.Dialect``."""

    default_port = 5432
    speaks_first = False
    cancels_by_login = False
    state_spans_databases = False

    def __init__(self, nonce: Callable[[int], bytes]) -> None:
        self._nonce = nonce
        """Makes random bytes: ``secrets.token_bytes``."""

    def socket_path(self, host: str, port: int) -> str:
        return f"{host}/.s.PGSQL.{port}"

    def accept(self, arrival: Arrival) -> Conversation[Login | Cancel]:
        result = yield from accepting.accept(
            tls_available=arrival.tls_available,
            tls_required=arrival.tls_required,
            direct_tls=arrival.direct_tls,
            local_peer=arrival.local,
            nonce=self._nonce,
        )
        if isinstance(result, accepting.CancelRequest):
            return Cancel(number=result.process_id, secret=result.secret)
        settings = {
            name.lower(): value for name, value in {**result.options, **result.parameters}.items()
        }
        pool_key = tuple(sorted((n, v) for n, v in settings.items() if n in START_ONLY_PARAMETERS))
        return Login(
            user=result.user,
            database=result.database,
            pool_key=pool_key,
            settings={n: v for n, v in settings.items() if n not in START_ONLY_PARAMETERS},
            tls=result.tls,
            secret_bytes=32 if result.minor >= 2 else 4,
            recovered=result.client_keys,
        )

    def log_in_again(self, arrival: Arrival, errand: LogInAgain) -> Conversation[Login]:
        raise NotImplementedError("sessions of PostgreSQL are their users' to the end")

    def client_secret(self, method: str, secret: str | None, derived: dict[str, Any]) -> Any:
        return accepting.client_secret(method or "scram-sha-256", secret, derived)

    def server_secret(self, secret: str, derived: dict[str, Any], recovered: Any) -> Any:
        return logging_in.server_secret(secret, derived, recovered)

    def log_in(self, plan: ServerPlan) -> Conversation[ServerSession]:
        result = yield from logging_in.login(
            user=plan.user,
            database=plan.database,
            parameters=plan.parameters,
            tls_mode=plan.tls_mode,
            unix_socket=plan.unix_socket,
            secret=plan.secret,
            nonce=self._nonce,
        )
        return ServerSession(
            reported=result.parameters,
            process_id=result.process_id,
            cancel_request=cancel_request(result.process_id, result.secret),
            tls=result.tls,
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
        usable_connections = (yield from warmup.usable_connections()) if limits else 0
        if shared.catalogue_is_due(now):
            shared.hidden = yield from warmup.hidden_effects()
        baseline = (yield from warmup.initialise(init_query)) if init_query else {}
        return ServerFacts(usable_connections=usable_connections, baseline=baseline)

    def cancel(self, request: bytes, plan: ServerPlan | None, *, tls: bool) -> Conversation[None]:
        return logging_in.cancel(request, tls=tls)

    def learn_target(self, plan: ServerPlan | None) -> Conversation[Any]:
        raise NotImplementedError("clients of PostgreSQL speak first")

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
        startup = shared.settings.intern(login.settings)
        stream = PostgresClientStream(shared, startup, backend_key_data(number, secret))
        if session_pooling:
            stream.session.permanent = SESSION_POOLING
        return stream

    def greeting(self, shared: PoolState, stream: ClientStream) -> bytes | None:
        assert isinstance(stream, PostgresClientStream)
        reported = shared.greeting(stream.session.startup)
        return None if reported is None else stream.greet(reported)

    def server_stream(
        self, shared: PoolState, session: ServerSession, facts: ServerFacts
    ) -> ServerStream:
        shared.learn_baseline(facts.baseline)
        stream = PostgresServerStream(
            shared, shared.intern_reported(session.reported), shared.settings.none
        )
        stream.process_id = session.process_id.to_bytes(4, "big")
        return stream

    def pack(self, stream: ServerStream) -> dict[str, Any]:
        assert isinstance(stream, PostgresServerStream)
        return {
            "reported": stream.reported,
            "baseline": stream.shared.baseline,
            "process": stream.process_id.hex(),
        }

    def unpack(self, shared: PoolState, facts: dict[str, Any]) -> ServerStream:
        shared.learn_baseline(facts["baseline"])
        reported = shared.intern_reported(facts["reported"])
        stream = PostgresServerStream(shared, reported, shared.settings.none)
        stream.process_id = bytes.fromhex(facts["process"])
        # DISCARD ALL takes the last session's settings, statements and all else away.
        stream.dirty = True
        return stream

    def reply(self, error: ProxyError, arrival: Arrival) -> bytes:
        return error_reply(error)
