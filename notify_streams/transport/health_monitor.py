"""Looks at the worker every few seconds and asks Kafka where the partitions end, for the watchdog.

In: the consumer and the tables. Out: `Stuck` values for `/live`, `RecoveryProgress` values for `/ready`, logs and metrics.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError
from faust.types import TP, AppT

from notify_streams.transport.app_state import app_state, batched_consumer
from notify_streams.transport.fetch_thread import PartitionOffsets
from notify_streams.transport.tables.recovery_progress import RecoveryProgress
from notify_streams.transport.watchdog import PartitionState, Stuck

if TYPE_CHECKING:
    from notify_streams.transport.consumer import Consumer

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0


def stuck(app: AppT) -> tuple[Stuck, ...]:
    """What stands still on this worker; anything at all should fail `/live`."""
    return app_state(app).watchdog.stuck


def ready(app: AppT) -> bool:
    """Whether this worker's partitions are open and its tables caught up."""
    return batched_consumer(app).opened and all(progress.caught_up for progress in recovery(app))


def recovery(app: AppT) -> tuple[RecoveryProgress, ...]:
    """How far each batched or replicated table is; empty before the app started."""
    declared = app_state(app)
    return tuple(table.progress() for table in declared.tables) if declared.producer is not None else ()


async def watch(consumer: Consumer) -> None:
    """Look until cancelled. A look that Kafka does not answer is skipped; several of them count as a pause."""
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            async with asyncio.timeout(LOOK_EVERY_S * 2):
                await observe(consumer)
        except (KafkaError, OSError, TimeoutError) as exc:
            log.warning("Kafka does not say where partitions end: %r", exc)


async def observe(consumer: Consumer) -> None:
    """One look."""
    app = consumer.app
    declared = app_state(app)
    # The answer to "how far is it read" comes from the buffers; "where does it end" must come from Kafka itself: a
    # fetcher that has stopped asking does not know that the end has moved on.
    assigned = [
        tp
        for tp in consumer.assignment()
        if app.topics.acks_enabled_for(tp.topic) and tp.topic not in declared.patient_topics
    ]
    if not assigned or any(holds() for holds in declared.waiting):
        app_state(app).watchdog.observe(asyncio.get_running_loop().time(), {})
        return
    extents = await consumer.thread.partition_offsets(assigned)
    readings = {tp: partition_state(consumer, tp, extent) for tp, extent in extents.items()}
    now_s = asyncio.get_running_loop().time()
    behind = [
        (table.name, table.follower.moved_at_s) for table in app_state(app).tables if not table.progress().caught_up
    ]
    for found in app_state(app).watchdog.observe(now_s, readings, behind):
        log.error("stuck: %s", found)


def partition_state(consumer: Consumer, tp: TP, extent: PartitionOffsets) -> PartitionState:
    """One partition as the watchdog wants it."""
    buffer = consumer.buffers().get(tp)
    if buffer is not None:
        position: int | None = buffer.prefix.position
    elif tp in consumer.held or tp.topic in consumer.thread.batched_topics:
        position = None
    else:
        position = consumer.thread.position_now(tp)
    return PartitionState(position, extent.end, extent.committed)
