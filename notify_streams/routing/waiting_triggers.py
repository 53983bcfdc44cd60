"""Triggers whose user is not known yet: they are read again by a timer.

A sign-up takes a moment from its topic to every router. A timer holds a copy of the trigger; when it is due the copy is published to the
same partition and decided as a new record. The time between two looks doubles.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, cast

import msgspec

from notify_streams import tasks
from notify_streams.errors import RetryLater
from notify_streams.outbox.decided_batch import RecordOutcome
from notify_streams.records.origin import entered_ms, origin_ms
from notify_streams.records.outcomes import TriggerOutcome
from notify_streams.retry import STORE
from notify_streams.routing.outcome_records import copied_headers
from notify_streams.stores.mongo import TIMERS
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from notify_streams.records.batch import Headers, OutboxRecord, SourceRecord
    from notify_streams.roles import Lane
    from notify_streams.stores.mongo import Document, Shards

log = logging.getLogger(__name__)

#: On a copy: the record that waited, ``topic:partition:offset``.
WAITED_HEADER: Final = "waited"
_FIRST_S: Final = 1.0
#: So many are published at once, and so many bytes of them: each may have `max_trigger_bytes`.
_AT_ONCE: Final = 500
_AT_ONCE_BYTES: Final = 4 * 1024 * 1024
_READ_AT_ONCE: Final = 50
#: So long a look waits for a publication, and so many buckets may wait for theirs while the others go on.
_RELEASE_WAIT_S: Final = 1.0
_MOST_LATE: Final = 8
#: The longest time between two looks: a timer may have been written after the look that its batch asked for, or by an earlier owner.
_IDLE_S: Final = 5.0
_RELEASE: Final = STORE.named("router.waiting")
_pack: Final = msgspec.msgpack.Encoder().encode
#: A client may write a header without a value; it is handed on unchanged.
unpack_waiting: Final = msgspec.msgpack.Decoder(
    tuple[str, bytes | None, bytes | None, list[tuple[str, bytes | None]]]
).decode


def next_look(record: SourceRecord, now: datetime, wait_s: float) -> datetime | None:
    """When the record is to be read again; None if it has waited for `wait_s`."""
    origin = datetime.fromtimestamp(origin_ms(record) / 1000, UTC)
    # A copy's own timestamp is the broker's too: with a clock that is behind, it would be read again every second.
    age_s = max((now - origin).total_seconds(), (entered_ms(record) - origin_ms(record)) / 1000)
    left_s = wait_s - age_s
    return None if left_s <= 0 else now + timedelta(seconds=min(left_s, max(_FIRST_S, age_s)))


def waiting(record: SourceRecord, lane: Lane, topic: str, partition: int, due_at: datetime) -> RecordOutcome:
    """The outcome of a record that will be read again."""
    source = f"{topic}:{partition}:{record.offset}"
    headers = [header for header in copied_headers(record.headers, record, source) if header[0] != WAITED_HEADER]
    # The other lane may take the same record, while a category's setting is changed; a topic that was made anew counts its offsets again.
    identity = f"{lane}:{source}:{record.timestamp}"
    timer = {
        "_id": blake2b(identity.encode(), digest_size=16).digest(),
        "bucket": partition,
        "role": lane,
        "due_at": due_at,
        "record": _pack((topic, record.key, record.value, [*headers, (WAITED_HEADER, source.encode())])),
    }
    return RecordOutcome(TriggerOutcome.WAITING, record, timer=timer)


class WaitingTriggers:
    """Publishes the triggers of one lane again when they are due. A copy may be published twice; it is one trigger by its id."""

    def __init__(
        self,
        shards: Shards,
        lane: Lane,
        publish: Callable[[Sequence[OutboxRecord]], Awaitable[object]],
        buckets: Callable[[], Collection[int]],
        timeout_s: float,
    ) -> None:
        """`publish` returns when Kafka has the records; `buckets`: those of this worker now."""
        self._shards = shards
        self._lane = lane
        self._publish = publish
        self._buckets = buckets
        self._timeout_s = timeout_s
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        #: Bucket → task that publishes what was due of it.
        self._releasing: dict[int, asyncio.Task[None]] = {}

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        await tasks.stop([self._task])
        await tasks.stop(self._releasing.values())

    def wake(self) -> None:
        """A timer is being written."""
        self._changed.set()

    async def _run(self) -> None:
        idle_s = _FIRST_S
        while True:
            if self._changed.is_set():
                self._changed.clear()
                idle_s = _FIRST_S
            try:
                pause_s = min(idle_s, await _RELEASE.call(self._release_due))
            except Exception:
                # Unknown error. The timers stay, and triggers must not wait without an end because this task has ended.
                log.exception(
                    "waiting triggers were not published, will be retried", extra={"action": "waiting_triggers.retry"}
                )
                pause_s = _FIRST_S
            idle_s = min(_IDLE_S, 2 * idle_s)
            try:
                async with asyncio.timeout(pause_s):
                    await self._changed.wait()
                    await asyncio.sleep(_FIRST_S)  # the first look of what was just written
            except TimeoutError:
                pass

    async def _release_due(self) -> float:
        """Publish what is due; returns the seconds until the next look.

        Raises:
            RetryLater: a shard does not answer, or Kafka does not; what is due on the other shards is published all the same.
        """
        mine = set(self._buckets())
        await tasks.stop(task for bucket, task in self._releasing.items() if bucket not in mine)
        pause_s = _IDLE_S
        failed: RetryLater | None = None
        for shard in range(len(self._shards)):
            if buckets := sorted(mine.intersection(self._shards.buckets(shard)) - self._releasing.keys()):
                try:
                    pause_s = min(pause_s, await self._release_due_on(shard, buckets))
                except RetryLater as error:
                    failed = error
        if failed is not None:
            raise failed
        return pause_s

    async def _release_due_on(self, shard: int, buckets: Sequence[int]) -> float:
        now = datetime.now(UTC)
        query = {"bucket": {"$in": buckets}, "role": self._lane}
        collection = self._shards.database(shard)[TIMERS]
        due: list[Document] = []
        size = 0
        with mongo_call(f"read waiting triggers on shard {shard}", self._timeout_s):
            found = collection.find(query | {"due_at": {"$lte": now}}).sort("due_at", 1).limit(_AT_ONCE)
            async with found.batch_size(_READ_AT_ONCE) as timers:
                async for timer in timers:
                    due.append(timer)
                    size += len(timer["record"])
                    if size >= _AT_ONCE_BYTES:
                        break
        await self._release_each(shard, due)
        if len(due) == _AT_ONCE or size >= _AT_ONCE_BYTES:
            return 0.01
        with mongo_call(f"read waiting triggers on shard {shard}", self._timeout_s):
            later = query | {"due_at": {"$gt": now}}
            following = await collection.find_one(later, {"due_at": 1}, sort=[("due_at", 1)])
        if following is None:
            return _IDLE_S
        next_due: datetime = following["due_at"]
        return max(0.01, (next_due - now).total_seconds())

    async def _release_each(self, shard: int, due: Sequence[Document]) -> None:
        """Publish these timers' triggers, each bucket for itself; returns earlier if a partition takes nothing.

        Raises:
            RetryLater: a shard or Kafka does not answer.
        """
        by_bucket: dict[int, list[Document]] = {}
        for timer in due:
            by_bucket.setdefault(timer["bucket"], []).append(timer)
        begun = [self._begin(shard, bucket, timers) for bucket, timers in by_bucket.items()]
        if not begun:
            return
        done, _ = await asyncio.wait(begun, timeout=_RELEASE_WAIT_S)
        while len(self._releasing) >= _MOST_LATE:
            await asyncio.wait(self._releasing.values(), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    def _begin(self, shard: int, bucket: int, timers: Sequence[Document]) -> asyncio.Task[None]:
        task = self._releasing[bucket] = asyncio.create_task(self._release(shard, timers))
        task.add_done_callback(partial(self._released, bucket))
        return task

    def _released(self, bucket: int, task: asyncio.Task[None]) -> None:
        del self._releasing[bucket]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning(
                "waiting triggers of a bucket were not published, will be retried",
                extra={"action": "waiting_triggers.bucket", "bucket": bucket, "error": type(error).__name__},
            )

    async def _release(self, shard: int, timers: Collection[Document]) -> None:
        outputs: list[OutboxRecord] = []
        for timer in timers:
            topic, key, value, headers = unpack_waiting(timer["record"])
            outputs.append((topic, timer["bucket"], key, value or b"", cast("Headers", headers)))
        await self._publish(outputs)
        ids = [timer["_id"] for timer in timers]
        buckets = sorted({timer["bucket"] for timer in timers})
        with mongo_call(f"delete waiting triggers on shard {shard}", self._timeout_s):
            await self._shards.database(shard)[TIMERS].delete_many({"bucket": {"$in": buckets}, "_id": {"$in": ids}})
