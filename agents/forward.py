"""`forward.<region>` -> that region's own topics. A batch is acknowledged when the other region's Kafka has it; until then it waits here."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from notify_streams.app import app
from notify_streams.partition_concurrency import batch_events
from notify_streams.regions.forwarding.partition_queues import PartitionQueues
from notify_streams.regions.forwarding.remote_region import RemoteRegion
from notify_streams.topics import forward_topic
from notify_streams.transport import exempt_from_watchdog, on_revoked

if TYPE_CHECKING:
    from collections.abc import Collection

    from faust.types import TP, StreamT

ways: dict[str, PartitionQueues] = {}


async def forward(lanes: PartitionQueues, batches: StreamT[Any]) -> None:
    """Give each batch to its partition's lane, which acknowledges it; a region that is away fills its own lanes and no other's."""
    async for event in batch_events(batches):
        await lanes.submit(event.value, event.ack)


@partial(on_revoked, app)
def give_up(partitions: Collection[TP]) -> None:
    """What is not there yet is handed over by the partitions' new owner; twice is no harm, out of order would be."""
    for topic, lanes in ways.items():
        lanes.give_up([tp.partition for tp in partitions if tp.topic == topic])


for region, connection in sorted(app.settings.remote_kafka_connections().items()):
    remote = RemoteRegion(region, connection, app.settings)
    lanes = PartitionQueues(remote)
    ways[forward_topic(region)] = lanes
    exempt_from_watchdog(app, forward_topic(region))
    app.lives_with(remote.start, remote.stop)
    app.lives_with(remote.start, lanes.stop)
    app.agent(app.batches_of(forward_topic(region)), name=f"forward {region}")(partial(forward, lanes))
