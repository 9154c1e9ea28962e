"""Leaving a database: which connections go, and which stay."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from proxy.net import vacating
from proxy.net.vacating import Vacating
from proxy.pool.upkeep import missing
from proxy.session.journal import Journal
from tests.pool.pieces import Place, client, fill

if TYPE_CHECKING:
    import pytest

    from proxy.pool.pool import Pool
    from proxy.session.client_link import ClientLink
    from proxy.session.server_link import ServerLink


def pools(*members: Pool) -> Vacating:
    return Vacating({pool.key: pool for pool in members})


async def test_a_pool_without_clients_goes_and_stays_away_until_one_comes() -> None:
    place = Place(10)
    pool, other = place.pool("scratch", minimum=2), place.pool("app")
    links, stay = fill(pool, 2), fill(other, 1)
    pools(pool, other).begin("scratch", None)
    assert all(link.closing_since for link in links)
    assert not stay[0].closing_since
    pool.closing = 0
    assert missing(pool, 1e12) == 0
    pool.warm_from = 0.0
    assert missing(pool, 1e12) == 2


async def test_a_pool_with_clients_stays() -> None:
    pool = Place(10).pool("scratch")
    [link] = fill(pool, 1)
    pool.sessions = 1
    pools(pool).begin("scratch", None)
    stranger = SimpleNamespace(pool=Place(1).pool("app"), closed=False)
    pools(pool).begin("scratch", cast("ClientLink", stranger))
    assert not link.closing_since


async def test_who_asks_is_not_in_its_own_way() -> None:
    pool = Place(10).pool("scratch", minimum=1)
    [link] = fill(pool, 1)
    pool.sessions = 1
    pools(pool).begin("scratch", client(pool))
    assert link.closing_since
    pool.closing = 0
    assert missing(pool, 0.0) == 0
    assert missing(pool, pool.warm_from + 1) == 1


async def test_it_looks_again_while_the_server_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vacating, "LOOK_S", 0.001)
    pool = Place(10).pool("scratch")
    [link] = fill(pool, 1)
    pool.sessions = 1
    pools(pool).begin("scratch", None)
    pool.sessions = 0
    retired = asyncio.Event()

    class Watch(Journal):
        def server_closed(self, server: ServerLink, reason: str) -> None:
            retired.set()

    link.journal = Watch()
    async with asyncio.timeout(5):
        await retired.wait()


async def test_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vacating, "VACATE_S", 0.0)
    pool = Place(10).pool("scratch")
    pools(pool).begin("scratch", None)
    pool.sessions = 1
    [link] = fill(pool, 1)
    pool.sessions = 0
    await asyncio.sleep(2 * vacating.LOOK_S)
    assert not link.closing_since


async def test_asking_often_makes_one_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    look = Vacating._look

    def counted(self: Vacating, database: str) -> None:
        looks.append(database)
        look(self, database)

    monkeypatch.setattr(Vacating, "_look", counted)
    monkeypatch.setattr(vacating, "LOOK_S", 0.001)
    monkeypatch.setattr(vacating, "VACATE_S", 0.01)
    pool = Place(10).pool("scratch")
    vacated = pools(pool)
    for _ in range(1000):
        vacated.begin("scratch", None)
    assert looks == ["scratch"]
    [link] = fill(pool, 1)
    vacated.begin("scratch", None)
    assert link.closing_since, "those that ask later are heard as well"
