"""`user_erasures` → `erasures` in MongoDB, `forward.<region>`; then the steps.

A batch is acknowledged when its erasures are durable and every other region will get them. Workers of the role then make the steps
(`erasure.runner`), not only the one that read the record.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from agents.sign_up import registry
from notify_streams.app import app
from notify_streams.erasure.steps import erasure_runner
from notify_streams.erasure.store import ErasureStore
from notify_streams.outbox.direct_publish import publish_directly
from notify_streams.partition_concurrency import process_partitions_concurrently
from notify_streams.records.outcomes import DeadReason
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import arrival_ms, encode_record, read_erasure
from notify_streams.regions.replication import copies_everywhere
from notify_streams.registry.record_sorting import rejected, sort_batch
from notify_streams.retry import RetryPolicy
from notify_streams.stores.shard_clocks import own_now
from notify_streams.topics import USER_ERASURES
from tables.locations import locate

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from faust.types import StreamT

    from notify_streams.erasure.runner import ErasureRunner
    from notify_streams.records.batch import Producer
    from notify_streams.settings import Settings
    from notify_streams.transport import BatchEvent

log = logging.getLogger(__name__)
_RETRY: Final = RetryPolicy("erasure.begin", first_s=0.05, max_s=2.0)


async def erase(
    event: BatchEvent,
    store: ErasureStore | None,
    runner: ErasureRunner | None,
    producer: Producer,
    settings: Settings,
    now: Callable[[int], datetime] = own_now,
) -> None:
    """Begin the erasures of the batch.

    Without `public.address_key` (no `store`) they are dead letters: there is no hash to keep. `now`: see `apply_preferences`.
    """
    batch = event.value
    now_ms = int(now(batch.partition).timestamp() * 1000)
    found = sort_batch(
        batch, lambda record: read_erasure(record.value, arrival_ms(record, now_ms)), settings.partitions
    )
    outputs = found.outputs
    for record, erasure in found.valid:
        if store is None:
            why = Rejection(DeadReason.INVALID, "public.address_key is not set, so no person can be erased")
            outputs += rejected(batch, record, why)
            continue
        await _RETRY.call(store.open, erasure.user_id, batch.partition, erasure.updated_at)
        outputs += copies_everywhere(record, encode_record(erasure), batch.partition, settings, USER_ERASURES)
    await publish_directly(producer, outputs)
    event.ack()
    if runner is not None:
        runner.wake()


@app.agent(app.batched_topic(USER_ERASURES))
async def erasures_agent(batches: StreamT[Any]) -> None:
    """Partitions run concurrently: one that waits for its shard delays no other."""
    process = partial(erase, store=store, runner=runner, producer=app, settings=app.settings, now=app.later_now)
    await process_partitions_concurrently(batches, process)


key = app.settings.public.address_key
store = (
    None if key is None else ErasureStore(app.shards, key.reveal().encode(), app.settings.outbox.transaction_timeout_s)
)
runner = (
    None
    if store is None
    else erasure_runner(
        app.settings,
        store,
        registry,
        app.contacts,
        app.preferences,
        app.shards,
        app,
        lambda user_id: locate(user_id) is not None,
    )
)
if runner is not None:
    app.add_lifecycle(runner.start, runner.stop)
