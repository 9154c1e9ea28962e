"""The bases promise nothing themselves, and every engine's streams keep every promise."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from proxy.errors import ProxyError
from proxy.mysql.client_stream import MysqlClientStream
from proxy.mysql.server_stream import MysqlServerStream
from proxy.postgres.client_stream import PostgresClientStream
from proxy.postgres.server_stream import PostgresServerStream
from proxy.wire.stream import NEED_BYTES, NEED_NOTHING, NEED_SERVER, ClientStream, ServerStream

SERVER_CALLS: dict[str, tuple[Any, ...]] = {
    "receive": (b"",),
    "is_idle": (),
    "is_quiet": (),
    "is_forwarding": (),
    "awaits_client": (),
    "has_backlog": (),
    "in_transaction": (),
    "recover": (),
    "unstick": (),
    "probe": (),
    "needs_cleaning": (),
    "goodbye": (),
    "reusable": (),
}
CLIENT_CALLS: dict[str, tuple[Any, ...]] = {
    "demand": (b"",),
    "answer_alone": (),
    "attach": (ServerStream(),),
    "detach": (),
    "receive": (b"",),
    "settle": (),
    "pin_reason": (),
    "moving": (),
    "moved": (),
    "forgives": (ProxyError(""),),
    "in_message": (),
    "errand_done": (None,),
    "refuse": (ProxyError(""),),
    "greeting_query": (),
    "greeting": (),
    "say": (ProxyError(""),),
}
BASES = [(ServerStream, SERVER_CALLS), (ClientStream, CLIENT_CALLS)]
ENGINES = [
    (ServerStream, PostgresServerStream),
    (ClientStream, PostgresClientStream),
    (ServerStream, MysqlServerStream),
    (ClientStream, MysqlClientStream),
]


def methods(base: type) -> set[str]:
    """Give the names of a class's public methods, compiled or not."""
    return {name for name, item in vars(base).items() if name[0] != "_" and inspect.isroutine(item)}


@pytest.mark.parametrize(("base", "calls"), BASES)
def test_every_promise_must_be_kept_by_an_engine(
    base: type, calls: dict[str, tuple[Any, ...]]
) -> None:
    assert methods(base) == set(calls)
    for name, arguments in calls.items():
        with pytest.raises(NotImplementedError):
            getattr(base(), name)(*arguments)


@pytest.mark.parametrize(("base", "engine"), ENGINES)
def test_an_engine_keeps_every_promise(base: type, engine: type) -> None:
    assert issubclass(engine, base)
    for name in methods(base):
        assert getattr(engine, name) is not getattr(base, name), f"{engine.__name__}.{name}"


def test_a_new_stream_asks_for_nothing() -> None:
    server, client = ServerStream(), ClientStream()
    assert (server.to_client, server.error, server.completed) == (b"", "", 0)
    assert not server.farewell
    assert not server.resume
    assert (client.to_server, client.to_client, client.held) == (b"", b"", b"")
    assert client.error is None
    assert not client.terminated
    assert not client.waiting
    assert client.errand is None


def test_needs_differ() -> None:
    assert len({NEED_BYTES, NEED_SERVER, NEED_NOTHING}) == 3
