"""Faust's consumer, with one event a partition batch for batched topics and Faust's own events for the others.

In: Faust's life cycle (assigned, revoked, flow stopped and resumed). Out: events in agents' queues, and commits of
acknowledged prefixes. The rules live in `buffer.py`, `acknowledgement.py` and `opening.py`; this file only connects.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from faust.agents import current_agent
from faust.types import TP

from notify_streams.transport.app_state import app_state
from notify_streams.transport.batched_topic import BatchMessage
from notify_streams.transport.committing import CommittingConsumer
from notify_streams.transport.faust_delivery import deliver_single_events
from notify_streams.transport.fetch_thread import FetchedRecords, FetchThread
from notify_streams.transport.health_monitor import watch
from notify_streams.transport.partition_buffer import AppendResult, Bounds, FetchedRange, PartitionBuffer
from notify_streams.transport.partition_start import Start, decide_starts

log = logging.getLogger(__name__)

FETCH_TIMEOUT_S = 1.0


class SourceTopicMissing(Exception):
    """Create these topics, then start the app."""

    def __init__(self, topics: Iterable[str], remedy: str) -> None:
        super().__init__(f"topics do not exist, {remedy}: {', '.join(sorted(topics))}")


class Consumer(CommittingConsumer):
    """Delivers at least once; commits only what was acknowledged, in order, partition by partition."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._held: set[TP] = set()
        self._opening: asyncio.Task[None] | None = None
        self._announcing: asyncio.Future[None] | None = None
        self._work = asyncio.Event()
        self._resumed = False
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> FetchThread:
        thread = FetchThread(self, loop=self.loop, beacon=self.beacon)
        thread.settings = app_state(self.app).settings
        thread.batched_topics = frozenset(app_state(self.app).batched_topics)
        return thread

    # -- What an app may ask

    def holds(self, message: BatchMessage) -> bool:
        """Whether the message's batch is of the partition's present reading (see `BatchEvent.current`)."""
        return self._buffers.get(message.tp) is message.buffer and message.prefix is message.buffer.prefix

    def refuse(self, message: BatchMessage, position: int) -> bool:
        """See `BatchEvent.refuse`.

        A batch that was overtaken must change nothing: at full load every partition has some on their way, and each
        would throw away what was read since.
        """
        if not self.holds(message):
            return False
        self._read_again(message.tp, message.buffer, position)
        self._wake()
        return True

    def _read_again(self, tp: TP, buffer: PartitionBuffer, position: int) -> None:
        buffer.restart(position)
        self._thread.seek_soon(tp, position)

    def buffers(self) -> Mapping[TP, PartitionBuffer]:
        """The open partitions of batched topics, to look at."""
        return self._buffers

    @property
    def thread(self) -> FetchThread:
        """Where fetches and commits happen."""
        return self._thread

    @property
    def held(self) -> frozenset[TP]:
        """Assigned partitions that are not open yet."""
        return frozenset(self._held)

    @property
    def opened(self) -> bool:
        """Whether the group has assigned partitions (or none) and all of them flow."""
        return self.flow_active and self._resumed and not self._held

    # -- Faust's life cycle

    async def on_task_error(self, exc: BaseException) -> None:
        """An agent's body raised: after a pause, what it had not acknowledged comes again. Faust then restarts the body.

        Without this its batches would stay in flight for good, and an event that it had not looked into would be the
        last of its partition.
        """
        agent = current_agent()
        topics = frozenset(agent.get_topic_names()) if agent is not None else frozenset()
        log.error("the body of %s raised, what it held comes again: %r", agent, exc)
        await asyncio.sleep(self.settings.failed_body_pause_s)
        for tp, buffer in self._buffers.items():
            if tp.topic in topics and (buffer.announced or not buffer.prefix.idle):
                buffer.announced = False
                self._read_again(tp, buffer, buffer.prefix.position)
        self._wake()

    async def on_start(self) -> None:
        await super().on_start()
        self.add_future(watch(self))

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group.

        Raises:
            SourceTopicMissing: a batched topic does not exist; Faust would not read it after it was created either.
        """
        wanted = set(topics)
        if not wanted:
            # Nothing to read, as in a forward role that knows no other region: no group, but the end of Faust's start waits for one.
            await self.on_partitions_assigned(set())
            return
        missing = await self._thread.missing(wanted & self._thread.batched_topics)
        if missing:
            raise SourceTopicMissing(missing, self.settings.missing_topics_remedy)
        await super().subscribe(wanted)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust's check cries wolf for idle partitions (faust#629); the watchdog asks Kafka instead."""

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Changelogs of Faust's own tables flow at once; source partitions are held until they are opened."""
        changelogs = self.app.tables.changelog_topics
        super().resume_partitions({tp for tp in tps if tp.topic in changelogs})
        self._held.update(tp for tp in tps if tp.topic not in changelogs)

    async def perform_seek(self) -> None:
        """Positions are settled when partitions are opened."""

    def resume_flow(self) -> None:
        """Called last after a rebalance, when no queue will be cleared any more: open what is held."""
        super().resume_flow()
        self._resumed = True
        if self._held and self._opening is None:
            self._opening = asyncio.ensure_future(self._open_or_crash(frozenset(self._held)))
        self._wake()

    def stop_flow(self) -> None:
        """Nothing more is delivered, what is in flight can still be acknowledged."""
        super().stop_flow()
        for buffer in self._buffers.values():
            buffer.close()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Stop delivering, give agents a bounded time, commit what they acknowledged, forget the rest."""
        self._cancel_opening()
        self.stop_flow()
        await self._drain()
        lost = frozenset(self._buffers)
        self._buffers.clear()
        self._unacked_messages.clear()
        for hook in self.wiring.revoked_hooks:
            hook(lost)
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._cancel_opening()
        self._buffers.clear()
        self._resumed = False
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_stop(self) -> None:
        self._cancel_opening()
        await self._commit_in_time()
        self._buffers.clear()

    def _cancel_opening(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
        self._opening = None
        self._held.clear()

    async def _open_or_crash(self, tps: frozenset[TP]) -> None:
        try:
            await self._open(tps)
        except Exception as exc:
            log.exception("partitions could not be opened")
            await self.crash(exc)

    async def _open(self, tps: frozenset[TP]) -> None:
        from_beginning = self.app.conf.consumer_auto_offset_reset == "earliest"
        opened = await decide_starts(tps, self._thread, self.wiring.assigned_hooks, from_beginning)
        await self._thread.seek_all({tp: start.position for tp, start in opened.items()})
        bounds = Bounds(self.settings.max_batch_records, self.settings.max_batch_bytes)
        for tp, start in opened.items():
            if tp.topic in self._thread.batched_topics:
                self._buffers[tp] = PartitionBuffer(tp.topic, tp.partition, start.position, start.committed, bounds)
            else:
                self._start_stock(tp, start)
        self._held -= tps
        self._opening = None
        super().resume_partitions(tps)
        self._wake()
        log.info("opened %d partitions", len(tps))

    def _start_stock(self, tp: TP, start: Start) -> None:
        self._acked.pop(tp, None)
        self._acked_index.pop(tp, None)
        self._gap.pop(tp, None)
        self._read_offset[tp] = start.position if start.position > 0 else None
        self._committed_offset[tp] = start.committed or None

    # -- Delivery

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                if not self.flow_active:
                    await self.wait_first(self.can_resume_flow.wait(), timeout=FETCH_TIMEOUT_S)
                    continue
                await self._announce_waiting()
                self._work.clear()
                tps = self._fetchable()
                if not tps:
                    await self.wait_first(self._work.wait(), timeout=FETCH_TIMEOUT_S)
                    continue
                generation = self.app.consumer_generation_id
                limit = self.app.conf.broker_max_poll_records or 500
                fetched = await self._thread.fetch(tps, FETCH_TIMEOUT_S, limit)
                if self.flow_active and generation == self.app.consumer_generation_id:
                    await self._accept(fetched)
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise

    def _fetchable(self) -> set[TP]:
        tps = self._get_active_partitions()
        return {tp for tp in tps if tp not in self._buffers or not self._buffers[tp].full}

    async def _accept(self, fetched: FetchedRecords) -> None:
        for tp, fetched_range in fetched.batched:
            buffer = self._buffers.get(tp)
            if buffer is not None and buffer.append(fetched_range) is AppendResult.GAP:
                await self._close_gap(tp, buffer, fetched_range)
        if fetched.stock:
            await deliver_single_events(self, fetched.stock)

    async def _close_gap(self, tp: TP, buffer: PartitionBuffer, fetched: FetchedRange) -> None:
        """What lies before a fetched range was dropped here, or deleted there: read it again, or say that it is gone."""
        extents = await self._thread.partition_offsets([tp])
        if self._buffers.get(tp) is not buffer or fetched.start <= buffer.expected:
            return
        beginning = extents[tp].beginning
        if beginning > buffer.expected:
            log.error("%s: offsets %s to %s went by retention, unprocessed", tp, buffer.expected, beginning)
            buffer.skip_to(beginning)
        self._thread.seek_soon(tp, buffer.expected)

    async def _announce_waiting(self) -> None:
        for tp, buffer in list(self._buffers.items()):
            if buffer.due and self.app.flow_control.is_active():
                message = BatchMessage(self, tp, buffer, self.app.consumer_generation_id)
                buffer.announced = True
                await self.callback(message)
                if not message.refcount:
                    buffer.announced = False

    def on_materialized(self, buffer: PartitionBuffer, was_full: bool) -> None:
        """An agent took what waited in a buffer: announce the rest, and fetch it again if it was too full for that.

        Waking the thread costs two system calls and an empty answer, so it is not done for every batch.
        """
        buffer.announced = False
        self._announce_soon(buffer)
        if was_full and not buffer.full:
            self._wake()

    def on_acked(self, message: BatchMessage) -> bool:
        last = super().on_acked(message)
        self._announce_soon(message.buffer)
        return last

    def _announce_soon(self, buffer: PartitionBuffer) -> None:
        if buffer.due:
            self._announcing = asyncio.ensure_future(self._announce_waiting())

    def _wake(self) -> None:
        self._work.set()
        if self._thread._consumer is not None:
            self._thread.wake()
