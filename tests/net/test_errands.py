"""KILL and COM_CHANGE_USER, on sessions that only look like some."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from proxy.errors import NotYourSession, ProxyError, SessionKilled, UnknownSession
from proxy.net.errands import Errands
from proxy.wire.dialect import Cancel, Kill, LogInAgain, Move, VacateDatabases

if TYPE_CHECKING:
    from proxy.net.gateway import Gateway
    from proxy.session.client_link import ClientLink

OWN, OTHER, STRANGER = 1 << 30, (1 << 30) + 1, (1 << 30) + 2


class Client:
    """A session."""

    def __init__(self, number: int, user: str) -> None:
        self.number = number
        self.pool = SimpleNamespace(key=("db", user, ()))
        self.stream = SimpleNamespace(
            errand=None, errand_done=self.told, to_client=b"answer", held=b"more"
        )
        self.errors: list[ProxyError | None] = []
        self.written: list[bytes] = []
        self.events: list[object] = []
        self.transport = SimpleNamespace(
            write=self.written.append,
            set_protocol=lambda protocol: self.events.append(protocol),
            get_extra_info=lambda _: None,
        )
        self.counters = object()
        self.server: object = None
        self.closed = self.parked = False

    def told(self, error: ProxyError | None) -> None:
        """Hear what came of it."""
        self.errors.append(error)

    def close(self, reason: str) -> None:
        """End."""
        self.closed = True
        self.events.append(reason)

    def finish(self, reason: str) -> None:
        """Let go."""
        self.events.append(reason)

    def resume_client(self) -> None:
        """Read on."""
        self.events.append("resumed")

    def start(self, data: bytes, now: float) -> None:
        """Go on without a server."""
        self.events.append(data)

    def forward(self, data: bytes, server: object, now: float) -> None:
        """Go on with one."""
        self.events.append((data, server))


class Place:
    """A gateway with three sessions, and perhaps another process."""

    def __init__(self, *, forwards: bool = False) -> None:
        self.own, self.other = Client(OWN, "app"), Client(OTHER, "app")
        self.stranger = Client(STRANGER, "stranger")
        everyone = (self.own, self.other, self.stranger)
        self.clients = {client.number: client for client in everyone}
        self.cancelled: list[Cancel] = []
        self.forwarded: list[Cancel] = []
        self.again: list[Any] = []
        self.forwards = forwards
        self.pools: dict[object, object] = {}
        self.told: list[str] = []
        self.oversight = SimpleNamespace(
            forward_cancel=self.forward_cancel,
            forward_vacate=lambda _gateway, name: self.told.append(name),
        )
        self.errands = Errands(cast("Gateway", self))

    def cancel(self, request: Cancel) -> None:
        """Cancel here."""
        self.cancelled.append(request)

    def forward_cancel(self, _gateway: object, request: Cancel) -> bool:
        """Cancel elsewhere."""
        self.forwarded.append(request)
        return self.forwards

    async def serve_again(self, *given: Any) -> None:
        """See a client in again."""
        self.again.append(given)

    async def kill(self, number: int, *, query_only: bool) -> ProxyError | None:
        """Let the first session ask for it, and wait until it goes on."""
        self.own.stream.errand = Kill(number, query_only)
        self.errands.run(cast("ClientLink", self.own))
        await asyncio.sleep(0)
        [error] = self.own.errors
        return error


@pytest.mark.parametrize("query_only", [False, True])
async def test_a_session_of_the_same_user_can_be_killed(query_only: bool) -> None:
    place = Place()
    assert await place.kill(OTHER, query_only=query_only) is None
    assert place.cancelled == [Cancel(OTHER, b"", "app", whole=not query_only)]
    assert place.own.written == [b"answer"]
    assert place.own.events == [b"more"], "what came behind is dealt with"


async def test_another_users_cannot() -> None:
    place = Place()
    error = await place.kill(STRANGER, query_only=False)
    assert isinstance(error, NotYourSession)
    assert str(error) == f"You are not owner of thread {STRANGER}"
    assert not place.cancelled


async def test_one_that_is_not_there() -> None:
    place = Place()
    error = await place.kill(OWN + 9, query_only=True)
    assert isinstance(error, UnknownSession)
    assert str(error) == f"Unknown thread id: {OWN + 9}"


async def test_one_of_another_process() -> None:
    place = Place(forwards=True)
    assert await place.kill(OWN + 9, query_only=True) is None
    assert place.forwarded == [Cancel(OWN + 9, b"", "app", whole=False)]


async def test_oneself() -> None:
    place = Place()
    assert await place.kill(OWN, query_only=True) is None
    assert not place.own.closed
    place = Place()
    assert isinstance(await place.kill(OWN, query_only=False), SessionKilled)
    assert place.own.events == ["killed"]


async def test_a_session_with_a_server_goes_on_with_it() -> None:
    place = Place()
    place.own.server = "server"
    await place.kill(OTHER, query_only=True)
    assert place.own.events == [(b"", "server")]


async def test_a_session_that_is_closed_meanwhile_does_not_go_on() -> None:
    place = Place()
    place.own.stream.errand = Kill(OTHER, query_only=True)
    place.errands.run(cast("ClientLink", place.own))
    place.own.closed = True
    await asyncio.sleep(0)
    assert place.own.events == []


async def test_a_login_on_the_same_connection() -> None:
    place = Place()
    errand = LogInAgain(b"\x11app", "facts")
    place.own.stream.errand = errand
    place.errands.run(cast("ClientLink", place.own))
    await asyncio.sleep(0)
    resumed, ended, connection = place.own.events
    assert (resumed, ended) == ("resumed", "user changed")
    assert place.again == [(connection, place.own.counters, OWN, errand)]
    assert await cast("Any", connection).first_byte() == b"more"[0]


async def test_databases_to_be_left() -> None:
    place = Place()
    place.own.stream.errand = VacateDatabases(("scratch",))
    place.own.server = "server"
    place.errands.run(cast("ClientLink", place.own))
    await asyncio.sleep(0)
    assert place.told == ["scratch"], "other processes leave it, too"
    assert place.own.written == [], "the answer is the server's"
    assert place.own.events == [(b"", "server")]


class Pool:
    """As much of a pool as a session that moves has to do with."""

    def __init__(self, key: object, sessions: int) -> None:
        self.key, self.sessions, self.warm_from = key, sessions, 5.0
        self.adopted: list[object] = []
        self.asked: list[object] = []
        self.target = SimpleNamespace(demand=lambda pool, now: self.asked.append(pool))

    def adopt(self, server: object) -> None:
        """Take over a connection."""
        self.adopted.append(server)


@pytest.mark.parametrize("along", [False, True])
async def test_a_session_joins_the_pool_of_another_database(along: bool) -> None:
    place = Place()
    left = Pool(("", "app", ("x",)), 3)
    joined = Pool(("shop", "app", ("x",)), 0)
    cast("Any", place).pool = {joined.key: joined}.__getitem__
    cast("Any", place.own).pool = left
    place.own.stream.moved = lambda: along
    place.own.server = "server" if along else None
    if along:
        place.errands.move(cast("ClientLink", place.own), "shop")
    else:
        place.own.stream.errand = Move("shop")
        place.errands.run(cast("ClientLink", place.own))
    assert cast("Any", place.own).pool is joined
    assert (left.sessions, joined.sessions, joined.warm_from) == (2, 1, 0.0)
    assert joined.adopted == (["server"] if along else [])
    assert left.asked == ([left] if along else []), "its waiters need another connection"
    await asyncio.sleep(0)
    assert place.own.events == ([] if along else [b"more"])
