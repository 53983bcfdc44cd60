"""When a fetch leaves, and how long the broker may keep it. In: aiokafka's fetcher. Out: what it is to call instead of its own method.

Written against aiokafka 0.14.0: it reads that version's private fields.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

from notify_streams.transport.settings import TransportSettings

Fetch = Callable[[Any, int, Any], Awaitable[bool]]


def paced_fetch(fetcher: Any, settings: TransportSettings) -> Fetch:
    """`fetcher._proc_fetch_request`, not sooner after the last one from the same broker than `fetch_gap_s`.

    What was taken, and what arrives, in that gap comes with it. A fetch that leaves nothing out may wait at the broker for long:
    whatever comes, answers it. One that leaves a partition out, because that is paused or was not taken yet, holds up what comes for
    it, and so waits for a moment only.
    """
    fetch: Fetch = fetcher._proc_fetch_request
    last: dict[int, float] = {}

    async def later(assignment: Any, node_id: int, request: Any) -> bool:
        loop = asyncio.get_running_loop()
        early_s = last.get(node_id, -math.inf) + settings.fetch_gap_s - loop.time()
        if early_s > 0:
            await asyncio.sleep(early_s)
            request = _as_of_now(fetcher, assignment, node_id) or request
        last[node_id] = loop.time()
        here = sum(fetcher._select_read_replica(tp) == node_id for tp in assignment.tps)
        if sum(len(partitions) for _, partitions in request.topics) == here:
            request._max_wait_ms = max(request._max_wait_ms, settings.idle_fetch_max_wait_ms)
        return await fetch(assignment, node_id, request)

    return later


def _as_of_now(fetcher: Any, assignment: Any, node_id: int) -> Any:
    """The request that aiokafka would make for this broker now, None if it would make none."""
    if not assignment.active:
        return None
    fetcher._in_flight.discard(node_id)  # the place is held by the fetch that asks
    try:
        return dict(fetcher._get_actions_per_node(assignment)[0]).get(node_id)
    finally:
        fetcher._in_flight.add(node_id)
