"""Health of a worker: readiness, recovery, offsets, what is stuck."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from aiokafka.errors import KafkaError
from faust.types import TP, AppT

from notify_streams.kafka import note_refusal
from notify_streams.transport.app_state import app_state, kafka_connection
from notify_streams.transport.consumer import Consumer, batched_consumer
from notify_streams.transport.fetch_thread import PartitionOffsets
from notify_streams.transport.tables.recovery_progress import RecoveryProgress
from notify_streams.transport.watchdog import PartitionState, Reason, Stuck

log = logging.getLogger(__name__)

#: Offsets that were read longer ago say nothing.
_OFFSETS_GOOD_S = 20.0


def stuck(app: AppT) -> tuple[Stuck, ...]:
    """What is stuck on this worker; anything should fail `/live`."""
    return app_state(app).watchdog.stuck


def kafka_silent_s(app: AppT) -> float:
    """Seconds since Kafka answered the last question for offsets; 0 before the first one was due."""
    at_s = app_state(app).offsets_at_s
    return time.monotonic() - at_s if at_s else 0.0


def stalled(app: AppT) -> dict[str, float]:
    """The longest time (s) without progress of a partition of this worker that has records or a commit to come, by reason."""
    state = app_state(app)
    found = state.watchdog.longest_s(time.monotonic())
    recovering = [time.monotonic() - one.moved_at_s for one in state.followers if not one.progress().caught_up]
    found[Reason.NOT_RECOVERED] = max(recovering, default=0.0)
    return {reason.name.lower(): found.get(reason, 0.0) for reason in Reason}


def stalled_parts(app: AppT, after_s: float) -> tuple[Stuck, ...]:
    """The partitions and tables of this worker that have made no progress for `after_s`, although they could."""
    state, now_s = app_state(app), time.monotonic()
    tables = tuple(
        Stuck(f"table {one.name}", Reason.NOT_RECOVERED, now_s - one.moved_at_s)
        for one in state.followers
        if now_s - one.moved_at_s >= after_s and not one.progress().caught_up
    )
    return state.watchdog.stalled(now_s, after_s) + tables


def ready(app: AppT) -> bool:
    """Whether this worker's partitions have started and its tables have caught up."""
    return batched_consumer(app).all_started and all(progress.caught_up for progress in recovery(app))


def recovery(app: AppT) -> tuple[RecoveryProgress, ...]:
    """How far each batched or replicated table is; empty before the app started."""
    return tuple(follower.progress() for follower in app_state(app).followers)


def table_problems(app: AppT) -> tuple[str, ...]:
    """Why tables cannot be written; nothing while all is well."""
    return tuple(follower.problem for follower in app_state(app).followers if follower.problem is not None)


def known_offsets(app: AppT) -> Mapping[TP, PartitionOffsets] | None:
    """Offsets of the assigned source partitions, at most some seconds old; None if Kafka did not answer or the app has not started."""
    state = app_state(app)
    if state.offsets is None or time.monotonic() - state.offsets_at_s > _OFFSETS_GOOD_S:
        return None
    assigned = set(batched_consumer(app).source_partitions())
    return {tp: offsets for tp, offsets in state.offsets.items() if tp in assigned}


def wrong_partition_counts(app: AppT, expected: int) -> dict[str, int]:
    """Partition counts of source topics that do not have `expected` partitions, as far as this worker knows them."""
    state = app_state(app)
    topics = {tp.topic for tp in state.offsets or ()} & state.batched_topics
    counts = {topic: batched_consumer(app).topic_partitions(topic) for topic in topics}
    return {topic: count for topic, count in counts.items() if count not in (None, expected)}


async def monitor(consumer: Consumer) -> None:
    """Observe every few seconds until cancelled. Skips an observation that Kafka does not answer; for the watchdog, several are a pause.

    Says what Kafka refuses, if that is why.
    """
    interval_s = consumer.settings.observe_every_s
    while True:
        await asyncio.sleep(interval_s)
        for look in (observe, Consumer.check):
            try:
                async with asyncio.timeout(interval_s * 2):
                    await look(consumer)
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning(
                    "Kafka could not be asked, observation skipped", extra={"action": "watchdog.skip", "error": error}
                )
                await note_refusal(kafka_connection(consumer.app), error, interval_s)


def _not_counted(partition: int) -> None:
    """The progress of a topic without `count_progress_by`."""


async def observe(consumer: Consumer) -> None:
    """Read the offsets of the assigned partitions, and give the watchdog one observation of partitions and tables."""
    state = app_state(consumer.app)
    tps = consumer.source_partitions()
    # Positions come from the buffers, ends must come from Kafka: a fetcher that has stopped does not know that an end has moved.
    before = {tp: consumer.processed_position(tp) for tp in tps}
    offsets = await consumer.partition_offsets(tps) if tps else {}
    now_s = state.offsets_at_s = time.monotonic()
    state.offsets = offsets
    _say_what_is_beyond_its_end(consumer, before)
    partitions = {
        tp: PartitionState(
            consumer.processed_position(tp),
            found.end,
            found.committed,
            state.progress.get(tp.topic, _not_counted)(tp.partition),
        )
        for tp, found in offsets.items()
        if tp.topic not in state.exempt_topics and tp not in consumer.held_up
    }
    if not partitions or any(holds() for holds in state.holds):
        state.watchdog.observe(now_s, {})
        return
    recovering = [
        (follower.name, follower.moved_at_s) for follower in state.followers if not follower.progress().caught_up
    ]
    for found in state.watchdog.observe(now_s, partitions, recovering):
        log.error(
            "the worker is stuck",
            extra={"action": "watchdog.stuck", "what": found.what, "reason": found.reason.value, "for_s": found.for_s},
        )


def _say_what_is_beyond_its_end(consumer: Consumer, positions: Mapping[TP, int | None]) -> None:
    """An agent that keeps its own positions does not read what a topic that was made anew has before them, and has nothing to say.

    Seen twice: the end that a new leader knows may be behind for a moment.
    """
    state = app_state(consumer.app)
    ends = {tp: found.end for tp, found in (state.offsets or {}).items()}
    beyond = {
        tp: position
        for tp, position in positions.items()
        if tp in ends and position is not None and position > ends[tp]
    }
    for tp in state.beyond_end & beyond.keys():
        log.error(
            "a partition ends before its position, so new records are not read: its topic was made anew or has lost records; "
            "a restore makes positions and topic agree",
            extra={
                "action": "partition.beyond_end",
                "topic": tp.topic,
                "partition": tp.partition,
                "position": beyond[tp],
                "end": ends[tp],
            },
        )
    state.beyond_end = frozenset(beyond)
