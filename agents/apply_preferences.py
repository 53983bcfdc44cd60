"""`preference_updates` -> the durable record, the Redis delta, the table `preferences`."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from notify_streams import metrics
from notify_streams.app import app
from notify_streams.partition_concurrency import batch_events
from notify_streams.preferences.row_codec import newest
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import read_preference_update
from notify_streams.retry import STORE
from notify_streams.topics import PREFERENCE_UPDATES
from notify_streams.transport import on_revoked
from tables.preferences import preferences
from tables.retry import apply_until_written

if TYPE_CHECKING:
    from faust.types import TP, StreamT

    from notify_streams.records.user_records import PreferenceUpdate
    from notify_streams.transport import RecordBatch

log = logging.getLogger(__name__)


@app.agent(app.batches_of(PREFERENCE_UPDATES))
async def learn_preferences(batches: StreamT[Any]) -> None:
    """Apply each batch to the durable record; the table takes the rows that are newer than its own."""
    writer = app.preference_parts.writer
    async for event in batch_events(batches):
        batch: RecordBatch = event.value
        if batch.records:
            app.table_lag.taken(batch.partition, batch.records[0].timestamp)
        updates: list[tuple[int, PreferenceUpdate]] = []
        for record in batch.records:
            found = read_preference_update(record.value)
            if isinstance(found, Rejection):
                _refuse(batch, record.offset, found)
            else:
                updates.append((batch.partition, found))
        applied = await STORE.call(writer.apply_updates, updates, datetime.now(UTC))
        for _, rejection in applied.rejected:
            _refuse(batch, batch.start, rejection)
        held = preferences.get_many(batch.partition, [user_id.encode() for user_id in applied.rows])
        fresh = {
            user_id.encode(): row
            for (user_id, row), before in zip(applied.rows.items(), held, strict=True)
            if before is None or newest(row, before) is row
        }
        kept = await apply_until_written(preferences, batch.partition, fresh)
        app.table_lag.done(batch.partition)
        metrics.PREFERENCE_UPDATES.labels("applied").inc(len(updates) - len(applied.rejected))
        if kept:
            event.ack()


@partial(on_revoked, app)
def give_up(_: frozenset[TP]) -> None:
    """Whoever has the partitions now tells how far behind they are."""
    app.table_lag.forget()


def _refuse(batch: RecordBatch, offset: int, rejection: Rejection) -> None:
    metrics.REJECTED_RECORDS.labels(batch.topic, rejection.reason.value).inc()
    log.warning(
        "record refused",
        extra={"action": "learn", "topic": batch.topic, "offset": offset, "detail": rejection.detail},
    )
