"""Faust's consumer: batches for batched topics, single events for the others.

Connects Faust's lifecycle (assigned, revoked, flow stopped and resumed) with the partition buffers, and commits acknowledged prefixes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from aiokafka.errors import ConsumerStoppedError, KafkaError
from faust.agents import current_agent
from faust.transport.drivers import aiokafka as stock
from faust.types import TP, AppT
from faust.types.transports import TPorTopicSet
from mode.utils.futures import notify

from notify_streams.kafka import note_missing_right
from notify_streams.transport.app_state import app_state, kafka_connection
from notify_streams.transport.batched_topic import BatchMessage, ReadPartition
from notify_streams.transport.faust_delivery import deliver_single_events
from notify_streams.transport.fetch_thread import FetchThread, PartitionOffsets
from notify_streams.transport.partition_buffer import AppendResult, Bounds, FetchedRange, PartitionBuffer
from notify_streams.transport.partition_start import StartPosition, decide_start_positions, groups, prepare

log = logging.getLogger(__name__)

_FETCH_TIMEOUT_S = 1.0
#: Before a partition that could not be read is fetched again.
_UNREADABLE_PAUSE_S = 1.0
#: Faust's own default.
_MAX_UNBATCHED_RECORDS = 500


class SourceTopicMissing(Exception):
    """Create these topics, then start the app."""

    def __init__(self, topics: Iterable[str], remedy: str) -> None:
        super().__init__(f"topics do not exist, {remedy}: {', '.join(sorted(topics))}")


class Consumer(stock.Consumer):
    """Delivers at least once. Commits only what was acknowledged, in order, partition by partition."""

    _thread: FetchThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._buffers: dict[TP, PartitionBuffer] = {}
        #: Assigned partitions without a start position.
        self._unstarted: set[TP] = set()
        self._starting: asyncio.Task[None] | None = None
        #: Those that have not started because a service does not answer, or that Kafka cannot give: no restart would help.
        self.held_up: set[TP] = set()
        #: Partitions that could not be read, and when they are read again (on the event loop's clock).
        self._unreadable: dict[TP, float] = {}
        #: When the partitions were revoked (monotonic), until the next ones have started.
        self._stopped_at: float | None = None
        self._queueing_events: asyncio.Future[None] | None = None
        self._work = asyncio.Event()
        self._resumed = False
        super().__init__(*args, **kwargs)
        self._state = app_state(self.app)
        self.settings = self._state.settings
        self.commit_interval = self.settings.commit_interval_s
        # Makes Faust call `wait_empty` before it stops agents; here that is bounded.
        self.app.conf.stream_wait_empty = True

    def _new_consumer_thread(self) -> FetchThread:
        state = app_state(self.app)
        thread = FetchThread(self, loop=self.loop, beacon=self.beacon)
        thread.settings = state.settings
        thread.connection = kafka_connection(self.app)
        thread.batched_topics = frozenset(state.batched_topics)
        return thread

    # -- For the app

    def buffers(self) -> Mapping[TP, PartitionBuffer]:
        """Buffers of the started partitions of batched topics. Read only."""
        return self._buffers

    @property
    def all_started(self) -> bool:
        """Whether the group has assigned partitions (or none) and all of them have started."""
        return self.flow_active and self._resumed and not self._unstarted

    def source_partitions(self) -> list[TP]:
        """Assigned partitions, without the changelogs of Faust's own tables."""
        return [tp for tp in self.assignment() if self.app.topics.acks_enabled_for(tp.topic)]

    def processed_position(self, tp: TP) -> int | None:
        """Everything below is processed. None until the partition has started."""
        buffer = self._buffers.get(tp)
        if buffer is not None:
            return buffer.prefix.position
        if tp in self._unstarted or tp.topic in self._thread.batched_topics:
            return None
        return self._thread.position_now(tp)

    async def partition_offsets(self, tps: Collection[TP]) -> dict[TP, PartitionOffsets]:
        """See `FetchThread.partition_offsets`."""
        return await self._thread.partition_offsets(tps)

    async def check(self) -> None:
        """See `FetchThread.check`."""
        await self._thread.check()

    # -- For batch messages

    def is_current(self, message: ReadPartition) -> bool:
        """See `BatchEvent.current`."""
        return self._buffers.get(message.tp) is message.buffer and message.prefix is message.buffer.prefix

    def refuse(self, message: ReadPartition, position: int) -> bool:
        """See `BatchEvent.refuse`.

        Ignores batches that are not current: under full load every partition has some in flight, and each would discard what was read since.
        """
        if not self.is_current(message):
            return False
        self._read_again(message.tp, message.buffer, position)
        self._wake()
        return True

    def redeliver(self, message: BatchMessage) -> bool:
        """See `BatchEvent.redeliver`."""
        message.buffer.event_queued = False
        return self.refuse(message, message.buffer.prefix.position)

    def on_materialized(self, buffer: PartitionBuffer, was_full: bool) -> None:
        """An agent has a batch of this buffer: queue an event for the rest, and fetch again if the buffer was full.

        Waking the thread costs two system calls and an empty response, so it is not done for every batch.
        """
        buffer.event_queued = False
        self._queue_event_soon(buffer)
        if was_full and not buffer.full:
            self._wake()

    def on_acked(self, message: BatchMessage) -> None:
        """All agents have acknowledged a batch."""
        if message.delivered is not None:
            assert message.prefix is not None
            message.prefix.ack(message.delivered)
        self._unacked_messages.discard(message)
        notify(self._waiting_for_ack)
        self._queue_event_soon(message.buffer)

    def _read_again(self, tp: TP, buffer: PartitionBuffer, position: int) -> None:
        buffer.restart(position)
        self._thread.seek_soon(tp, position)

    def _queue_event_soon(self, buffer: PartitionBuffer) -> None:
        if buffer.needs_event:
            self._queueing_events = asyncio.ensure_future(self._queue_events())

    # -- Faust's lifecycle

    async def on_task_error(self, exc: BaseException) -> None:
        """An agent's body raised: after a pause, deliver again what it had not acknowledged. Faust then restarts the body.

        Otherwise its batches would stay in flight, and an event that it had not read would be the last one of its partition.
        """
        agent = current_agent()
        topics = frozenset(agent.get_topic_names()) if agent is not None else frozenset()
        log.error(
            "an agent raised; its unacknowledged batches will be delivered again",
            extra={"action": "agent.redeliver", "agent": str(agent), "error": exc},
        )
        await asyncio.sleep(self.settings.failed_body_pause_s)
        for tp, buffer in self._buffers.items():
            if tp.topic in topics and (buffer.event_queued or not buffer.prefix.all_acked):
                buffer.event_queued = False
                self._read_again(tp, buffer, buffer.prefix.position)
        self._wake()

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group.

        Raises:
            SourceTopicMissing: a batched topic does not exist. Faust would not read it after it was created either.
        """
        wanted = set(topics)
        if not wanted:
            # There is nothing to read (a forward role that knows no other region), but Faust's start waits for an assignment.
            await self.on_partitions_assigned(set())
            return
        missing = await self._thread.missing(wanted & self._thread.batched_topics)
        if missing:
            raise SourceTopicMissing(missing, self.settings.missing_topics_remedy)
        await super().subscribe(wanted)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Does nothing: Faust's check reports idle partitions as stuck (faust#629). `Watchdog` replaces it."""

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Resume changelogs of Faust's own tables at once; source partitions wait for their start positions."""
        changelogs = self.app.tables.changelog_topics
        super().resume_partitions({tp for tp in tps if tp.topic in changelogs})
        self._unstarted.update(tp for tp in tps if tp.topic not in changelogs)

    async def perform_seek(self) -> None:
        """Does nothing: partitions are sought to their start positions."""

    def resume_flow(self) -> None:
        """Start partitions. Faust calls this last after a rebalance, when it will clear no queue any more."""
        super().resume_flow()
        self._resumed = True
        if self._unstarted and self._starting is None:
            self._starting = asyncio.ensure_future(self._start_partitions(frozenset(self._unstarted)))
        self._wake()

    def stop_flow(self) -> None:
        """Deliver nothing more. What is in flight can still be acknowledged."""
        super().stop_flow()
        for buffer in self._buffers.values():
            buffer.close()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Stop delivering, give agents a bounded time, commit what they acknowledged, forget the rest."""
        self._cancel_start()
        self._stopped_at = time.monotonic()
        self.stop_flow()
        await self.wait_empty()
        lost = frozenset(self._buffers)
        self._buffers.clear()
        self._unacked_messages.clear()
        for hook in self._state.revoked_hooks:
            hook(lost)
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._cancel_start()
        self._buffers.clear()
        self._unreadable.clear()
        self._resumed = False
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_stop(self) -> None:
        self._cancel_start()
        await self._commit_in_time()
        self._buffers.clear()

    # -- Start positions

    def _cancel_start(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
        self._starting = None
        self._unstarted.clear()
        self.held_up.clear()

    async def _start_partitions(self, tps: frozenset[TP]) -> None:
        found = self._state.start_positions
        try:
            await prepare(tps, self._state.assigned_hooks)
            every = groups(tps, None if found is None else found.group_of)
            async with asyncio.TaskGroup() as starting:
                for group in every:
                    starting.create_task(self._start_group(group))
            self._starting = None
            stopped_at, self._stopped_at = self._stopped_at, None
            for hook in self._state.started_hooks:
                hook(None if stopped_at is None else time.monotonic() - stopped_at)
        except Exception as error:
            log.exception("partitions could not be started; the worker stops", extra={"action": "partitions.crash"})
            await self.crash(error)

    async def _start_group(self, tps: frozenset[TP]) -> None:
        """Start partitions as soon as their own positions are known, whatever the others of the assignment wait for."""
        starts = await decide_start_positions(
            tps,
            self._thread.partition_offsets,
            self._state.start_positions,
            from_beginning=self.app.conf.consumer_auto_offset_reset == "earliest",
            held_up=self.held_up,
        )
        await self._thread.seek_all({tp: start.position for tp, start in starts.items()})
        bounds = Bounds(self.settings.max_batch_records, self.settings.max_batch_bytes)
        for tp, start in starts.items():
            if tp.topic in self._thread.batched_topics:
                next_position = start.position - start.lost
                buffer = PartitionBuffer(tp.topic, tp.partition, next_position, start.committed, bounds)
                buffer.skip_to(start.position)
                self._buffers[tp] = buffer
            else:
                self._start_unbatched(tp, start)
        self._unstarted -= tps
        super().resume_partitions(tps)
        self._wake()
        log.info("partitions started", extra={"action": "partitions.started", "count": len(tps)})

    def _start_unbatched(self, tp: TP, start: StartPosition) -> None:
        self._acked.pop(tp, None)
        self._acked_index.pop(tp, None)
        self._gap.pop(tp, None)
        self._read_offset[tp] = start.position if start.position > 0 else None
        self._committed_offset[tp] = start.committed or None

    # -- Fetch and deliver

    async def _drain_messages(self, fetcher: Any) -> None:
        """Faust's fetch loop."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                if not self.flow_active:
                    await self.wait_first(self.can_resume_flow.wait(), timeout=_FETCH_TIMEOUT_S)
                    continue
                await self._queue_events()
                self._work.clear()
                tps = self._fetchable()
                if not tps:
                    await self.wait_first(self._work.wait(), timeout=_FETCH_TIMEOUT_S)
                    continue
                await self._fetch(tps)
        except (ConsumerStoppedError, asyncio.CancelledError):
            if not self.app.should_stop:
                raise

    def _fetchable(self) -> set[TP]:
        tps = self._get_active_partitions()
        now_s = self.loop.time()
        self._unreadable = {tp: until_s for tp, until_s in self._unreadable.items() if until_s > now_s}
        return {tp for tp in tps if tp not in self._unreadable and not (tp in self._buffers and self._buffers[tp].full)}

    async def _fetch(self, tps: set[TP]) -> None:
        generation = self.app.consumer_generation_id
        limit = self.app.conf.broker_max_poll_records or _MAX_UNBATCHED_RECORDS
        fetched = await self._thread.fetch(tps, _FETCH_TIMEOUT_S, limit)
        if not self.flow_active or generation != self.app.consumer_generation_id:
            return
        for tp, error in (fetched.failed or {}).items():
            self._read_later(tp, error)
        for tp, fetched_range in fetched.batched:
            self.held_up.discard(tp)
            buffer = self._buffers.get(tp)
            if buffer is not None and buffer.append(fetched_range) is AppendResult.GAP:
                await self._close_gap(tp, buffer, fetched_range)
        if fetched.unbatched:
            self.held_up.difference_update(fetched.unbatched)
            await deliver_single_events(self, fetched.unbatched)

    def _read_later(self, tp: TP, error: Exception) -> None:
        """Read the partition again after a pause: what is wrong may be changed. A crash would cost the partitions that can be read."""
        self._unreadable[tp] = self.loop.time() + _UNREADABLE_PAUSE_S
        if not note_missing_right(kafka_connection(self.app), error):
            self.held_up.add(tp)
            log.error(
                "a partition cannot be read, will be retried",
                extra={
                    "action": "partition.unreadable",
                    "topic": tp.topic,
                    "partition": tp.partition,
                    "error": error,
                },
            )

    async def _close_gap(self, tp: TP, buffer: PartitionBuffer, fetched: FetchedRange) -> None:
        """Read what lies before a fetched range again, unless Kafka has deleted it."""
        try:
            async with asyncio.timeout(_FETCH_TIMEOUT_S):
                beginning = await self._thread.beginning(tp)
        except (KafkaError, OSError, TimeoutError) as error:
            if self._buffers.get(tp) is buffer:
                self._read_later(tp, error)
                self._thread.seek_soon(tp, buffer.next_position)
            return
        if self._buffers.get(tp) is not buffer or fetched.start <= buffer.next_position:
            return
        if beginning > buffer.next_position:
            log.error(
                "records were deleted by retention before they were processed",
                extra={
                    "action": "partition.records_deleted",
                    "topic": tp.topic,
                    "partition": tp.partition,
                    "position": buffer.next_position,
                    "beginning": beginning,
                },
            )
            buffer.skip_to(beginning)
        self._thread.seek_soon(tp, buffer.next_position)

    async def _queue_events(self) -> None:
        for tp, buffer in list(self._buffers.items()):
            if buffer.needs_event and self.app.flow_control.is_active():
                message = BatchMessage(self, tp, buffer, self.app.consumer_generation_id)
                buffer.event_queued = True
                await self.callback(message)
                if not message.refcount:
                    buffer.event_queued = False

    def _wake(self) -> None:
        self._work.set()
        if self._thread._consumer is not None:
            self._thread.wake()

    # -- Commit

    async def wait_empty(self) -> None:
        """Wait until nothing is in flight, at most `drain_timeout_s`, then commit."""
        deadline = self.loop.time() + self.settings.drain_timeout_s
        while self.loop.time() < deadline and self._has_unacked():
            await self._wait_for_ack(0.1)
        await self._commit_in_time()

    async def _wait_for_ack(self, timeout: float) -> None:  # noqa: ASYNC109 - Faust's signature
        acknowledged = self._waiting_for_ack = self.loop.create_future()
        await asyncio.wait([acknowledged], timeout=timeout)
        self._waiting_for_ack = None

    def _has_unacked(self) -> bool:
        if any(not buffer.prefix.all_acked for buffer in self._buffers.values()):
            return True
        return any(not (message.acked or isinstance(message, BatchMessage)) for message in self._unacked_messages)

    async def _commit_in_time(self) -> None:
        timeout_s = self.settings.request_timeout_s
        # Not cancelled: Faust would begin another commit if its wait for one under way were.
        committing = asyncio.ensure_future(self.commit())
        done, _ = await asyncio.wait([committing], timeout=timeout_s)
        if done:
            committing.result()
        else:
            log.warning("offsets were not committed in time", extra={"action": "offsets.timeout", "after_s": timeout_s})

    def _filter_tps_with_pending_acks(self, topics: TPorTopicSet | None = None) -> Iterable[TP]:  # type: ignore[override]
        for tp in super()._filter_tps_with_pending_acks(topics):
            if tp.topic not in self._thread.batched_topics:
                yield tp
        for tp, buffer in self._buffers.items():
            if buffer.offset_to_commit() is not None and (topics is None or tp in topics or tp.topic in topics):
                yield tp

    def _new_offset(self, tp: TP) -> int | None:
        buffer = self._buffers.get(tp)
        return super()._new_offset(tp) if buffer is None else buffer.offset_to_commit()

    def _should_commit(self, tp: TP, offset: int) -> bool:
        return tp in self._buffers or super()._should_commit(tp, offset)

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:
        """As Faust's, without formatting a table of the offsets for a debug log, which takes milliseconds at every commit."""
        if self.in_transaction:
            return await super()._commit_offsets(offsets, start_new_transaction)
        assigned = self.assignment()
        wanted = {tp: offset for tp, offset in offsets.items() if tp in assigned}
        if not wanted:
            return False
        await self.app.producer.flush()
        done = await self._commit(wanted)
        # Faust has forgotten the acknowledgements of unbatched topics by now, so their offsets count as committed, as in Faust.
        self._committed_offset.update({tp: offset for tp, offset in wanted.items() if tp not in self._buffers})
        if not done:
            return False
        self.app.tables.on_commit(wanted)
        self.app.monitor.on_tp_commit(wanted)
        return True

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        buffers = dict(self._buffers)
        done = await super()._commit(offsets)
        if done:
            for tp, offset in offsets.items():
                if tp in buffers:
                    buffers[tp].committed = max(offset, buffers[tp].committed or 0)
        return done


def batched_consumer(app: AppT) -> Consumer:
    """The app's consumer.

    Raises:
        TypeError: the app's broker URL is not `batched://`.
    """
    consumer = app.consumer
    if not isinstance(consumer, Consumer):
        raise TypeError(f"the app's consumer is {type(consumer).__name__}: its broker URL must be batched://")
    return consumer
