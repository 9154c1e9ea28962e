"""The ledger against workers that obey it, with messages under way for any length of time."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.workers.quota import FAIRNESS_S, Grant, Ledger, fair_shares

if TYPE_CHECKING:
    from collections.abc import Hashable


EVENTS = ["want", "finish", "obey", "hear", "report", "die", "wait"]


class Worker:
    """A worker in the manner of ``desk.py``: connections idle or busy, clients that wait."""

    def __init__(self) -> None:
        self.quota = 0
        self.serial = 0
        self.busy = 0
        self.idle = 0
        self.waiting = 0
        self.inbox: deque[Grant] = deque()
        self.outbox: deque[dict[str, int]] = deque()

    @property
    def used(self) -> int:
        return self.busy + self.idle

    def settle(self) -> None:
        """Close idle connections above the quota; serve who waits."""
        self.idle -= min(self.idle, max(0, self.used - self.quota))
        while self.waiting and (self.idle or self.used < self.quota):
            self.idle -= self.idle > 0
            self.waiting -= 1
            self.busy += 1

    def finish(self, count: int) -> None:
        """Clients return connections."""
        count = min(count, self.busy)
        self.busy -= count
        self.idle += count
        self.settle()

    def obey(self) -> None:
        """Take the next message from the supervisor."""
        grant = self.inbox.popleft()
        self.serial = grant.serial
        slots = grant.slots
        if grant.gently:
            slots = self.quota if self.waiting else min(self.quota, max(slots, self.busy))
        self.quota = slots
        self.settle()
        self.report()

    def report(self) -> None:
        """Say how things are."""
        self.outbox.append(
            {
                "serial": self.serial,
                "quota": self.quota,
                "used": self.used,
                "idle": self.idle,
                "coming": 0,
                "waiting": self.waiting,
            }
        )


class World:
    """A ledger and its workers; time passes when the test says so."""

    def __init__(self, budget: int, workers: int) -> None:
        self.ledger = Ledger(budget)
        self.now = 0.0
        self.workers: dict[Hashable, Worker] = {}
        self.dying = 0
        for index in range(workers):
            self.start(index)

    def start(self, index: int) -> None:
        self.workers[index] = Worker()
        self.ledger.join(index)

    def die(self, index: int) -> None:
        """Kill a worker; what it held ends later."""
        worker = self.workers.pop(index)
        self.dying += worker.used
        self.ledger.leave(index)
        self.start(index)

    def hear(self, index: Hashable) -> None:
        """Deliver a worker's next report."""
        worker = self.workers[index]
        if worker.outbox:
            self.ledger.usage(index, **worker.outbox.popleft())
            self.decide()

    def decide(self) -> None:
        for grant in self.ledger.decide(self.now):
            self.workers[grant.worker].inbox.append(grant)
        self.check()

    def bury(self) -> None:
        """The server has ended the processes of dead workers."""
        self.dying = 0
        self.ledger.release(self.ledger.held)
        self.decide()

    def check(self) -> None:
        used = sum(worker.used for worker in self.workers.values()) + self.dying
        assert used <= self.ledger.budget

    def calm(self, rounds: int = 60) -> None:
        """Deliver everything, again and again."""
        for _ in range(rounds):
            self.now += FAIRNESS_S
            for index, worker in self.workers.items():
                worker.report()
                while worker.outbox or worker.inbox:
                    if worker.inbox:
                        worker.obey()
                        self.check()
                    self.hear(index)


@settings(max_examples=200)
@given(budget=st.integers(1, 12), workers=st.integers(1, 4), data=st.data())
def test_never_above_the_budget_whatever_happens(
    budget: int, workers: int, data: st.DataObject
) -> None:
    world = World(budget, workers)
    for _ in range(data.draw(st.integers(0, 60))):
        index = data.draw(st.integers(0, workers - 1))
        worker = world.workers[index]
        match data.draw(st.sampled_from(EVENTS)):
            case "want":
                worker.waiting += data.draw(st.integers(1, 8))
                worker.settle()
            case "finish":
                worker.finish(data.draw(st.integers(1, 8)))
            case "obey":
                if worker.inbox:
                    worker.obey()
            case "hear":
                world.hear(index)
            case "report":
                worker.report()
            case "die":
                world.die(index)
                if data.draw(st.booleans()):
                    world.bury()
            case _:
                world.now += FAIRNESS_S
                world.decide()
        world.check()


@settings(max_examples=100)
@given(
    budget=st.integers(1, 20),
    first=st.lists(st.integers(0, 30), min_size=2, max_size=4),
    second=st.lists(st.integers(0, 30), min_size=4, max_size=4),
)
@example(budget=3, first=[0, 2, 2], second=[0, 3, 0, 0])
def test_whoever_has_load_gets_the_budget(budget: int, first: list[int], second: list[int]) -> None:
    """After any load another one takes over; then nothing is left unused while anybody waits."""
    world = World(budget, len(first))
    for loads in (first, second[: len(first)]):
        for index, load in enumerate(loads):
            worker = world.workers[index]
            worker.waiting = 0
            worker.finish(worker.busy)
            worker.waiting = load
            worker.settle()
        world.calm()
        busy = sum(worker.busy for worker in world.workers.values())
        assert busy == min(budget, sum(loads))


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_busy_workers_share_fairly(workers: int) -> None:
    world = World(12, workers)
    world.workers[0].waiting = 50
    world.calm()
    assert world.workers[0].busy == 12
    for worker in world.workers.values():
        worker.waiting = 50
    for _ in range(30):
        for worker in world.workers.values():
            worker.finish(2)
            worker.waiting = 50
            worker.settle()
        world.calm(1)
    busy = [worker.busy for worker in world.workers.values()]
    assert sum(busy) == 12
    assert max(busy) - min(busy) <= 2


def test_a_smaller_budget_is_reached_as_connections_are_returned() -> None:
    world = World(8, 2)
    for worker in world.workers.values():
        worker.waiting = 4
    world.calm()
    world.ledger.budget = 2
    for worker in world.workers.values():
        worker.waiting = 10
    for index, worker in world.workers.items():
        for grant in world.ledger.decide(world.now):
            world.workers[grant.worker].inbox.append(grant)
        while worker.inbox:
            worker.obey()
        worker.finish(4)
        worker.report()
        world.ledger.usage(index, **worker.outbox.pop())
    assert sum(worker.used for worker in world.workers.values()) <= 2


def test_slots_of_the_dead_are_held_until_released() -> None:
    world = World(4, 2)
    world.workers[0].waiting = 4
    world.calm()
    world.die(0)
    world.workers[1].waiting = 4
    world.calm()
    assert world.workers[1].used == 0
    world.bury()
    world.calm()
    assert world.workers[1].busy == 4


def test_a_connection_sent_counts_on_top_of_what_is_above_the_quota() -> None:
    ledger = Ledger(6)
    for worker in "ab":
        ledger.join(worker)
    known = {"idle": 0, "coming": 0, "waiting": 0}
    ledger.usage("a", serial=0, quota=2, used=4, **known)
    assert ledger.shares["a"].bound == 4
    ledger.held += 1
    grant = ledger.adopt("a")
    assert (grant.slots, ledger.held) == (3, 0)
    assert ledger.shares["a"].bound == 5
    ledger.usage("a", serial=grant.serial, quota=3, used=5, **known)
    assert ledger.committed == 5


def test_who_is_above_its_quota_is_sent_nothing() -> None:
    ledger = Ledger(6)
    for worker in "ab":
        ledger.join(worker)
    ledger.usage("a", serial=0, quota=1, used=3, idle=0, coming=0, waiting=9)
    assert ledger.neediest(["a", "b"]) is None
    ledger.usage("b", serial=0, quota=1, used=1, idle=0, coming=0, waiting=1)
    assert ledger.neediest(["a", "b"]) == "b"


@given(st.integers(0, 50), st.dictionaries(st.integers(0, 5), st.integers(0, 40), max_size=6))
def test_fair_shares(budget: int, demands: dict[Hashable, int]) -> None:
    shares = fair_shares(budget, demands)
    assert sum(shares.values()) == min(budget, sum(demands.values()))
    for worker, share in shares.items():
        assert share <= demands[worker]
        if share < demands[worker]:
            assert all(other <= share + 1 for other in shares.values())
