"""`edge.<pop>` -> that point of presence. A batch is acknowledged when it is there; one that is away holds up itself alone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from notify_streams.app import app
from notify_streams.edge.pusher import EdgePusher, open_session, point_of_presence
from notify_streams.partition_concurrency import batch_events
from notify_streams.retry import STORE
from notify_streams.topics import edge_topic
from notify_streams.transport import exempt_from_watchdog

if TYPE_CHECKING:
    from faust.types import StreamT

    from notify_streams.settings import EdgePopSettings


async def push_out(pop: EdgePopSettings, batches: StreamT[Any]) -> None:
    """Push each batch, however long it takes; the next batch of a partition waits for it, so no home goes back in time."""
    async with open_session() as session:
        push = EdgePusher(point_of_presence(pop, session))
        async for event in batch_events(batches):
            await STORE.call(push.push, event.value.records)
            event.ack()


for pop in app.settings.edge:
    exempt_from_watchdog(app, edge_topic(pop.name))
    app.agent(app.batches_of(edge_topic(pop.name)), name=f"edge {pop.name}")(partial(push_out, pop))
