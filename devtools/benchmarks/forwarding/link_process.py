"""The link as a process of its own, so that it takes no time from either end's event loop.

``python -m devtools.benchmarks.forwarding.link_process PORT HOST:PORT ONE_WAY_S``: says ``open`` and carries until it is ended.
"""

from __future__ import annotations

import asyncio
import sys

from devtools.fakes.latency_proxy import LatencyProxy


async def main(port: int, behind: str, one_way_s: float) -> None:
    """Carry for ever."""
    await LatencyProxy(port, behind, one_way_s).start()
    print("open", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
