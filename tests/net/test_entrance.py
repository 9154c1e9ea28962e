"""Clients are let in a few at a time, in order, and nobody waits for a slow one for long."""

from __future__ import annotations

import asyncio
import time

import pytest

from proxy.net.entrance import Entrance

LONG_S = 60.0


async def settled() -> None:
    """Let everything that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_next_in_order_is_let_in_when_one_is_done() -> None:
    entrance = Entrance(2, LONG_S)
    entered: list[int] = []
    ends = {}

    async def client(number: int) -> None:
        ends[number] = await entrance.enter()
        entered.append(number)

    tasks = [asyncio.create_task(client(number)) for number in range(5)]
    await settled()
    assert entered == [0, 1]
    ends[1]()
    ends[1]()
    await settled()
    assert entered == [0, 1, 2]
    ends[0]()
    ends[2]()
    await asyncio.gather(*tasks)
    assert entered == [0, 1, 2, 3, 4]
    for end in ends.values():
        end()


async def test_a_slow_one_holds_nobody_up() -> None:
    entrance = Entrance(1, 0.01)
    await entrance.enter()
    async with asyncio.timeout(5):
        await entrance.enter()


async def test_who_leaves_while_waiting_takes_no_place() -> None:
    entrance = Entrance(1, LONG_S)
    end = await entrance.enter()
    impatient = asyncio.create_task(entrance.enter())
    patient = asyncio.create_task(entrance.enter())
    await settled()
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    end()
    async with asyncio.timeout(5):
        (await patient)()


async def test_who_leaves_just_as_its_turn_comes_passes_it_on() -> None:
    entrance = Entrance(1, LONG_S)
    end = await entrance.enter()
    impatient = asyncio.create_task(entrance.enter())
    patient = asyncio.create_task(entrance.enter())
    await settled()
    end()
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    async with asyncio.timeout(5):
        (await patient)()


async def test_while_the_loop_is_busy_nobody_is_slow() -> None:
    entrance = Entrance(1, 0.01)
    await entrance.enter()
    waiting = asyncio.create_task(entrance.enter())
    await settled()
    time.sleep(0.05)  # noqa: ASYNC251 - the loop must be held up
    await settled()
    assert not waiting.done()
    async with asyncio.timeout(5):
        await waiting
