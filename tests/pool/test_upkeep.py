from __future__ import annotations

from proxy.pool.upkeep import SURPLUS_IDLE_S, expired_waiters, missing, surplus
from tests.pool.pieces import Place, client, fill, server


def test_waiters_expire_in_order() -> None:
    pool = Place(1).pool()
    early, late = client(pool, 1), client(pool, 2)
    pool.park(early, 10.0)
    pool.park(late, 15.0)
    assert expired_waiters(pool, 19.9, 10.0) == []
    assert expired_waiters(pool, 20.0, 10.0) == [early]
    assert expired_waiters(pool, 25.0, 10.0) == [early, late]


def test_surplus_goes_longest_idle_first_and_only_after_a_while() -> None:
    place = Place(10)
    pool = place.pool()
    first, second, _third = fill(pool, 3)
    assert surplus(place.target, SURPLUS_IDLE_S - 1, 1) == []
    assert surplus(place.target, SURPLUS_IDLE_S + 10, 1) == [first, second]
    assert surplus(place.target, SURPLUS_IDLE_S + 10, 3) == []


def test_the_minimum_is_kept() -> None:
    place = Place(10)
    pool = place.pool(minimum=3)
    fill(pool, 3)
    assert surplus(place.target, 1000.0, 0) == []


def test_what_is_past_its_lifetime_goes_at_once() -> None:
    place = Place(10)
    pool = place.pool()
    pool.connecting += 1
    link = server(pool, 0.0, lifetime_s=5.0)
    pool.opened(link, 0.0)
    assert surplus(place.target, 4.0, 10) == []
    assert surplus(place.target, 5.0, 10) == [link]


def test_a_smaller_budget_closes_idle_connections_at_once() -> None:
    place = Place(4)
    pool = place.pool()
    links = fill(pool, 4)
    place.target.maximum = 1
    assert surplus(place.target, 5.0, 4) == links[:3]


def test_connections_missing_to_the_minimum() -> None:
    place = Place(4)
    pool = place.pool(minimum=3)
    assert missing(pool, 1.0) == 3
    fill(pool, 2)
    assert missing(pool, 1.0) == 1
    place.target.maximum = 2
    assert missing(pool, 1.0) == 0
    place.target.maximum = 9
    pool.retry_at = 5.0
    assert missing(pool, 4.0) == 0


def test_the_minimum_is_kept_by_one_look_at_many() -> None:
    place = Place(10)
    pool = place.pool(minimum=3)
    links = fill(pool, 5)
    assert surplus(place.target, 1000.0, 0) == links[:2]
