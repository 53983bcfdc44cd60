"""`receipts` -> the delivery's state: a provider's word on what it once accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from notify_streams.app import app
from notify_streams.delivery.receipts import ReceiptWriter
from notify_streams.partition_concurrency import batch_events
from notify_streams.retry import STORE
from notify_streams.topics import RECEIPTS

if TYPE_CHECKING:
    from faust.types import StreamT

receipts = ReceiptWriter(app.shards, app.settings.outbox.transaction_timeout_s)


@app.agent(app.batches_of(RECEIPTS))
async def receive(batches: StreamT[Any]) -> None:
    """Lift states, then acknowledge."""
    async for event in batch_events(batches):
        await STORE.call(receipts.apply, event.value)
        event.ack()
