"""`preference_updates` → MongoDB, Redis, `preference_rows`, `forward.<region>`.

Only the registry role does this. A batch is acknowledged when everything that follows from it is published; after a crash it is published
again, and readers keep the newest.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from notify_streams import metrics
from notify_streams.app import app
from notify_streams.outbox.direct_publish import publish_directly
from notify_streams.partition_concurrency import process_partitions_concurrently
from notify_streams.records.address_ids import is_address_id
from notify_streams.records.outcomes import DeadReason
from notify_streams.records.source_proofs import SourceProofs
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import arrival_ms, encode_record, read_preference_update
from notify_streams.regions.replication import copies_everywhere
from notify_streams.registry.record_sorting import drop_erased, rejected, sort_batch
from notify_streams.retry import RetryPolicy, call_for_each
from notify_streams.stores.shard_clocks import own_now
from notify_streams.topics import PREFERENCE_ROWS, PREFERENCE_UPDATES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from faust.types import StreamT

    from notify_streams.preferences.writer import PreferenceWriter
    from notify_streams.records.batch import OutboxRecord, Producer, SourceRecord
    from notify_streams.records.user_records import PreferenceUpdate
    from notify_streams.registry.record_sorting import ErasedAmong
    from notify_streams.settings import Settings
    from notify_streams.transport import BatchEvent

    _Read = tuple[SourceRecord, PreferenceUpdate]

_RETRY: Final = RetryPolicy("preferences.apply", first_s=0.05, max_s=2.0, max_unknown_s=30.0)
_REFUSED: Final = Rejection(DeadReason.BAD_RECORD, "the database refuses it")


async def apply_preferences(
    event: BatchEvent,
    writer: PreferenceWriter,
    producer: Producer,
    settings: Settings,
    erased_among: ErasedAmong,
    now: Callable[[int], datetime] = own_now,
) -> None:
    """Apply the updates, then publish what follows.

    That is the users' rows, a copy of each update for every other region, and dead letters.

    Args:
        now: the latest time that a choice in a bucket may have. With a clock that is behind a choice would lose against earlier ones.
    """
    batch = event.value
    now_ms = int(now(batch.partition).timestamp() * 1000)
    proofs = SourceProofs(settings.public.address_key)

    def read(record: SourceRecord) -> PreferenceUpdate | Rejection:
        update = read_preference_update(record.value, arrival_ms(record, now_ms))
        return update if isinstance(update, Rejection) else proofs.checked(update, record)

    found = sort_batch(batch, read, settings.partitions)
    await drop_erased(found, batch, erased_among)
    rows: dict[str, bytes] = {}
    others: list[OutboxRecord] = []
    applied = 0

    def refuse(one: _Read) -> None:
        others.extend(rejected(batch, one[0], _REFUSED))

    async def apply(some: Sequence[_Read]) -> None:
        nonlocal applied
        result = await writer.apply_updates([(batch.partition, update) for _, update in some])
        rows.update(result.rows)
        refused = dict(result.rejected)
        applied += len(some) - len(refused)
        for index, (record, update) in enumerate(some):
            if index in refused:
                others.extend(rejected(batch, record, refused[index]))
            else:
                value = encode_record(update)
                headers = proofs.headers(update, value, record.headers)
                others.extend(copies_everywhere(record, value, batch.partition, settings, PREFERENCE_UPDATES, headers))

    await call_for_each(_RETRY, apply, found.valid, refuse)
    row_outputs = [
        (PREFERENCE_ROWS, batch.partition, user.encode(), row, ())
        for user, row in rows.items()
        if not is_address_id(user)
    ]
    metrics.PREFERENCE_UPDATES.labels("applied").inc(applied)
    await publish_directly(producer, [*found.outputs, *row_outputs, *others])
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
        now=app.later_now,
    )
    await process_partitions_concurrently(batches, apply)
