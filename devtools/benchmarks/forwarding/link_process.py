"""Runs the delayed link in a process of its own.

``python -m devtools.benchmarks.forwarding.link_process PORT HOST:PORT ONE_WAY_S``: prints ``open`` and runs until it is stopped.
"""

from __future__ import annotations

import asyncio
import sys

from devtools.fakes.latency_proxy import LatencyProxy


async def main(port: int, target: str, one_way_s: float) -> None:
    """Serve until the process is stopped."""
    await LatencyProxy(port, target, one_way_s).start()
    print("open", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
