from __future__ import annotations

import asyncio

import pytest

from proxy.net.gate import Gate
from proxy.net.runtime import spawn


async def turns(count: int = 5) -> None:
    """Let everything that can go on do so."""
    for _ in range(count):
        await asyncio.sleep(0)


class Login:
    """Goes in when it may, and out when told."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.inside = False
        self.task = spawn(self._run(), "login")

    async def _run(self) -> None:
        await self.gate.enter(self)
        self.inside = True


async def test_few_at_once_in_the_order_they_came() -> None:
    gate = Gate(2, 60.0)
    logins = [Login(gate) for _ in range(5)]
    await turns()
    assert [login.inside for login in logins] == [True, True, False, False, False]
    assert gate.queued == 3
    gate.leave(logins[1])
    await turns()
    assert [login.inside for login in logins] == [True, True, True, False, False]
    gate.leave(logins[1])
    await turns()
    assert not logins[3].inside, "nobody leaves twice"
    for login in logins:
        gate.leave(login)
        await turns()
    assert all(login.inside for login in logins)
    gate.leave(logins[4])


async def test_the_slow_keep_nobody_out() -> None:
    gate = Gate(1, 0.01)
    slow, next_one = Login(gate), Login(gate)
    async with asyncio.timeout(5):
        await next_one.task
    assert slow.inside
    gate.leave(next_one)


@pytest.mark.parametrize("admitted", [False, True])
async def test_who_gives_up_waiting_takes_no_place(admitted: bool) -> None:
    gate = Gate(1, 60.0)
    first, quitter, last = (Login(gate) for _ in range(3))
    await turns()
    if admitted:
        gate.leave(first)  # Its turn has come, but it has not gone in yet.
    quitter.task.cancel()
    await turns()
    gate.leave(first)
    await turns()
    assert not quitter.inside
    assert last.inside
    gate.leave(last)
