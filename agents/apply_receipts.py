"""`receipts` → the state of deliveries in MongoDB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from notify_streams.app import app
from notify_streams.delivery.receipts import ReceiptWriter
from notify_streams.partition_concurrency import batch_events
from notify_streams.retry import RetryPolicy
from notify_streams.topics import RECEIPTS

if TYPE_CHECKING:
    from faust.types import StreamT

    from notify_streams.transport import BatchEvent

_RETRY: Final = RetryPolicy("receipts.apply", first_s=0.05, max_s=2.0)


async def apply_receipts(event: BatchEvent, writer: ReceiptWriter) -> None:
    """Write the batch, repeated while MongoDB does not answer; then acknowledge it."""
    await _RETRY.call(writer.apply, event.value)
    event.ack()


@app.agent(app.batched_topic(RECEIPTS))
async def receipts_agent(batches: StreamT[Any]) -> None:
    writer = ReceiptWriter(app.shards, app.settings.outbox.transaction_timeout_s)
    async for event in batch_events(batches):
        await apply_receipts(event, writer)
