"""`preference_updates` → MongoDB, Redis, `preference_rows`, `forward.<region>`.

Only the registry role does this. A batch is acknowledged when everything that follows from it is published; after a crash it is published
again, and readers keep the newest.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from notify_streams import metrics
from notify_streams.app import app
from notify_streams.outbox.direct_publish import publish_directly
from notify_streams.partition_concurrency import process_partitions_concurrently
from notify_streams.records.address_ids import is_address_id
from notify_streams.records.user_records import arrival_ms, encode_record, read_preference_update
from notify_streams.regions.replication import copies_everywhere
from notify_streams.registry.record_sorting import drop_erased, rejected, sort_batch
from notify_streams.retry import RetryPolicy
from notify_streams.topics import PREFERENCE_ROWS, PREFERENCE_UPDATES

if TYPE_CHECKING:
    from faust.types import StreamT

    from notify_streams.preferences.writer import PreferenceWriter
    from notify_streams.records.batch import Producer
    from notify_streams.registry.record_sorting import ErasedAmong
    from notify_streams.settings import Settings
    from notify_streams.transport import BatchEvent

_RETRY: Final = RetryPolicy("preferences.apply", first_s=0.05, max_s=2.0)


async def apply_preferences(
    event: BatchEvent, writer: PreferenceWriter, producer: Producer, settings: Settings, erased_among: ErasedAmong
) -> None:
    """Apply the updates, then publish the users' rows, and a copy of each update for every other region."""
    batch = event.value
    now_ms = int(time.time() * 1000)
    found = sort_batch(
        batch, lambda record: read_preference_update(record.value, arrival_ms(record, now_ms)), settings.partitions
    )
    await drop_erased(found, batch, erased_among)
    updates = [(batch.partition, update) for _, update in found.valid]
    applied = await _RETRY.call(writer.apply_updates, updates)
    outputs, refused = found.outputs, dict(applied.rejected)
    outputs += [
        (PREFERENCE_ROWS, batch.partition, user.encode(), row, ())
        for user, row in applied.rows.items()
        if not is_address_id(user)
    ]
    for index, (record, update) in enumerate(found.valid):
        if index in refused:
            outputs += rejected(batch, record, refused[index])
        else:
            outputs += copies_everywhere(record, encode_record(update), batch.partition, settings, PREFERENCE_UPDATES)
    metrics.PREFERENCE_UPDATES.labels("applied").inc(len(updates) - len(refused))
    await publish_directly(producer, outputs)
    event.ack()


@app.agent(app.batched_topic(PREFERENCE_UPDATES))
async def preferences_agent(batches: StreamT[Any]) -> None:
    """Partitions run concurrently: one that waits for its shard delays no other."""
    apply = partial(
        apply_preferences,
        writer=app.preferences.writer,
        producer=app,
        settings=app.settings,
        erased_among=app.preferences.erased.among,
    )
    await process_partitions_concurrently(batches, apply)
