"""What answers at the address of a worker takes no page away, whatever it says."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from notify_streams.web.peers import Peer, fetch_summaries
from notify_streams.worker_registration import RegisteredWorker, WorkerEntry

MANY = 64 * 1024 * 1024
ANSWERS: dict[str, tuple[bytes, dict[str, str]]] = {
    "a little that becomes much": (gzip.compress(bytes(MANY)), {"Content-Encoding": "gzip"}),
    "much": (b" " * (256 * 1024 + 1), {}),
    "nothing": (b"", {}),
    "no JSON": (b"\xff", {}),
    "no summary": (b"{}", {}),
    "deep nesting": (b'{"x":' + b"[" * 100_000, {}),
}


@pytest.mark.parametrize(("body", "headers"), ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_that_is_no_summary_is_none(body: bytes, headers: dict[str, str]) -> None:
    async def serve(_: web.Request) -> web.Response:
        return web.Response(body=body, headers=headers)

    app = web.Application()
    app.router.add_get("/", serve)
    async with TestServer(app) as server:
        assert server.port is not None
        entry = WorkerEntry("0123456789abcdef", "push", "127.0.0.1", server.port, 4, "1")
        worker = RegisteredWorker(entry, 1.0, 2.0)
        tracemalloc.start()
        try:
            assert await fetch_summaries([worker], "us") == [Peer(worker, None, "silent")]
            assert tracemalloc.get_traced_memory()[1] < MANY / 8
        finally:
            tracemalloc.stop()
