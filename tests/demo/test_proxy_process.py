"""The proxy's configuration, and how its state is asked for."""

from __future__ import annotations

import asyncio
import tomllib

import pytest

from proxy.demo.engine import ENGINES
from proxy.metrics.counters import PoolCounters
from proxy.metrics.prometheus import Exposition
from proxy.metrics.snapshot import PoolSnapshot, Snapshot


def pool(user: str, waiting: int) -> PoolSnapshot:
    return PoolSnapshot(
        proxy="demo",
        target="127.0.0.1:5432",
        database="orders",
        user=user,
        counters=PoolCounters(),
        open=1,
        tls=0,
        idle=0,
        borrowed=1,
        in_transaction=0,
        pinned=0,
        waiting=waiting,
        connecting=0,
    )


@pytest.mark.usefixtures("demo_packages")
class TestProxyProcess:
    @pytest.mark.parametrize("engine", ENGINES)
    def test_configuration_is_toml_on_loopback_without_secrets(self, engine: str) -> None:
        from proxy.demo.proxy_process import config_text

        text = config_text(engine=engine, port=1111, admin_port=2222, target_port=3333, budget=7)
        config = tomllib.loads(text)
        demo = config["proxy"]["demo"]
        assert config["process"]["admin_listen"] == "127.0.0.1:2222"
        assert [endpoint["listen"] for endpoint in demo["endpoint"]] == ["127.0.0.1:1111"]
        assert demo["engine"] == engine
        assert demo["target"][0]["port"] == 3333
        assert demo["target_group"]["max_connections"] == 7
        assert demo["auth"][0]["credential"].startswith("env:")

    def test_waiting_clients_are_added_up_over_the_pools(self) -> None:
        from proxy.demo.proxy_process import waiting_clients

        pools = tuple(pool(user, waiting) for user, waiting in (("app", 3), ("report", 4)))
        page = b"".join(Exposition(lambda: Snapshot(pools=pools)).pieces()).decode()
        assert waiting_clients(page) == 7
        assert waiting_clients("# nothing of the kind\n") is None

    async def test_http_get(self) -> None:
        from proxy.demo.proxy_process import http_get

        asked: list[bytes] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.0 503 Service Unavailable\r\nX: y\r\n\r\nnot yet")
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            assert await http_get(port, "/readyz") == (503, "not yet")
        assert asked[0].startswith(b"GET /readyz HTTP/1.0\r\n")

    async def test_http_get_of_something_else(self) -> None:
        from proxy.demo.proxy_process import http_get

        server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
        async with server:
            with pytest.raises(OSError, match=r"no HTTP answer|reset"):
                await http_get(server.sockets[0].getsockname()[1], "/readyz")
