"""Shares one target's budget of server connections among the relay workers, by demand.

The promise: whatever the workers do, and whichever messages are still on their way, they never hold
more than the budget together. So the ledger keeps, for each worker, an upper *bound* of what it may
hold: a raise counts from the moment it is sent, a reduction from the moment the worker has said
that it knows of it, and then only as far as its connections are really gone. What a worker that
died held counts (``held``) until the server's processes have ended.

Policy. Slots that nobody needs stay with the supervisor. A worker whose clients wait is given free
slots; then slots that other workers have and do not use, which they give up *gently* (they keep
what has come into use meanwhile); and when everybody is busy, those above their fair share
(max-min fairness over connections in use and clients waiting) give connections up as clients return
them. Pure: no clock, no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable

FAIRNESS_S: Final = 0.1
"""Least seconds between two corrections among workers that are all busy."""
TOLERANCE: Final = 8
"""A busy worker gives up what is above its fair share only if that is more than 1/8 of its quota:
demand fluctuates, and a connection that moves serves nobody meanwhile."""


@dataclass(slots=True)
class Share:
    """One worker's part."""

    slots: int = 0
    """Quota as last told to it."""
    bound: int = 0
    """It holds no more than this."""
    serial: int = 0
    """Of the last quota told to it."""
    settled: bool = True
    """It has answered that one."""
    used: int = 0
    idle: int = 0
    coming: int = 0
    waiting: int = 0

    @property
    def short(self) -> int:
        """Slots it needs and has not."""
        return max(0, self.waiting - self.coming - max(0, self.slots - self.used))

    @property
    def spare(self) -> int:
        """Slots it has and nobody there uses, as far as is known."""
        return 0 if self.waiting else max(0, self.slots - self.used + self.idle)

    @property
    def demand(self) -> int:
        """Slots in use or wanted."""
        return max(0, self.used - self.idle - self.coming) + max(self.waiting, self.coming)


@dataclass(frozen=True, slots=True)
class Grant:
    """What to tell a worker."""

    worker: Hashable
    serial: int
    slots: int
    gently: bool = False


@dataclass(slots=True)
class Ledger:
    """The budget of one target."""

    budget: int
    shares: dict[Hashable, Share] = field(default_factory=dict)
    held: int = 0
    """Slots of workers that are gone, or of connections between two workers."""
    _fair_at: float = float("-inf")

    @property
    def committed(self) -> int:
        """Slots that may be in use."""
        return self.held + sum(share.bound for share in self.shares.values())

    @property
    def free(self) -> int:
        """Slots that nobody can be using."""
        return max(0, self.budget - self.committed)

    def join(self, worker: Hashable) -> None:
        """A worker has started; it has nothing."""
        self.shares[worker] = Share()

    def leave(self, worker: Hashable) -> int:
        """A worker is gone: hold all it may have held; how much that is."""
        bound = self.shares.pop(worker).bound
        self.held += bound
        return bound

    def release(self, slots: int) -> None:
        """Slots that were held are free."""
        self.held = max(0, self.held - slots)

    def usage(
        self,
        worker: Hashable,
        *,
        serial: int,
        quota: int,
        used: int,
        idle: int,
        coming: int,
        waiting: int,
    ) -> None:
        """A worker has said how it uses its quota."""
        share = self.shares[worker]
        share.used, share.idle, share.coming, share.waiting = used, idle, coming, waiting
        share.settled = serial == share.serial
        if share.settled:
            share.slots = quota
            share.bound = max(quota, used)

    def give(self, worker: Hashable, slots: int) -> Grant:
        """Raise a worker's quota by slots that are free."""
        return self._tell(worker, self.shares[worker].slots + slots)

    def adopt(self, worker: Hashable) -> Grant:
        """Raise a worker's quota for a connection, held until now, that it is sent.

        It may use more than its quota when the connection comes: then it has one more still.
        """
        self.release(1)
        share = self.shares[worker]
        share.bound += 1
        return self._tell(worker, share.slots + 1)

    def neediest(self, among: list[Hashable]) -> Hashable | None:
        """The worker that lacks most slots; ``None`` if none of these does.

        One that uses more than its quota is about to give up connections itself.
        """
        short = {
            worker: self.shares[worker].short
            for worker in among
            if worker in self.shares and self.shares[worker].used <= self.shares[worker].slots
        }
        return max((w for w in short if short[w]), key=lambda worker: short[worker], default=None)

    def decide(self, now: float) -> list[Grant]:
        """Say what to tell which worker now; ``now`` is monotonic, in seconds."""
        if self.committed > self.budget:
            return self._shrink()
        grants = self._grant_free()
        short = sum(share.short for share in self.shares.values())
        # What is about to come back from workers that have more than their quota, and need no more.
        short -= sum(share.bound - share.slots for share in self.shares.values() if not share.short)
        if short > 0:
            short, asked = self._ask_spare(short)
            grants += asked
        if short > 0 and now - self._fair_at >= FAIRNESS_S:
            corrections = self._correct()
            if corrections:
                self._fair_at = now
            grants += corrections
        return grants

    def _tell(self, worker: Hashable, slots: int, *, gently: bool = False) -> Grant:
        share = self.shares[worker]
        share.slots = slots
        share.bound = max(share.bound, slots)
        share.serial += 1
        share.settled = False
        return Grant(worker, share.serial, slots, gently)

    def _shrink(self) -> list[Grant]:
        """The budget has become smaller than what is out: everybody down to a fair share."""
        fair = fair_shares(
            max(0, self.budget - self.held),
            {worker: max(share.demand, share.used) for worker, share in self.shares.items()},
        )
        return [
            self._tell(worker, fair[worker])
            for worker, share in self.shares.items()
            if share.slots > fair[worker]
        ]

    def _grant_free(self) -> list[Grant]:
        free = self.free
        given = dict.fromkeys(self.shares, 0)
        while free > 0:
            lacking = [
                worker
                for worker, share in self.shares.items()
                if share.settled and share.short > given[worker]
            ]
            if not lacking:
                break
            poorest = min(lacking, key=lambda worker: self.shares[worker].slots + given[worker])
            given[poorest] += 1
            free -= 1
        return [self.give(worker, slots) for worker, slots in given.items() if slots]

    def _ask_spare(self, short: int) -> tuple[int, list[Grant]]:
        """Ask for what others do not use, of whoever has most of it first."""
        grants: list[Grant] = []
        donors = [worker for worker, share in self.shares.items() if share.settled and share.spare]
        donors.sort(key=lambda worker: self.shares[worker].spare, reverse=True)
        for worker in donors:
            if short <= 0:
                break
            share = self.shares[worker]
            part = min(share.spare, short, share.slots)
            if part > 0:
                short -= part
                grants.append(self._tell(worker, share.slots - part, gently=True))
        return short, grants

    def _correct(self) -> list[Grant]:
        demands = {worker: share.demand for worker, share in self.shares.items()}
        fair = fair_shares(max(0, self.budget - self.held), demands)
        return [
            self._tell(worker, fair[worker])
            for worker, share in self.shares.items()
            if share.settled and (share.slots - fair[worker]) * TOLERANCE > share.slots
        ]


def fair_shares(budget: int, demands: dict[Hashable, int]) -> dict[Hashable, int]:
    """Max-min fair shares: nobody gets more than demanded, and who gets less than that gets no less
    than anybody else, but for one slot."""
    shares = dict.fromkeys(demands, 0)
    open_to = sorted(demands, key=lambda worker: demands[worker])
    while open_to and budget > 0:
        part = budget // len(open_to)
        worker = open_to[0]
        if demands[worker] <= part:
            shares[worker] = demands[worker]
            budget -= demands[worker]
            open_to.pop(0)
            continue
        extra = budget - part * len(open_to)
        for position, other in enumerate(open_to):
            shares[other] = part + (position < extra)
        break
    return shares
