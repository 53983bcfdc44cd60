"""`preference_updates` → durable record, Redis delta, table `preferences`."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from notify_streams import metrics
from notify_streams.app import app
from notify_streams.partition_concurrency import batch_events
from notify_streams.preferences.row_codec import newer_rows
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import PreferenceUpdate, read_preference_update
from notify_streams.rejections import reject
from notify_streams.retry import RetryPolicy
from notify_streams.table_writes import write_rows
from notify_streams.topics import PREFERENCE_UPDATES
from notify_streams.transport import on_revoked
from tables.preferences import preferences

if TYPE_CHECKING:
    from faust.types import TP, StreamT

    from notify_streams.preferences.table_lag import TableLag
    from notify_streams.preferences.writer import PreferenceWriter
    from notify_streams.table_writes import Table
    from notify_streams.transport import BatchEvent

_RETRY: Final = RetryPolicy("preferences.apply", first_s=0.05, max_s=2.0)


async def apply_preferences(event: BatchEvent, writer: PreferenceWriter, table: Table, lag: TableLag) -> None:
    """Apply the batch, then acknowledge it. Not acknowledged if another worker owns the partition now."""
    batch = event.value
    partition = batch.partition
    if batch.records:
        lag.started(partition, batch.records[0].timestamp)
    updates: list[tuple[int, PreferenceUpdate]] = []
    for record in batch.records:
        update = read_preference_update(record.value)
        if isinstance(update, Rejection):
            reject(batch.topic, record.offset, update)
        else:
            updates.append((partition, update))
    applied = await _RETRY.call(writer.apply_updates, updates, datetime.now(UTC))
    for _, rejection in applied.rejected:
        reject(batch.topic, batch.start, rejection)
    metrics.PREFERENCE_UPDATES.labels("applied").inc(len(updates) - len(applied.rejected))
    rows = {user_id.encode(): row for user_id, row in applied.rows.items()}
    written = await write_rows(table, partition, newer_rows(rows, table.get_many(partition, list(rows))))
    lag.finished(partition)
    if written:
        event.ack()


@app.agent(app.batched_topic(PREFERENCE_UPDATES))
async def preferences_agent(batches: StreamT[Any]) -> None:
    writer = app.preferences.writer
    async for event in batch_events(batches):
        await apply_preferences(event, writer, preferences, app.table_lag)


@partial(on_revoked, app)
def forget_lag(_: frozenset[TP]) -> None:
    """The new owners of the partitions report how far behind they are."""
    app.table_lag.reset()
