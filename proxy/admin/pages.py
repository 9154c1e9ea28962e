"""The pages of the admin HTTP server."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final

from aiohttp import web

from proxy.admin.status import status
from proxy.metrics.prometheus import CONTENT_TYPE, Exposition

if TYPE_CHECKING:
    from proxy.metrics.snapshot import Refresh, SnapshotSource

KEEPALIVE_S: Final = 75.0
"""Longer than the usual scrape intervals."""

SHUTDOWN_S: Final = 1.0
"""Time that a page being served gets at the end."""

MAX_REQUEST_BYTES: Final = 4096
"""Longest request line, header field and body."""

INDEX: Final = """Tidegate

/livez       200 while the process serves
/readyz      200 when clients may come, else 503 and why; ?proxy=NAME asks for one proxy
/metrics     Prometheus metrics
/v1/status   everything as JSON
"""


class Pages:
    """Answers the requests."""

    def __init__(self, source: SnapshotSource, refresh: Refresh | None = None) -> None:
        self._source = source
        self._refresh = refresh
        self.exposition = Exposition(source)
        self._scrape = asyncio.Lock()

    async def index(self, request: web.Request) -> web.Response:
        """Say what there is."""
        return web.Response(text=INDEX)

    async def livez(self, request: web.Request) -> web.Response:
        """Answer at all: the event loop turns."""
        return web.Response(text="ok\n")

    async def readyz(self, request: web.Request) -> web.Response:
        """Say whether clients may come, and if not, why."""
        await self._look()
        reasons = self._source().unready_reasons(request.query.get("proxy", ""))
        if reasons:
            return web.Response(text="".join(f"{reason}\n" for reason in reasons), status=503)
        return web.Response(text="ok\n")

    async def metrics(self, request: web.Request) -> web.Response:
        """Render the metrics, letting the relay work in between."""
        pieces: list[bytes] = []
        async with self._scrape:  # Impatient scrapers queue instead of adding up.
            await self._look()
            for piece in self.exposition.pieces():
                pieces.append(piece)
                await asyncio.sleep(0)
        response = web.Response(body=b"".join(pieces), headers={"Content-Type": CONTENT_TYPE})
        response.enable_compression()
        return response

    async def _look(self) -> None:
        if self._refresh is not None:
            await self._refresh()

    async def status(self, request: web.Request) -> web.Response:
        """Show the snapshot as JSON."""
        await self._look()
        text = json.dumps(status(self._source()), indent=2) + "\n"
        response = web.Response(text=text, content_type="application/json")
        response.enable_compression()
        return response


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"


async def runner_for(source: SnapshotSource, refresh: Refresh | None = None) -> web.AppRunner:
    """Give an application that is set up and waits for connections."""
    pages = Pages(source, refresh)
    application = web.Application(client_max_size=MAX_REQUEST_BYTES)
    application.on_response_prepare.append(_add_headers)
    application.router.add_get("/", pages.index)
    application.router.add_get("/livez", pages.livez)
    application.router.add_get("/readyz", pages.readyz)
    application.router.add_get("/metrics", pages.metrics)
    application.router.add_get("/v1/status", pages.status)
    runner = web.AppRunner(
        application,
        access_log=None,
        keepalive_timeout=KEEPALIVE_S,
        shutdown_timeout=SHUTDOWN_S,
        max_line_size=MAX_REQUEST_BYTES,
        max_field_size=MAX_REQUEST_BYTES,
        lingering_time=1.0,
    )
    await runner.setup()
    return runner
