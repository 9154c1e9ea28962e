from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.pool.pieces import Place, client, fill

if TYPE_CHECKING:
    from proxy.session.client_link import ClientLink
    from proxy.session.server_link import ServerLink


def test_opens_what_waiters_need_within_the_budget() -> None:
    place = Place(3)
    pool = place.pool()
    for number in range(5):
        pool.park(client(pool, number), 1.0)
    assert len(place.asked) == 3
    place.open_asked(2.0)
    assert len(pool.waiters) == 2
    assert place.target.used == 3


def test_takes_the_longest_idle_connection_of_another_pool() -> None:
    place = Place(3)
    rich, poor = place.pool("rich"), place.pool("poor")
    oldest, _, _ = fill(rich, 3)
    poor.park(client(poor), 10.0)
    assert oldest.closing_since > 0
    assert place.asked == []
    oldest.connection_lost(None)
    assert place.asked == [poor]
    assert place.target.used == 3


def test_one_connection_is_closed_for_one_waiter() -> None:
    place = Place(3)
    rich, poor = place.pool("rich"), place.pool("poor")
    fill(rich, 3)
    poor.park(client(poor), 10.0)
    place.target.demand(poor, 11.0)
    place.target.demand(poor, 12.0)
    assert len(rich.idle) == 2


def test_a_busy_pool_gives_way_to_one_that_has_nothing() -> None:
    place = Place(2)
    greedy, starved = place.pool("greedy"), place.pool("starved")
    one, two = fill(greedy, 2)
    assert greedy.take(3.0) is two
    assert greedy.take(3.0) is one
    greedy.park(client(greedy, 1), 4.0)
    starved.park(client(starved, 2), 5.0)
    greedy.give(one, 6.0)
    assert one.closing_since > 0
    one.connection_lost(None)
    assert place.asked == [starved]


def test_a_smaller_budget_is_reached_as_connections_come_back() -> None:
    place = Place(3)
    pool = place.pool()
    links = fill(pool, 3)
    for _ in links:
        pool.take(5.0)
    place.target.set_maximum(1, 6.0)
    for link in links:
        pool.give(link, 7.0)
    assert len(pool.idle) == 3 - sum(link.closing_since > 0 for link in links)
    assert sum(link.closing_since > 0 for link in links) >= 2


@pytest.mark.parametrize("seed", range(20))
def test_never_above_the_budget_and_everybody_is_served(seed: int) -> None:
    chance = random.Random(seed)
    place = Place(chance.randint(1, 6))
    pools = [place.pool(f"db{number}") for number in range(chance.randint(1, 4))]
    lent: list[ClientLink] = []
    waiting: list[ClientLink] = []
    served = 0
    links: set[ServerLink] = set()
    for step in range(20_000):
        now = float(step)
        if step >= 1000 and not waiting and not lent:
            break
        if step < 1000 and chance.random() < 0.6:
            pool = chance.choice(pools)
            newcomer = client(pool, step)
            newcomer.parked = False
            newcomer.borrow(now)
            (lent if newcomer.server else waiting).append(newcomer)
        if place.asked and chance.random() < 0.7:
            links.update(place.open_asked(now))
        if lent and chance.random() < 0.6:
            done = lent.pop(chance.randrange(len(lent)))
            link = done.server
            assert link is not None
            link.stream.pipeline.pop()  # type: ignore[attr-defined]
            done.server_idle(link, now)
            served += 1
        for pool in pools:
            links.update(link for link in pool.idle)  # type: ignore[misc]
        for link in [link for link in links if link.closing_since and chance.random() < 0.5]:
            links.discard(link)
            link.connection_lost(None)
        for pool in pools:
            if pool.waiters:
                place.target.demand(pool, now)
        for waiter in [waiter for waiter in waiting if waiter.server is not None]:
            waiting.remove(waiter)
            lent.append(waiter)
        links.update(client.server for client in lent if client.server is not None)
        assert place.target.used <= place.target.maximum
        assert sum(pool.open for pool in pools) <= place.target.maximum
    assert waiting == []
    assert served > 200
