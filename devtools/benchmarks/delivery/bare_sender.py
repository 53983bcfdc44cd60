"""A bare aiohttp loop that posts prepared bodies: the reference in Python.

``python -m devtools.benchmarks.delivery.bare_sender URL CA_FILE BODIES CONCURRENCY``: `BODIES` has one on each line. Prints the number of
responses with 200 and the CPU seconds from the first request on.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp

from notify_streams.gc_tuning import tune_gc

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADERS: Final = {"Authorization": "Bearer sandbox", "Content-Type": "application/json"}


async def main(url: str, ca_file: str, bodies: list[bytes], concurrency: int) -> None:
    """Post each of `bodies` once, `concurrency` at a time."""
    connector = aiohttp.TCPConnector(limit=concurrency, ssl=ssl.create_default_context(cafile=ca_file))
    left = iter(bodies)
    tune_gc()
    began = time.process_time()
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        accepted = await asyncio.gather(*(_post(session, url, left) for _ in range(concurrency)))
    print(json.dumps({"accepted": sum(accepted), "cpu_s": time.process_time() - began}))


async def _post(session: aiohttp.ClientSession, url: str, left: Iterator[bytes]) -> int:
    accepted = 0
    for body in left:
        async with session.post(url, data=body, headers=_HEADERS) as response:
            await response.read()
            accepted += response.status == 200
    return accepted


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_bytes().splitlines(), int(sys.argv[4])))
