"""The admin server over real loopback sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import TYPE_CHECKING

import aiohttp
import pytest

from proxy.admin import http
from proxy.errors import ConfigError
from proxy.metrics.snapshot import Snapshot, TargetSnapshot
from tests.metrics import sample

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.admin.http import AdminServer


class Source:
    """A snapshot that tests change."""

    def __init__(self) -> None:
        self.snapshot = sample.snapshot()

    def __call__(self) -> Snapshot:
        return self.snapshot


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
async def server(source: Source) -> AsyncIterator[AdminServer]:
    running = await http.start("127.0.0.1:0", source)
    yield running
    await running.close()


@pytest.fixture
async def client(server: AdminServer) -> AsyncIterator[aiohttp.ClientSession]:
    host, port = server.address
    async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
        yield session


async def get(client: aiohttp.ClientSession, path: str) -> tuple[int, str]:
    async with client.get(path) as answer:
        return answer.status, await answer.text()


async def test_livez_says_ok_whatever_happens(
    client: aiohttp.ClientSession, source: Source
) -> None:
    source.snapshot = Snapshot(draining=True)
    assert await get(client, "/livez") == (200, "ok\n")


async def test_readyz(client: aiohttp.ClientSession, source: Source) -> None:
    assert await get(client, "/readyz") == (200, "ok\n")
    down = TargetSnapshot("orders", "db:5432", "read_write", 20, False)
    up = TargetSnapshot("carts", "db:5432", "read_write", 20, True)
    source.snapshot = Snapshot(targets=(down, up), ready=True)
    assert await get(client, "/readyz") == (503, "proxy orders: no target available\n")
    assert await get(client, "/readyz?proxy=carts") == (200, "ok\n")
    assert await get(client, "/readyz?proxy=nobody") == (503, "no such proxy\n")
    source.snapshot = Snapshot(draining=True)
    assert await get(client, "/readyz") == (503, "draining\nnot listening yet\n")


async def test_metrics(client: aiohttp.ClientSession) -> None:
    async with client.get("/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
        text = await answer.text()
    assert "\ntidegate_clients_waiting{" in text
    assert "\nprocess_open_fds " in text
    assert text.endswith("\n")


@pytest.mark.parametrize(("accepted", "encoding"), [("gzip", "gzip"), ("identity", None)])
async def test_metrics_are_compressed_on_request(
    client: aiohttp.ClientSession, accepted: str, encoding: str | None
) -> None:
    headers = {"Accept-Encoding": accepted}
    async with client.get("/metrics", headers=headers) as answer:
        assert answer.headers.get("Content-Encoding") == encoding
        assert "tidegate_ready 1.0" in await answer.text()


async def test_a_scrape_lets_others_work(client: aiohttp.ClientSession, source: Source) -> None:
    pools = [sample.pool(database=f"db{number}") for number in range(60)]
    source.snapshot = sample.snapshot(*pools)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    status, _ = await get(client, "/metrics")
    counting.cancel()
    assert status == 200
    assert turns > 60


async def test_status(client: aiohttp.ClientSession) -> None:
    async with client.get("/v1/status") as answer:
        assert answer.content_type == "application/json"
        page = json.loads(await answer.text())
    assert page["pools"][0]["waiting"] == 13


async def test_only_reading(client: aiohttp.ClientSession) -> None:
    assert (await get(client, "/"))[0] == 200
    assert (await get(client, "/nothing"))[0] == 404
    async with client.post("/readyz", data=b"x" * 100) as answer:
        assert answer.status == 405
    async with client.head("/livez") as answer:
        assert answer.status == 200


async def test_long_requests_are_refused(client: aiohttp.ClientSession) -> None:
    assert (await get(client, "/livez?" + "x" * 10_000))[0] == 400


async def test_silent_connections_cannot_keep_a_probe_out(
    server: AdminServer, client: aiohttp.ClientSession
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        readers: list[asyncio.StreamReader] = []
        for _ in range(http.MAX_CONNECTIONS):
            reader, writer = await asyncio.open_connection(*server.address)
            stack.callback(writer.close)
            writer.write(b"GET /livez HTTP/1.1\r\n")
            readers.append(reader)
        assert await get(client, "/livez") == (200, "ok\n")
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionResetError):
                assert await readers[0].read() == b""
        assert not readers[-1].at_eof()


async def test_close_ends_connections(source: Source) -> None:
    server = await http.start("127.0.0.1:0", source)
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    async with asyncio.timeout(5):
        await server.close()
        await reader.read()
    writer.close()
    with pytest.raises(OSError, match=r"refused|failed"):
        await asyncio.open_connection(*server.address)


async def test_ipv6(source: Source) -> None:
    try:
        server = await http.start("[::1]:0", source)
    except ConfigError as error:
        pytest.skip(f"NO IPv6 LOOPBACK, NOT TESTED: {error}")
    try:
        host, port = server.address
        async with aiohttp.ClientSession(f"http://[{host}]:{port}") as client:
            assert (await get(client, "/livez"))[0] == 200
    finally:
        await server.close()


async def test_an_address_in_use(server: AdminServer, source: Source) -> None:
    host, port = server.address
    with pytest.raises(ConfigError, match="cannot listen"):
        await http.start(f"{host}:{port}", source)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "8.8.8.8:0", "unix:/tmp/x", "nonsense"])
async def test_addresses_that_are_refused(listen: str, source: Source) -> None:
    with pytest.raises(ConfigError):
        await http.start(listen, source)


async def test_public_addresses_when_allowed(source: Source) -> None:
    server = await http.start("0.0.0.0:0", source, allow_public=True)
    await server.close()


@pytest.mark.parametrize("missing", ["aiohttp", "prometheus_client"])
async def test_a_missing_library(
    missing: str, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*sys.modules]:
        if name.split(".")[0] == missing or name in (
            "proxy.admin.pages",
            "proxy.metrics.prometheus",
        ):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=rf'{missing}.*admin_listen = ""'):
        await http.start("127.0.0.1:0", source)
