from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from proxy.app import Application
from proxy.config.load import parse
from proxy.errors import ListenFailed

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = """
[process]
admin_listen = ""
shutdown_grace_s = 0.2

[proxy.main]
idle_client_timeout_s = {idle}

[[proxy.main.endpoint]]
listen = "127.0.0.1:{port}"

[[proxy.main.auth]]
user = "app"
credential = "static:secret"

[proxy.main.target_group]
max_connections = {budget}
pool_mode = "{mode}"

[[proxy.main.target]]
host = "127.0.0.1"
port = 1
"""


def settings(port: int = 0, idle: int = 60, budget: int = 5, mode: str = "transaction") -> str:
    return SETTINGS.format(port=port, idle=idle, budget=budget, mode=mode)


async def test_a_reload_applies_what_it_can_and_keeps_the_rest(tmp_path: Path) -> None:
    text = settings(port=6432)
    app = Application(parse(text, source="test"), tmp_path / "none.toml")
    for config in app.config.proxy.values():
        app._build(config)
    gateway = app.gateways[0]
    app.apply(parse(settings(port=6432, idle=90, budget=9, mode="session"), source="test"))
    assert gateway.config.idle_client_timeout_s == 90
    assert gateway.target.maximum == 9
    assert gateway.config.target_group.pool_mode == "transaction", "this needs a restart"
    assert gateway.janitor.config is gateway.config


async def test_a_taken_port_is_told_from_a_bad_configuration(tmp_path: Path) -> None:
    holder = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = holder.sockets[0].getsockname()[1]
    app = Application(parse(settings(port=port), source="test"), tmp_path / "none.toml")
    with pytest.raises(ListenFailed, match=str(port)):
        await app.run()
    holder.close()


async def test_a_snapshot_has_every_part(tmp_path: Path) -> None:
    app = Application(parse(settings(port=6432), source="test"), tmp_path / "none.toml")
    for config in app.config.proxy.values():
        app._build(config)
    snapshot = app.snapshot()
    assert [row.endpoint for row in snapshot.endpoints] == ["127.0.0.1:6432"]
    assert [(row.target, row.max_allowed) for row in snapshot.targets] == [("127.0.0.1:1", 5)]
    assert not snapshot.ready
    assert snapshot.build["version"]
