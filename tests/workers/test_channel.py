from __future__ import annotations

import asyncio
import os
import socket

from proxy.workers.channel import Channel
from proxy.workers.messages import Closed, Configure, Message, NewClient


class End:
    """One end of a channel and what came out of it."""

    def __init__(self, connection: socket.socket) -> None:
        self.got: list[tuple[Message, int]] = []
        self.reasons: list[str] = []
        self.changed = asyncio.Event()
        self.channel = Channel(connection, self._received, self._ended)

    def _received(self, message: Message, descriptor: int) -> None:
        self.got.append((message, descriptor))
        self.changed.set()

    def _ended(self, reason: str) -> None:
        self.reasons.append(reason)
        self.changed.set()

    async def until(self, count: int) -> None:
        """Wait for so many messages and ends."""
        async with asyncio.timeout(10):
            while len(self.got) + len(self.reasons) < count:
                self.changed.clear()
                await self.changed.wait()


def pair() -> tuple[End, End]:
    left, right = socket.socketpair()
    return End(left), End(right)


async def test_descriptors_stay_with_their_messages() -> None:
    left, right = pair()
    pipes = [os.pipe() for _ in range(20)]
    for number, (reader, writer) in enumerate(pipes):
        left.channel.send(Closed(number))
        left.channel.send(NewClient(number), writer)
        os.set_blocking(reader, False)
    await right.until(40)
    for number, (reader, _) in enumerate(pipes):
        assert right.got[2 * number] == (Closed(number), -1)
        message, descriptor = right.got[2 * number + 1]
        assert message == NewClient(number)
        os.write(descriptor, b"%d" % number)
        assert os.read(reader, 10) == b"%d" % number
        os.close(descriptor)
        assert os.read(reader, 10) == b"", "the sender has closed its own"
        os.close(reader)
    left.channel.close()
    right.channel.close()


async def test_what_does_not_fit_waits() -> None:
    left, right = pair()
    text = "x" * 300_000
    for serial in range(10):
        left.channel.send(Configure(serial, text))
    assert left.channel.backlog
    await right.until(10)
    assert [message for message, _ in right.got] == [Configure(n, text) for n in range(10)]
    assert left.channel.backlog == 0
    left.channel.close()
    right.channel.close()


async def test_the_end_is_told_once() -> None:
    left, right = pair()
    left.channel.send(Closed(1))
    left.channel.close()
    await right.until(2)
    assert right.got == [(Closed(1), -1)]
    assert right.reasons == ["closed"]
    assert left.reasons == []
    right.channel.send(Closed(2))
    right.channel.close()


async def test_garbage_ends_the_channel() -> None:
    ours, theirs = socket.socketpair()
    end = End(ours)
    theirs.send(b"\0\0\0\2[]")
    await end.until(1)
    assert "unknown type" in end.reasons[0]
    theirs.close()


async def test_a_missing_descriptor_ends_the_channel() -> None:
    ours, theirs = socket.socketpair()
    end = End(ours)
    data = b'{"type":"NewClient","endpoint":1}'
    theirs.send(len(data).to_bytes(4, "big") + data)
    await end.until(1)
    assert "descriptor" in end.reasons[0]
    theirs.close()
