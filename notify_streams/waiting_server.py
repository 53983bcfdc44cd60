"""What a worker answers while it waits before it starts."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from notify_streams import metrics
from notify_streams.web_server import listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_SHUTDOWN_S: Final = 2.0


@asynccontextmanager
async def health_while_waiting(host: str, port: int, waiting_for: str) -> AsyncIterator[None]:
    """Serve `/live` (200), `/ready` (503, with `waiting_for`) and `/metrics`, and no other view: nothing that they need has started.

    Without it Kubernetes would restart the worker, and no alert could say what it waits for.
    """

    async def live(_: web.Request) -> web.Response:
        return web.json_response({"live": True, "stuck": []})

    async def ready(_: web.Request) -> web.Response:
        return web.json_response({"ready": False, "waiting_for": [waiting_for], "tables": []}, status=503)

    async def all_metrics(_: web.Request) -> web.Response:
        metrics.CLOCK.set(time.time())
        return web.Response(body=metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/live", live), web.get("/ready", ready), web.get("/metrics", all_metrics)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        await web.SockSite(runner, listen(host, port)).start()
        yield
    finally:
        await runner.cleanup()
