"""`edge.<pop>` → that point of presence."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from notify_streams.app import app
from notify_streams.edge.pusher import EdgePusher, make_point_of_presence, open_session
from notify_streams.partition_concurrency import batch_events
from notify_streams.records.partitioner import bucket_of
from notify_streams.retry import RetryPolicy
from notify_streams.topics import edge_topic
from notify_streams.transport import exempt_from_watchdog

if TYPE_CHECKING:
    from faust.types import StreamT

    from notify_streams.settings import EdgePopSettings
    from notify_streams.transport import BatchEvent

_RETRY: Final = RetryPolicy("edge.push_batch", first_s=0.05, max_s=2.0)


async def push_to_edge(event: BatchEvent, pusher: EdgePusher) -> None:
    """Push the batch, repeated while the point of presence does not answer; then acknowledge it.

    The next batch of the partition waits, so no home region is replaced by an older one. What lies in a partition that is not the user's was
    left there when the region grew.
    """
    batch = event.value
    records = [one for one in batch.records if _is_in_bucket(one.key, batch.partition)]
    await _RETRY.call(pusher.push, records)
    event.ack()


def _is_in_bucket(key: bytes | None, partition: int) -> bool:
    return key is not None and bucket_of(key.decode(errors="replace"), app.settings.partitions) == partition


async def edge_agent(pop: EdgePopSettings, batches: StreamT[Any]) -> None:
    """One agent a point of presence: one that does not answer delays no other."""
    async with open_session() as session:
        pusher = EdgePusher(make_point_of_presence(pop, session), app.settings.region)
        async for event in batch_events(batches):
            await push_to_edge(event, pusher)


for pop in app.settings.edge:
    exempt_from_watchdog(app, edge_topic(pop.name))
    app.agent(app.batched_topic(edge_topic(pop.name)), name=f"edge {pop.name}")(partial(edge_agent, pop))
