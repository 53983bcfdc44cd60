"""Decides when a fetch request is sent, and how long the broker may hold it.

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
    """A replacement for `fetcher._proc_fetch_request` that sends two requests to one broker at least `fetch_gap_s` apart.

    A delayed request includes the partitions that were drained meanwhile. A request for all partitions may wait at the broker for long,
    because any new record ends the wait. One that leaves out a partition (paused, or not drained yet) delays that partition's records,
    so it waits only for a moment.
    """
    send: Fetch = fetcher._proc_fetch_request
    last_s: dict[int, float] = {}

    async def fetch(assignment: Any, node_id: int, request: Any) -> bool:
        loop = asyncio.get_running_loop()
        early_s = last_s.get(node_id, -math.inf) + settings.fetch_gap_s - loop.time()
        if early_s > 0:
            await asyncio.sleep(early_s)
            request = _new_request(fetcher, assignment, node_id) or request
        last_s[node_id] = loop.time()
        on_node = sum(fetcher._select_read_replica(tp) == node_id for tp in assignment.tps)
        if sum(len(partitions) for _, partitions in request.topics) == on_node:
            request._max_wait_ms = max(request._max_wait_ms, settings.idle_fetch_max_wait_ms)
        return await send(assignment, node_id, request)

    return fetch


def _new_request(fetcher: Any, assignment: Any, node_id: int) -> Any:
    """The request that aiokafka would make for this broker now; None if it would make none."""
    if not assignment.active:
        return None
    fetcher._in_flight.discard(
        node_id
    )  # aiokafka makes no request for a broker that has one in flight: the one that is delayed
    try:
        return dict(fetcher._get_actions_per_node(assignment)[0]).get(node_id)
    finally:
        fetcher._in_flight.add(node_id)
