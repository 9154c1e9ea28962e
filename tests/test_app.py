from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from proxy.app import Application
from proxy.config.load import parse
from proxy.errors import ListenFailed
from tests.config.sample import process_text as settings

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_taken_port_is_told_from_a_bad_configuration(tmp_path: Path) -> None:
    holder = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = holder.sockets[0].getsockname()[1]
    app = Application(parse(settings(port=port), source="test"), tmp_path / "none.toml")
    with pytest.raises(ListenFailed, match=str(port)):
        await app.run()
    holder.close()
