"""`forward.<region>` → topics of that region, named by the `target` header."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from notify_streams.app import app
from notify_streams.partition_concurrency import batch_events
from notify_streams.regions.forwarding.forward_spans import ForwardSpans
from notify_streams.regions.forwarding.partition_queues import PartitionQueues
from notify_streams.regions.forwarding.remote_region import RemoteRegion
from notify_streams.topics import forward_topic
from notify_streams.transport import exempt_from_watchdog, on_revoked

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from faust.types import TP, StreamT

    from notify_streams.kafka import KafkaConnection
    from notify_streams.transport import BatchEvent

#: By topic.
queues_to: dict[str, PartitionQueues] = {}


async def forward(event: BatchEvent, queues: PartitionQueues) -> None:
    """Queue the batch, which is acknowledged when the other region's Kafka has it."""
    await queues.submit(event.value, event.ack)


async def forward_agent(queues: PartitionQueues, batches: StreamT[Any]) -> None:
    """One agent a region: a region that does not answer delays no other."""
    async for event in batch_events(batches):
        await forward(event, queues)


def drop_revoked(queues_to: Mapping[str, PartitionQueues], partitions: Collection[TP]) -> None:
    """Their new owner reads again what was not acknowledged. Records may arrive twice, but not out of order."""
    for topic, queues in queues_to.items():
        queues.on_revoked([tp.partition for tp in partitions if tp.topic == topic])


def add_region(region: str, connection: KafkaConnection) -> None:
    topic = forward_topic(region)
    remote = RemoteRegion(region, connection, app.settings)
    app.remote_states.append(remote.state)
    spans = None if app.spans is None else ForwardSpans(app.spans, region)
    queues = queues_to[topic] = PartitionQueues(remote, spans=spans)

    async def stop() -> None:
        await queues.stop()
        await remote.stop()

    app.add_lifecycle(remote.start, stop)
    exempt_from_watchdog(app, topic)
    app.agent(app.batched_topic(topic), name=f"forward {region}")(partial(forward_agent, queues))


for region, connection in sorted(app.settings.remote_kafka_connections().items()):
    add_region(region, connection)
on_revoked(app, partial(drop_revoked, queues_to))
