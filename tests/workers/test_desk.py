from __future__ import annotations

import asyncio
from typing import cast

from proxy.config.load import parse
from proxy.metrics.counters import PoolCounters
from proxy.pool.pool import Pool
from proxy.postgres.pool_state import PoolState
from proxy.relay import Relay
from proxy.workers.desk import Desk, pool_key
from proxy.workers.messages import Message, Quota, Usage
from tests.config.sample import process_text
from tests.pool.pieces import client, fill


class Place:
    """A desk of a gateway that opens nothing, and what it has said."""

    def __init__(self) -> None:
        self.said: list[Usage] = []
        gateway = Relay(parse(process_text(), source="test")).gateways[0]
        self.opened: list[Pool] = []
        gateway.target.open_connection = self.opened.append
        self.target = gateway.target
        self.desk = Desk(gateway, self.say)
        shared = PoolState(max_prepared_statements=10)
        self.pool = Pool(self.target, ("db", "app", ()), PoolCounters(), 0, shared)
        self.target.pools.append(self.pool)
        self.serial = 0

    def say(self, message: Message) -> None:
        self.said.append(cast("Usage", message))

    def quota(self, slots: int, *, gently: bool = False) -> Usage:
        self.serial += 1
        self.desk.obey(Quota("main", self.serial, slots, 10, gently, []), 100.0)
        return self.said[-1]


async def test_has_nothing_until_told() -> None:
    place = Place()
    place.pool.park(client(place.pool), 0.0)
    assert not place.opened
    await asyncio.sleep(0.01)
    assert (place.said[-1].waiting, place.said[-1].quota) == (1, 0)
    assert place.said[-1].wanted == [], "it has opened none: it could not judge one from elsewhere"
    place.pool.counters.setup_succeeded = 1
    assert place.desk.usage().wanted == [["db", "app", ()]]
    answer = place.quota(1)
    assert place.opened == [place.pool]
    assert (answer.serial, answer.quota, answer.used, answer.coming) == (1, 1, 1, 1)


async def test_gives_up_gently_only_what_nobody_uses() -> None:
    place = Place()
    place.target.maximum = 5
    fill(place.pool, 3)
    lent = place.pool.take(10.0)
    assert lent is not None
    answer = place.quota(0, gently=True)
    assert answer.quota == 1
    assert place.pool.borrowed == 1
    assert place.pool.closing == 2
    assert answer.used == 3, "what is closing counts until it is gone"


async def test_keeps_its_quota_when_asked_gently_while_clients_wait() -> None:
    place = Place()
    place.target.maximum = 1
    fill(place.pool, 1)
    assert place.pool.take(10.0) is not None
    place.pool.park(client(place.pool), 11.0)
    assert place.quota(0, gently=True).quota == 1


async def test_obeys_an_order_as_connections_are_returned() -> None:
    place = Place()
    place.target.maximum = 2
    first, second = fill(place.pool, 2)
    assert place.pool.take(10.0) is second
    assert place.pool.take(10.0) is first
    assert place.quota(1).used == 2
    place.pool.give(second, 11.0)
    assert place.pool.closing == 1
    place.pool.closed(12.0)
    place.pool.give(first, 13.0)
    assert place.pool.idle == [first]


async def test_says_nothing_twice() -> None:
    place = Place()
    place.desk.report()
    place.desk.report()
    assert len(place.said) == 1


def test_pool_keys_survive_json() -> None:
    key = ("db", "app", (("log_connections", "on"),))
    assert pool_key(["db", "app", [["log_connections", "on"]]]) == key
