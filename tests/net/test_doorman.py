from __future__ import annotations

import asyncio
import os
import socket

from proxy.net.doorman import ACCEPT_BATCH, Doorman


class House:
    """Takes clients while there is room."""

    def __init__(self) -> None:
        self.room = True
        self.clients: list[tuple[int, int]] = []
        self.changed = asyncio.Event()
        self.door = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.door.setblocking(False)
        self.doorman = Doorman(lambda: self.room, self.take)
        self.doorman.add(3, [self.door])

    def take(self, endpoint: int, descriptor: int) -> None:
        self.clients.append((endpoint, descriptor))
        self.changed.set()

    def knock(self) -> socket.socket:
        return socket.create_connection(self.door.getsockname())

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.clients) < count:
                self.changed.clear()
                await self.changed.wait()

    def close(self, *knocked: socket.socket) -> None:
        self.doorman.close()
        for _, descriptor in self.clients:
            os.close(descriptor)
        for connection in knocked:
            connection.close()


async def test_a_storm_is_let_in_by_batches() -> None:
    house = House()
    knocked = [house.knock() for _ in range(ACCEPT_BATCH + 5)]
    house.doorman.open()
    await house.until(1)
    assert len(house.clients) == ACCEPT_BATCH, "others get their turn first"
    await house.until(ACCEPT_BATCH + 5)
    assert {endpoint for endpoint, _ in house.clients} == {3}
    house.close(*knocked)


async def test_nobody_is_lost_while_there_is_no_room() -> None:
    house = House()
    house.room = False
    house.doorman.open()
    knocked = house.knock()
    await asyncio.sleep(0.05)
    assert not house.clients
    house.room = True
    await house.until(1)
    house.close(knocked)


async def test_nobody_is_let_in_through_a_shut_door() -> None:
    house = House()
    house.doorman.open()
    house.doorman.shut()
    knocked = house.knock()
    await asyncio.sleep(0.02)
    assert not house.clients
    house.doorman.open()
    await house.until(1)
    house.close(knocked)
