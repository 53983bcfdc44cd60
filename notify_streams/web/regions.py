"""`/regions`: the regions there are, who serves whose people as far as this worker knows, and what waits here for the others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from notify_streams.errors import RetryLater
from notify_streams.roles import app_id
from notify_streams.topics import forward_topic
from notify_streams.web.placement import placement_of
from notify_streams.web.responses import WebView, answer
from notify_streams.web.topic_tail import client

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.web import Request, Response

    from notify_streams.app import NotifyApp
    from notify_streams.regions.failover.placement import Placement
    from notify_streams.regions.failover.placement_follower import PlacementFollower
    from notify_streams.settings import Settings

_WITHIN_S: Final = 4.0


async def waiting_for(worker: NotifyApp) -> dict[str, int] | None:
    """Records of ``forward.<region>`` that its region does not have yet, by region; None if Kafka does not say."""
    settings = worker.settings
    places = {
        region: [TopicPartition(forward_topic(region), partition) for partition in range(settings.partitions)]
        for region in settings.regions
        if region != settings.region
    }
    every = [place for found in places.values() for place in found]
    consumer = client(worker, app_id(settings.region, "forward"))
    try:
        async with asyncio.timeout(_WITHIN_S):
            await consumer.start()
            consumer.assign(every)
            beginnings = await consumer.beginning_offsets(every)
            ends = await consumer.end_offsets(every)
            done = {place: await consumer.committed(place) for place in every}
    except (KafkaError, OSError, TimeoutError):
        return None
    finally:
        await consumer.stop()
    return {
        region: sum(max(0, ends[place] - max(done[place] or 0, beginnings[place])) for place in found)
        for region, found in places.items()
    }


def regions_payload(
    settings: Settings,
    placement: Placement | None,
    learning: PlacementFollower | None,
    waiting: Mapping[str, int] | None,
) -> dict[str, Any]:
    """Each region with who serves its people; `null` where that is not known."""
    regions = []
    for region in settings.regions:
        here = region == settings.region
        found: dict[str, Any] = {"region": region, "here": here, "served_by": None, "epoch": None, "open_claim": None}
        home = None if placement is None else placement.homes.get(region)
        if home is not None:
            found |= {"served_by": home.server, "epoch": home.epoch, "open_claim": home.open_claim}
        found["forwarding"] = here or region in settings.remote_kafka
        found["waiting_records"] = 0 if here else None if waiting is None else waiting.get(region)
        regions.append(found)
    return {
        "region": settings.region,
        "standby": settings.standby,
        "known": placement is not None,
        "waiting_for": None if learning is None else learning.waiting_for,
        "unreachable": [] if learning is None else sorted(learning.unreachable),
        "regions": regions,
    }


class Regions(WebView):
    async def get(self, request: Request) -> Response:
        worker = self.worker
        placement, waiting = await asyncio.gather(_placement(worker), waiting_for(worker))
        return answer(regions_payload(worker.settings, placement, worker.placement_follower, waiting))


async def _placement(worker: NotifyApp) -> Placement | None:
    try:
        return await placement_of(worker)
    except RetryLater:
        return None
