"""`receipts` → the state of deliveries in MongoDB, their events, `dead_letters`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from notify_streams.admin.channel_messages import channel_messages
from notify_streams.app import app
from notify_streams.delivery.attempt_reader import AttemptReader
from notify_streams.delivery.event_outbox import EventOutbox
from notify_streams.delivery.failed_receipts import FailedReceipts
from notify_streams.delivery.receipt_spans import ReceiptSpans
from notify_streams.delivery.receipts import ReceiptProgress, ReceiptWriter
from notify_streams.delivery.reputation import Reputation
from notify_streams.outbox.direct_publish import publish_directly
from notify_streams.partition_concurrency import process_partitions_concurrently
from notify_streams.records.outcomes import DeadReason
from notify_streams.records.trigger import Rejection
from notify_streams.registry.record_sorting import rejected
from notify_streams.retry import RetryPolicy, call_for_each
from notify_streams.stores.orphaned_transactions import abort_orphaned_transactions
from notify_streams.topics import RECEIPTS
from notify_streams.transport import RecordBatch, on_assigned, on_revoked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faust.types import TP, StreamT

    from notify_streams.records.batch import Producer, SourceRecord
    from notify_streams.transport import BatchEvent

reputation = Reputation(app.settings, app.shards)
app.add_lifecycle(reputation.start, reputation.stop)
events = app.receipt_events = EventOutbox(app.role, app.settings, app.shards, app)
app.add_lifecycle(events.start, events.stop)
_RETRY: Final = RetryPolicy("receipts.apply", first_s=0.05, max_s=2.0, max_unknown_s=30.0)


async def assigned(partitions: frozenset[TP]) -> None:
    """Publish what dead workers left in these buckets, whatever partition its receipts were in."""
    answering = {*range(len(app.shards))}.difference(app.shards.silent())
    await abort_orphaned_transactions(app.shards, answering)
    events.on_assigned([tp.partition for tp in partitions if tp.topic == RECEIPTS])


def revoked(_: frozenset[TP]) -> None:
    """With the next assignment, the buckets that stay may have rows of a dead worker, too."""
    events.on_assigned(())


on_assigned(app, assigned)
on_revoked(app, revoked)


async def apply_receipts(event: BatchEvent, writer: ReceiptWriter, producer: Producer) -> None:
    """Write the batch, repeated while MongoDB does not answer, and the dead letters; then acknowledge it."""
    batch = event.value
    refused: list[tuple[SourceRecord, Rejection]] = []
    progress = ReceiptProgress()

    def refuse(record: SourceRecord) -> None:
        refused.append((record, Rejection(DeadReason.BAD_RECORD, "the database refuses it")))

    async def apply(records: Sequence[SourceRecord]) -> None:
        part = RecordBatch(batch.topic, batch.partition, batch.start, batch.end, records)
        refused.extend(await writer.apply(part, progress))

    await call_for_each(_RETRY, apply, batch.records, refuse)
    await publish_directly(producer, [letter for one in refused for letter in rejected(batch, *one)])
    event.ack()


@app.agent(app.batched_topic(RECEIPTS))
async def receipts_agent(batches: StreamT[Any]) -> None:
    failed_receipts = FailedReceipts(
        app.settings,
        app.shards,
        app.categories,
        partial(channel_messages, app.settings),
        events,
    )
    timeout_s = app.settings.outbox.transaction_timeout_s
    writer = ReceiptWriter(
        app.shards,
        timeout_s,
        app.settings.event_systems(),
        events,
        reputation.count_receipt,
        failed_receipts.follow,
        None if app.spans is None else ReceiptSpans(app.spans, AttemptReader(app.shards, timeout_s)).add,
    )
    await process_partitions_concurrently(batches, partial(apply_receipts, writer=writer, producer=app))
