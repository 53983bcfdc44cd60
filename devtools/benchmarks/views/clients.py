"""Loads the views, or one processor, until it is stopped.

``python -m devtools.benchmarks.views.clients views CRITICAL_PORT VIEWS_PORT TOKEN``: 30 clients and 400 half requests.
``python -m devtools.benchmarks.views.clients cpu SHARE``: uses that share of one processor.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from contextlib import suppress
from typing import Final

import aiohttp

_CLIENTS: Final = 30
_HALF_REQUESTS: Final = 400
_OF_EVERY_WORKER: Final = ("/", "/live", "/ready", "/metrics", "/lag")
_OF_THE_REGION: Final = (
    "/ledger",
    "/outbox",
    "/providers",
    "/regions",
    "/dead-letters",
    "/users/none",
    "/notifications/no",
)
_TURN_S: Final = 0.02
_PAUSE_S: Final = 0.1


async def _client(session: aiohttp.ClientSession, urls: list[str]) -> None:
    for url in itertools.cycle(urls):
        try:
            async with session.get(url) as response:
                await response.read()
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(_PAUSE_S)


async def _half_request(port: int) -> None:
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /live HTTP/1.1\r\nHost: here\r\n")
            await reader.read()
            writer.close()
        await asyncio.sleep(_PAUSE_S)


async def load_views(critical_port: int, views_port: int, token: str) -> None:
    """All clients at once, each as fast as it is answered; the half requests are held open at the critical worker."""
    urls = [f"http://127.0.0.1:{critical_port}{path}" for path in _OF_EVERY_WORKER]
    urls += [f"http://127.0.0.1:{views_port}{path}" for path in (*_OF_EVERY_WORKER, *_OF_THE_REGION)]
    session = aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {token}"},
        timeout=aiohttp.ClientTimeout(total=20),
        connector=aiohttp.TCPConnector(limit=0),
    )
    starts = [number % len(urls) for number in range(_CLIENTS)]
    async with session, asyncio.TaskGroup() as group:
        for start in starts:
            group.create_task(_client(session, urls[start:] + urls[:start]))
        for _ in range(_HALF_REQUESTS):
            group.create_task(_half_request(critical_port))


def use_cpu(share: float) -> None:
    """Compute for `share` of each 20 ms."""
    while True:
        until = time.perf_counter() + share * _TURN_S
        while time.perf_counter() < until:
            pass
        time.sleep((1 - share) * _TURN_S)


if __name__ == "__main__":
    if sys.argv[1] == "views":
        asyncio.run(load_views(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
    else:
        use_cpu(float(sys.argv[2]))
