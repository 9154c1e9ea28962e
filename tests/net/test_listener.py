"""Sockets of endpoints: what may be listened on, what is removed, and what never."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from proxy.config.model import EndpointConfig
from proxy.errors import ConfigError, ListenFailed
from proxy.net.listener import Listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from proxy.metrics.counters import EndpointCounters
    from proxy.net.conversation import ConversationProtocol
    from proxy.net.gateway import Gateway


class FakeGateway:
    """Takes clients and sends each a word."""

    def __init__(self) -> None:
        self.served: list[EndpointCounters] = []
        self.first = asyncio.Event()

    async def serve(self, connection: ConversationProtocol, counters: EndpointCounters) -> None:
        self.served.append(counters)
        self.first.set()
        connection.send(b"hello")
        connection.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Somewhere with a path short enough for a Unix socket."""
    made = Path(tempfile.mkdtemp(prefix="tgl", dir="/tmp"))
    yield made
    shutil.rmtree(made)


def listener_on(listen: str) -> Listener:
    return Listener(EndpointConfig(listen=listen), cast("Gateway", FakeGateway()))


@contextlib.asynccontextmanager
async def listening(listen: str, *, allow_public: bool = False) -> AsyncIterator[Listener]:
    listener = listener_on(listen)
    await listener.open(allow_public=allow_public)
    try:
        yield listener
    finally:
        listener.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


async def heard(path: str = "", port: int = 0) -> bytes:
    """Connect and give what is sent."""
    async with asyncio.timeout(5):
        if path:
            reader, writer = await asyncio.open_unix_connection(path)
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            return await reader.read()
        finally:
            writer.close()


async def test_every_client_is_served_with_the_endpoints_counters() -> None:
    port = free_port()
    async with listening(f"127.0.0.1:{port}") as listener:
        assert await heard(port=port) == b"hello"
        assert await heard(port=port) == b"hello"
        gateway = cast("FakeGateway", listener.gateway)
        assert gateway.served == [listener.counters, listener.counters]
    with pytest.raises(ConnectionRefusedError):
        await heard(port=port)


async def test_port_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenFailed, match=f"127.0.0.1:{port}") as caught:
            await listener_on(f"127.0.0.1:{port}").open(allow_public=False)
    assert isinstance(caught.value.__cause__, OSError)


async def test_address_of_another_machine() -> None:
    # RFC 5737: nobody's address, so not ours either.
    with pytest.raises(ListenFailed, match=r"192\.0\.2\.1"):
        await listener_on("192.0.2.1:1").open(allow_public=True)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "*:0", "192.0.2.1:0"])
async def test_public_addresses_are_refused(listen: str) -> None:
    with pytest.raises(ConfigError, match="allow_public_bind"):
        await listener_on(listen).open(allow_public=False)


async def test_public_addresses_are_taken_if_allowed() -> None:
    port = free_port()
    async with listening(f"0.0.0.0:{port}", allow_public=True):
        assert await heard(port=port) == b"hello"


async def test_socket_is_removed_in_the_end(folder: Path) -> None:
    path = folder / "s"
    async with listening(f"unix:{path}"):
        assert await heard(str(path)) == b"hello"
    assert not path.exists()


async def test_stale_socket_is_replaced(folder: Path) -> None:
    path = folder / "s"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    assert path.is_socket()
    async with listening(f"unix:{path}"):
        assert await heard(str(path)) == b"hello"


async def test_live_socket_stays(folder: Path) -> None:
    path = folder / "s"
    async with listening(f"unix:{path}"):
        second = listener_on(f"unix:{path}")
        with pytest.raises(ListenFailed, match=str(path)):
            await second.open(allow_public=False)
        second.close()
        assert await heard(str(path)) == b"hello", "the first one's socket is gone"


async def test_busy_socket_stays(folder: Path) -> None:
    path = folder / "s"
    with (
        socket.socket(socket.AF_UNIX) as busy,
        socket.socket(socket.AF_UNIX) as queued,
        socket.socket(socket.AF_UNIX) as too_many,
    ):
        busy.bind(str(path))
        busy.listen(0)
        queued.connect(str(path))
        too_many.setblocking(False)
        with pytest.raises(BlockingIOError):
            too_many.connect(str(path))
        with pytest.raises(ListenFailed, match="in use"):
            await listener_on(f"unix:{path}").open(allow_public=False)
        busy.accept()[0].close()
    assert path.exists()


async def test_file_that_is_no_socket_stays(folder: Path) -> None:
    path = folder / "s"
    path.write_text("precious")
    with pytest.raises(ListenFailed, match=str(path)):
        await listener_on(f"unix:{path}").open(allow_public=False)
    assert path.read_text() == "precious"


async def test_folder_that_is_not_there(folder: Path) -> None:
    with pytest.raises(ListenFailed, match="none"):
        await listener_on(f"unix:{folder}/none/s").open(allow_public=False)


async def test_clients_outlive_the_listener(folder: Path) -> None:
    path = folder / "s"
    async with listening(f"unix:{path}") as listener, asyncio.timeout(5):
        reader, writer = await asyncio.open_unix_connection(str(path))
        await cast("FakeGateway", listener.gateway).first.wait()
        listener.close()
        assert await reader.read() == b"hello"
        writer.close()
