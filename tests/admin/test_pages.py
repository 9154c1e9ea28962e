"""The pages themselves, without a server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp.test_utils import make_mocked_request

from proxy.admin.pages import Pages
from proxy.metrics.prometheus import Exposition
from tests.metrics import sample

if TYPE_CHECKING:
    from collections.abc import Iterator


class Watched(Exposition):
    """Notices how many pages are being rendered at once."""

    running = 0
    most = 0

    def pieces(self) -> Iterator[bytes]:
        self.running += 1
        self.most = max(self.most, self.running)
        yield from super().pieces()
        self.running -= 1


async def test_scrapes_do_not_run_side_by_side() -> None:
    pages = Pages(sample.snapshot)
    pages.exposition = watched = Watched(sample.snapshot)
    request = make_mocked_request("GET", "/metrics")
    answers = await asyncio.gather(*(pages.metrics(request) for _ in range(3)))
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert watched.most == 1
