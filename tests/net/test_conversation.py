"""The driver over real sockets, on asyncio's loop and on uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.errors import ClientAuthError, ClientProtocolError, ServerProtocolError
from proxy.net.conversation import BUFFER_BYTES, ConversationProtocol
from proxy.wire.steps import Fetch, InThread, Read, Send
from tests.support import messages as wire
from tests.support.connections import Run, Successor, dialled, raw, reading, serving, until

if TYPE_CHECKING:
    from proxy.wire.steps import Conversation

READY = wire.message("Z", b"I")


# In clear.


def test_reads_and_sends(run: Run) -> None:
    def echo() -> Conversation[bytes]:
        size = yield Read(1)
        text: bytes = yield Read(size[0])
        yield Send(text.upper())
        return text

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with serving(lambda c: c.run(echo())) as served, raw(served.port) as client:
            for byte in b"\x05hello":
                await loop.sock_sendall(client, bytes([byte]))
                await asyncio.sleep(0)
            assert await loop.sock_recv(client, 100) == b"HELLO"
            assert await served.outcome() == b"hello"
            (connection,) = served.connections
            assert connection.peername == client.getsockname()
            assert not connection.is_unix
            assert not connection.is_closed

    run(scenario())


def test_unix_socket(run: Run) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "s")
            async with serving(lambda c: c.run(reading(2)), path) as served:
                _, connection = await loop.create_unix_connection(ConversationProtocol, path)
                connection.send(b"hi")
                assert await served.outcome() == [b"hi"]
                for one in (connection, *served.connections):
                    assert (one.is_unix, one.peername) == (True, "")
                connection.abort()

    run(scenario())


@pytest.mark.parametrize(("sent", "kind"), [(b"", EOFError), (b"abc", ClientProtocolError)])
def test_peer_that_closes(run: Run, sent: bytes, kind: type[Exception]) -> None:
    async def scenario() -> None:
        async def serve(connection: ConversationProtocol) -> None:
            await connection.run(reading(4), server_side=True)

        async with serving(serve) as served, raw(served.port) as client:
            await asyncio.get_running_loop().sock_sendall(client, sent)
            client.shutdown(socket.SHUT_WR)
            with pytest.raises(kind):
                await served.outcome()
            assert served.connections[0].is_closed

    run(scenario())


def test_server_that_closes_in_a_message_is_to_blame(run: Run) -> None:
    async def scenario() -> None:
        async with serving(lambda c: c.run(reading(4))) as served, raw(served.port) as client:
            await asyncio.get_running_loop().sock_sendall(client, b"abc")
            client.close()
            with pytest.raises(ServerProtocolError):
                await served.outcome()

    run(scenario())


def test_peer_that_resets(run: Run) -> None:
    async def scenario() -> None:
        async with serving(lambda c: c.run(reading(4))) as served, raw(served.port) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            with pytest.raises((OSError, EOFError)):
                await served.outcome()

    run(scenario())


def test_errors_are_raised_into_the_conversation_first(run: Run) -> None:
    def forgiving() -> Conversation[str]:
        try:
            yield Read(1)
        except EOFError:
            return "gone"
        return "there"

    async def scenario() -> None:
        async with serving(lambda c: c.run(forgiving())) as served, raw(served.port) as client:
            client.close()
            assert await served.outcome() == "gone"

    run(scenario())


def test_fetch(run: Run) -> None:
    def asking() -> Conversation[str]:
        with contextlib.suppress(ClientAuthError):
            yield Fetch("nobody", "db")
        answer: str = yield Fetch("app", "db")
        return answer

    async def fetch(command: Fetch) -> str:
        await asyncio.sleep(0)
        if command.user == "nobody":
            raise ClientAuthError("nobody")
        return f"{command.user}@{command.database}"

    async def scenario() -> None:
        async with (
            serving(lambda c: c.run(asking(), fetch=fetch)) as served,
            raw(served.port),
        ):
            assert await served.outcome() == "app@db"

    run(scenario())


def test_work_in_a_thread(run: Run) -> None:
    """The event loop goes on meanwhile, and errors reach the conversation."""
    begun, go_on = threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        assert go_on.wait(10)
        return "done"

    def refuse() -> None:
        raise ClientProtocolError("refused")

    def conversation() -> Conversation[str]:
        done: str = yield InThread(work)
        with pytest.raises(ClientProtocolError, match="refused"):
            yield InThread(refuse)
        return done

    async def scenario() -> None:
        serve = serving(lambda connection: connection.run(conversation()))
        async with serve as served, dialled(served.port):
            await until(begun.is_set)
            go_on.set()
            assert await served.outcome() == "done"

    run(scenario())


def test_cancelling_closes_the_conversation(run: Run) -> None:
    ends = []

    def waiting() -> Conversation[None]:
        try:
            yield Read(1)
        finally:
            ends.append("closed")

    async def serve(connection: ConversationProtocol) -> None:
        async with asyncio.timeout(0):
            await connection.run(waiting())

    async def scenario() -> None:
        async with serving(serve) as served, raw(served.port):
            with pytest.raises(TimeoutError):
                await served.outcome()
        assert ends == ["closed"]

    run(scenario())


def test_a_flood_is_not_buffered(run: Run) -> None:
    size = 1 << 20
    flood = bytes(32 << 20)

    async def serve(connection: ConversationProtocol) -> list[int]:
        held = []
        for _ in range(3):
            for _ in range(20):
                await asyncio.sleep(0.002)
                held.append(len(connection._buffer))
            assert (await connection.run(reading(size))) == [bytes(size)]
        return held

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with serving(serve) as served, raw(served.port) as client:
            sending = loop.create_task(loop.sock_sendall(client, flood))
            held = await served.outcome()
            assert BUFFER_BYTES < max(held) <= BUFFER_BYTES + (512 << 10)
            assert not sending.done()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    run(scenario())


# The end of the conversation.


def test_hand_over(run: Run) -> None:
    async def serve(connection: ConversationProtocol) -> tuple[bytes, Successor]:
        assert await connection.first_byte() == ord("a")
        await connection.run(reading(3))
        successor = Successor()
        leftover = connection.hand_over(successor)
        await successor.heard.wait()
        return leftover, successor

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with serving(serve) as served, raw(served.port) as client:
            await loop.sock_sendall(client, b"abcleft")
            await until(lambda: any(one._successor for one in served.connections))
            await loop.sock_sendall(client, b"later")
            leftover, successor = await served.outcome()
            assert (leftover, successor.data) == (b"left", b"later")
            client.close()
            assert await successor.lost is None

    run(scenario())


def test_hand_over_of_a_full_buffer_goes_on_reading(run: Run) -> None:
    size = 8 << 20

    async def serve(connection: ConversationProtocol) -> int:
        await until(lambda: connection._paused)
        successor = Successor()
        total = len(connection.hand_over(successor))
        await successor.lost
        return total + len(successor.data)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with serving(serve) as served, raw(served.port) as client:
            await loop.sock_sendall(client, bytes(size))
            client.close()
            assert await served.outcome() == size

    run(scenario())


def test_hand_over_of_a_lost_connection(run: Run) -> None:
    async def serve(connection: ConversationProtocol) -> Successor:
        await until(lambda: connection._gone)
        successor = Successor()
        connection.hand_over(successor)
        await successor.lost
        return successor

    async def scenario() -> None:
        async with serving(serve) as served, raw(served.port) as client:
            client.close()
            assert (await served.outcome()).data == b""

    run(scenario())


def test_closed(run: Run) -> None:
    async def serve(connection: ConversationProtocol) -> bool:
        await connection.closed()
        return connection.is_closed

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with serving(serve) as served, raw(served.port) as client:
            await loop.sock_sendall(client, bytes(1 << 20))
            assert served.outcomes.empty()
            client.close()
            assert await served.outcome() is True

    run(scenario())
