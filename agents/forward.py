"""`forward.<region>` -> that region's own topics. A batch is acknowledged when the other region's Kafka has it; until then it waits here."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from notify_streams.regions.handover import RemoteRegion

from notify_streams.app import app, events
from notify_streams.stores.insist import insist
from notify_streams.topics import forward_topic

if TYPE_CHECKING:
    from faust.types import StreamT


async def forward(remote: RemoteRegion, batches: StreamT[Any]) -> None:
    """Hand each batch over, however long the other region takes; other regions have loops of their own."""
    async for event in events(batches):
        await insist(remote.hand_over, event.value)
        event.ack()


for region, kafka in sorted(app.settings.remote_kafka.items()):
    remote = RemoteRegion(region, kafka, app.settings)
    app.lives_with(remote.start, remote.stop)
    app.agent(app.batches_of(forward_topic(region)), name=f"forward {region}")(partial(forward, remote))
