"""`/regions`: the placement, and the records that wait for other regions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition

from notify_streams.errors import StoreUnavailable
from notify_streams.regions.consumer_groups import group_lag
from notify_streams.roles import app_id
from notify_streams.topics import forward_topic
from notify_streams.web.kafka_reader import kafka_reader
from notify_streams.web.peers import region_peers
from notify_streams.web.responses import Content, SharedView, json_content

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from notify_streams.app import NotifyApp
    from notify_streams.regions.failover.placement import Placement
    from notify_streams.settings import Settings


async def waiting_records(worker: NotifyApp) -> dict[str, int] | None:
    """The lag of the forward role by region; None if Kafka does not respond."""
    settings = worker.settings
    partitions = {
        region: [TopicPartition(forward_topic(region), partition) for partition in range(settings.partitions)]
        for region in settings.regions
        if region != settings.region
    }
    every = [one for found in partitions.values() for one in found]
    reader = kafka_reader(worker)
    try:
        beginnings, ends = await reader.extents(every)
        committed = await reader.committed(app_id(settings.region, "forward"), every)
    except StoreUnavailable:
        return None
    return {
        region: group_lag(beginnings, {one: ends[one] for one in found}, committed)
        for region, found in partitions.items()
    }


def regions_payload(
    settings: Settings,
    placement: Placement | None,
    waiting: Mapping[str, int] | None,
    placement_waits_for: str | None = None,
    unreachable: Collection[str] = (),
) -> dict[str, Any]:
    """Each region with the region that serves its users; `null` if it is not known."""
    regions = []
    for region in settings.regions:
        here = region == settings.region
        row: dict[str, Any] = {"region": region, "here": here, "served_by": None, "epoch": None, "open_claim": None}
        home = None if placement is None else placement.homes.get(region)
        if home is not None:
            row |= {"served_by": home.server, "epoch": home.epoch, "open_claim": home.open_claim}
        row["forwarding"] = here or region in settings.remote_kafka
        row["waiting_records"] = 0 if here else None if waiting is None else waiting.get(region)
        regions.append(row)
    return {
        "region": settings.region,
        "standby": settings.standby,
        "known": placement is not None,
        "waiting_for": placement_waits_for,
        "unreachable": sorted(unreachable),
        "regions": regions,
    }


class Regions(SharedView):
    timeout_s = 12.0

    async def content(self) -> Content:
        worker = self.worker
        follower = worker.placement_follower
        placement, waits_for = (None, None) if follower is None else (follower.placement, follower.waiting_for)
        waiting, peers = await asyncio.gather(waiting_records(worker), region_peers(worker))
        unreachable = {region for peer in peers.workers if peer.summary for region in peer.summary.unreachable}
        return json_content(regions_payload(worker.settings, placement, waiting, waits_for, unreachable))
