"""One picture of all workers, for a scrape and the status page."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from proxy import __version__
from proxy.metrics.merge import history, merge
from proxy.metrics.snapshot import Snapshot
from proxy.net import logs, runtime
from proxy.workers.messages import TakeSnapshot

if TYPE_CHECKING:
    from proxy.workers.member import Member
    from proxy.workers.supervisor import Supervisor

ANSWER_S: Final = 2.0
"""Seconds the workers get to say what they look like; of one that does not, the last picture is
shown."""


class Scrape:
    """Asks the workers, and adds up what they say."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._history = Snapshot()
        """What workers that have ended had counted."""
        self._serial = 0
        self._asking: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Get a fresh picture of every worker; those who ask at the same time share it."""
        if self._asking is None or self._asking.done():
            self._asking = runtime.spawn(self._ask(), "snapshot")
        await asyncio.wait({self._asking})

    async def _ask(self) -> None:
        self._serial += 1
        answers: list[asyncio.Future[None]] = []
        for member in self._supervisor.members:
            if member.ready:
                member.snapshot_taken = asyncio.get_running_loop().create_future()
                answers.append(member.snapshot_taken)
                member.send(TakeSnapshot(self._serial))
        if answers:
            await asyncio.wait(answers, timeout=ANSWER_S)

    def remember(self, member: Member) -> None:
        """Keep in the sums what a worker that has ended had counted."""
        if member.snapshot is not None:
            self._history = merge([self._history, history(member.snapshot)])
            member.snapshot = None

    def _processes(self) -> dict[str, int]:
        running = {
            str(member.number): member.process.pid
            for member in self._supervisor.members
            if member.process is not None and member.process.returncode is None
        }
        return {"supervisor": os.getpid(), **running}

    def latest(self) -> Snapshot:
        """What is known of the whole now."""
        supervisor = self._supervisor
        members = supervisor.members
        known = [member.snapshot for member in members if member.snapshot is not None]
        merged = merge([*known, self._history])
        targets = tuple(
            replace(row, max_allowed=supervisor.budgets.accounts[row.proxy].ledger.budget)
            for row in merged.targets
        )
        build = {**runtime.build_facts(__version__), "workers": str(len(members))}
        return replace(
            merged,
            targets=targets,
            ready=any(member.ready for member in members),
            draining=supervisor.draining or supervisor.stop.is_set(),
            build=build,
            processes=self._processes(),
            log_records_dropped=merged.log_records_dropped + logs.dropped(),
        )
