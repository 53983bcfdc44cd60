"""Health of a worker: readiness, recovery, and what the watchdog finds stuck."""

from __future__ import annotations

import asyncio
import logging

from aiokafka.errors import KafkaError
from faust.types import AppT

from notify_streams.transport.app_state import app_state
from notify_streams.transport.consumer import Consumer, batched_consumer
from notify_streams.transport.tables.recovery_progress import RecoveryProgress
from notify_streams.transport.watchdog import PartitionState, Stuck

log = logging.getLogger(__name__)

_INTERVAL_S = 5.0


def stuck(app: AppT) -> tuple[Stuck, ...]:
    """What is stuck on this worker; anything should fail `/live`."""
    return app_state(app).watchdog.stuck


def ready(app: AppT) -> bool:
    """Whether this worker's partitions have started and its tables have caught up."""
    return batched_consumer(app).all_started and all(progress.caught_up for progress in recovery(app))


def recovery(app: AppT) -> tuple[RecoveryProgress, ...]:
    """How far each batched or replicated table is; empty before the app started."""
    return tuple(follower.progress() for follower in app_state(app).followers)


async def monitor(consumer: Consumer) -> None:
    """Observe every few seconds until cancelled. Skips an observation that Kafka does not answer; for the watchdog, several are a pause."""
    while True:
        await asyncio.sleep(_INTERVAL_S)
        try:
            async with asyncio.timeout(_INTERVAL_S * 2):
                await observe(consumer)
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning(
                "partition offsets could not be read, observation skipped",
                extra={"action": "watchdog.skip", "error": error},
            )


async def observe(consumer: Consumer) -> None:
    """Give the watchdog one observation of the partitions and tables."""
    state = app_state(consumer.app)
    now_s = asyncio.get_running_loop().time
    tps = [tp for tp in consumer.source_partitions() if tp.topic not in state.exempt_topics]
    if not tps or any(holds() for holds in state.holds):
        state.watchdog.observe(now_s(), {})
        return
    # Positions come from the buffers, ends must come from Kafka: a fetcher that has stopped does not know that an end has moved.
    offsets = await consumer.partition_offsets(tps)
    partitions = {
        tp: PartitionState(consumer.processed_position(tp), found.end, found.committed) for tp, found in offsets.items()
    }
    recovering = [
        (follower.name, follower.moved_at_s) for follower in state.followers if not follower.progress().caught_up
    ]
    for found in state.watchdog.observe(now_s(), partitions, recovering):
        log.error(
            "the worker is stuck",
            extra={"action": "watchdog.stuck", "what": found.what, "reason": found.reason.value, "for_s": found.for_s},
        )
