"""The thread for fetches, heartbeats and commits.

Methods named `…_in_thread` run in the thread; the others are called from the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar, cast

import aiokafka
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import ConsumerStoppedError, IllegalStateError, KafkaConnectionError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP

from notify_streams.kafka import KafkaConnection, offsets_beside_fetches
from notify_streams.transport.client_shutdown import stop_consumer
from notify_streams.transport.fetch_decoding import pop_fetched_range
from notify_streams.transport.fetch_pacing import paced_fetch
from notify_streams.transport.partition_buffer import FetchedRange
from notify_streams.transport.settings import TransportSettings

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Time for the client to leave its group, then to close its connections.
_STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class FetchedRecords:
    """What one `fetch` returned."""

    batched: tuple[tuple[TP, FetchedRange], ...] = ()
    unbatched: Mapping[TP, list[Any]] | None = None
    #: Partitions that could not be read, and why. Their positions have not moved.
    failed: Mapping[TP, KafkaError] | None = None


@dataclass(frozen=True, slots=True)
class PartitionOffsets:
    """Offsets of one partition; `committed` is that of the group."""

    committed: int | None
    beginning: int
    end: int


class ThreadEnded(ConsumerStoppedError, KafkaConnectionError):  # type: ignore[misc]  # aiokafka has no types
    """The consumer was stopped, so Kafka cannot be asked."""


class FetchThread(AIOKafkaConsumerThread):
    """Faust's consumer thread, with all of Kafka's settings and fetches that can be interrupted."""

    settings: TransportSettings
    connection: KafkaConnection
    batched_topics: frozenset[str] = frozenset()
    _waiter: asyncio.Future[None] | None = None
    _woken = False
    #: No call is begun any more: the event loop of the thread will be closed.
    _has_ended = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: Held while a call is begun, so that none is left in an event loop that ends.
        self._begins = Lock()
        super().__init__(*args, **kwargs)

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        self.connection.follow(consumer)
        offsets_beside_fetches(consumer)
        settings = self.settings
        # Faust has no options for these; aiokafka reads them when the consumer starts.
        consumer._fetch_max_wait_ms = settings.fetch_max_wait_ms
        consumer._fetch_min_bytes = settings.fetch_min_bytes
        consumer._fetch_max_bytes = settings.fetch_max_bytes
        consumer._max_partition_fetch_bytes = settings.max_partition_fetch_bytes
        consumer._isolation_level = settings.isolation_level
        consumer._session_timeout_ms = int(settings.session_timeout_s * 1000)
        consumer._heartbeat_interval_ms = int(settings.heartbeat_s * 1000)
        consumer._group_instance_id = settings.group_instance_id
        consumer._rebalance_timeout_ms = int(settings.rebalance_timeout_s * 1000)
        # The same assignor with and without tables: partitions of one number stay on one worker, and two versions of an app
        # can share a group even if only one of them has a table.
        self._assignor = self.app.assignor
        consumer._partition_assignment_strategy = [self._assignor]
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        fetcher = self._ensure_consumer()._fetcher
        fetcher._proc_fetch_request = paced_fetch(fetcher, self.settings)

    async def on_thread_stop(self) -> None:
        """Faust's own lets the client's cancellation end the thread, and then waits 60 s for that thread."""
        await super(AIOKafkaConsumerThread, self).on_thread_stop()
        if self._consumer is not None:
            await stop_consumer(self._consumer, _STOP_TIMEOUT_S)

    async def _gather_remaining_tasks(self) -> None:
        """Nothing is begun in the thread from now on, and what was begun is cancelled: its callers wait for it."""
        with self._begins:
            self._has_ended = True
        await asyncio.sleep(0)  # what was begun just before is a task by then
        await super()._gather_remaining_tasks()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        with self._begins:
            if not self._has_ended:
                return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.thread_loop))
        coroutine.close()
        raise ThreadEnded("the thread of the Kafka consumer has ended")

    def _call_soon(self, call: Callable[..., None], *args: Any) -> None:
        """Without effect when the thread has ended."""
        with self._begins:
            if not self._has_ended:
                self.thread_loop.call_soon_threadsafe(call, *args)

    async def fetch(self, tps: Collection[TP], timeout_s: float, max_unbatched_records: int) -> FetchedRecords:
        """What was fetched for `tps`, after waiting up to `timeout_s` for the first of it. `wake` ends the wait.

        Raises:
            ConsumerStoppedError: the consumer was closed.
        """
        return await self._run(self._fetch_in_thread(tps, timeout_s, max_unbatched_records))

    def wake(self) -> None:
        """Make a waiting `fetch` return now: other partitions may be fetched."""
        self._call_soon(self._wake_in_thread)

    def seek_soon(self, tp: TP, position: int) -> None:
        """Fetch from `position` on. Without effect on a partition that is no longer assigned."""
        self._call_soon(self._seek_in_thread, {tp: position})

    async def seek_all(self, positions: Mapping[TP, int]) -> None:
        """Seek several partitions; on return it is done."""

        async def seek() -> None:
            self._seek_in_thread(positions)

        await self._run(seek())

    async def missing(self, topics: Collection[str]) -> set[str]:
        """The topics that do not exist."""
        found: set[str] = await self._run(self._ensure_consumer().topics())
        return set(topics) - found

    async def partition_offsets(self, tps: Collection[TP]) -> dict[TP, PartitionOffsets]:
        """Committed offset, beginning and end of partitions.

        Raises:
            KafkaError: Kafka did not answer.
        """
        return await self._run(self._partition_offsets_in_thread(tps))

    async def beginning(self, tp: TP) -> int:
        """The first offset that Kafka has of a partition.

        Raises:
            KafkaError: Kafka did not answer.
        """
        kafka_tp = TopicPartition(*tp)
        found: dict[TopicPartition, int] = await self._run(self._ensure_consumer().beginning_offsets([kafka_tp]))
        return found[kafka_tp]

    async def check(self) -> None:
        """Take the error that stopped the client's group coordinator, which then goes on: no other call does. Without partitions ask Kafka.

        Raises:
            KafkaError: that error, or Kafka did not answer.
        """
        await self._run(self._check_in_thread())

    async def _check_in_thread(self) -> None:
        consumer = self._ensure_consumer()
        consumer._coordinator.check_errors()
        if not consumer.assignment() and not await consumer._client.force_metadata_update():
            raise KafkaConnectionError("no broker answers")

    def _wake_in_thread(self) -> None:
        self._woken = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _seek_in_thread(self, positions: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        for tp, position in positions.items():
            try:
                consumer.seek(TopicPartition(*tp), position)
            except IllegalStateError:
                log.info(
                    "partition is no longer assigned, not sought",
                    extra={"action": "partition.seek_skipped", "topic": tp.topic, "partition": tp.partition},
                )

    async def _partition_offsets_in_thread(self, tps: Collection[TP]) -> dict[TP, PartitionOffsets]:
        consumer = self._ensure_consumer()
        kafka_tps = [TopicPartition(*tp) for tp in tps]
        committed = await consumer._coordinator.fetch_committed_offsets(kafka_tps)
        beginnings = await consumer.beginning_offsets(kafka_tps)
        ends = await consumer.end_offsets(kafka_tps)
        return {
            TP(*tp): PartitionOffsets(
                committed=committed[tp].offset if tp in committed and committed[tp].offset >= 0 else None,
                beginning=beginnings[tp],
                end=ends[tp],
            )
            for tp in kafka_tps
        }

    async def _fetch_in_thread(
        self, tps: Collection[TP], timeout_s: float, max_unbatched_records: int
    ) -> FetchedRecords:
        consumer = self._ensure_consumer()
        fetcher, subscriptions = consumer._fetcher, consumer._subscription
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        with subscriptions.fetch_context():
            while True:
                if consumer._closed or fetcher._closed:
                    raise ConsumerStoppedError()
                if not subscriptions.reassignment_in_progress:
                    fetched = self._drain_in_thread(fetcher, tps, max_unbatched_records)
                    if fetched.batched or fetched.unbatched or fetched.failed:
                        return fetched
                remaining = deadline - loop.time()
                if self._woken or remaining <= 0:
                    self._woken = False
                    return FetchedRecords()
                self._waiter = cast("asyncio.Future[None]", fetcher._create_fetch_waiter())
                try:
                    await asyncio.wait([self._waiter], timeout=min(remaining, 0.1 if not tps else remaining))
                finally:
                    if not self._waiter.done():
                        self._waiter.cancel()

    def _drain_in_thread(self, fetcher: Any, tps: Collection[TP], max_unbatched_records: int) -> FetchedRecords:
        batched: list[tuple[TP, FetchedRange]] = []
        unbatched: dict[TP, list[Any]] = {}
        failed: dict[TP, KafkaError] = {}
        for kafka_tp in list(fetcher._records):
            tp = TP(*kafka_tp)
            if tp not in tps:
                if not fetcher._subscriptions.is_assigned(kafka_tp):
                    del fetcher._records[kafka_tp]
                continue
            result = fetcher._records[kafka_tp]
            try:
                if type(result) is not FetchResult:
                    result.check_raise()
                elif tp.topic in self.batched_topics:
                    fetched = pop_fetched_range(fetcher, kafka_tp, result)
                    if fetched is not None:
                        batched.append((tp, fetched))
                else:
                    records = result.getall(max_unbatched_records)
                    if not result.has_more():
                        del fetcher._records[kafka_tp]
                        fetcher._notify(fetcher._wait_consume_future)
                    if records:
                        unbatched[tp] = records
            except KafkaError as error:
                failed[tp] = error
                fetcher._records.pop(kafka_tp, None)
                fetcher._notify(fetcher._wait_consume_future)
        return FetchedRecords(tuple(batched), unbatched, failed)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit, and return whether Kafka has confirmed it in time.

        A commit that failed is retried at the next interval. Faust's own crashes the worker after most errors, counts the offsets as
        committed in any case, and waits for a broker that is away without a limit.
        """
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        wanted = {TopicPartition(*tp): OffsetAndMetadata(offset, "") for tp, offset in offsets.items()}
        wanted = {tp: offset for tp, offset in wanted.items() if tp in assigned}
        if len(wanted) < len(offsets):
            return False
        try:
            async with asyncio.timeout(self.settings.request_timeout_s):
                await consumer.commit(wanted)
        except (KafkaError, IllegalStateError, TimeoutError) as error:
            log.warning(
                "offsets were not committed, will be retried",
                extra={"action": "offsets.commit_retry", "error": error},
            )
            return False
        return True

    async def commit(self, offsets: Mapping[TP, int]) -> bool:
        return await self._run(self._commit(offsets))

    def position_now(self, tp: TP) -> int | None:
        """The next offset to fetch, without asking Kafka; None if the partition is not assigned."""
        consumer = self._consumer
        subscription = consumer._subscription.subscription if consumer is not None else None
        assignment = subscription.assignment if subscription is not None else None
        if assignment is None or TopicPartition(*tp) not in assignment.tps:
            return None
        return cast("int | None", assignment.state_value(TopicPartition(*tp))._position)
