"""Grows a region: more partitions of every topic, more buckets in the database.

Nothing may work meanwhile. The mark of the growth keeps every worker off the shards (`stores.partition_count`), then each step is made to its
end and noted. A step that was interrupted is made again; none does harm twice.

1. `topics`: every topic gets the new partitions. Records of the old ones stay: their readers correct the place of what a client wrote.
2. `placement`: a new bucket is on the shard of the bucket that its people come from.
3. `documents`, `timers`: people's documents, and the deliveries that wait, get their new bucket. Ledgers stay with their partitions.
4. `tables`, `locations`: the rows of compacted topics move to the partitions of their users.

Then the database says the new number.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
from pymongo.errors import PyMongoError

from notify_streams.admin.audit.topics import TopicReader
from notify_streams.admin.growth.changelogs import move_rows, moved_topics
from notify_streams.admin.growth.documents import USER_FIELDS, BucketSplit, DocumentSplit
from notify_streams.admin.growth.log import GrowthLog
from notify_streams.admin.growth.preconditions import (
    check_books,
    check_drained,
    check_idle,
    check_services,
    check_target,
)
from notify_streams.admin.growth.timers import TimerSplit, open_new_ledgers
from notify_streams.admin.shards.move import WaitTimes, wait_times
from notify_streams.admin.shards.move_lock import is_locked
from notify_streams.admin.shards.write_block import block_writes
from notify_streams.admin.table_rebuild import TABLES, rebuild_table
from notify_streams.admin.topics import add_partitions
from notify_streams.errors import Refused, StoreUnavailable
from notify_streams.failpoints import failpoint
from notify_streams.stores.bucket_directory import write_entry
from notify_streams.stores.mongo import CONTACTS, Shards
from notify_streams.stores.mongo_errors import mongo_reason
from notify_streams.transport import BatchProducer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from notify_streams.settings import Settings

_LINE_EVERY_S: Final = 2.0
#: A scan reads pages of documents, which may take longer than a worker's transaction.
_TIMEOUT_S: Final = 30.0


@dataclass(slots=True)
class Grown:
    """What this call did."""

    partitions: int
    before: int
    #: Documents that were read, and that have another bucket now, by collection.
    read: dict[str, int] = field(default_factory=dict)
    moved: dict[str, int] = field(default_factory=dict)
    timers: int = 0
    #: Rows that were written to another partition, by table or topic.
    rows: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def people(self) -> int:
        """Those with contacts."""
        return self.read.get(CONTACTS, 0)


async def grow(settings: Settings, to: int, report: Callable[[str], None], waits: WaitTimes | None = None) -> Grown:
    """Give the region `to` partitions, or go on with a growth to `to` that was interrupted. `report` gets lines of progress.

    Raises:
        Refused: it cannot begin; nothing was changed.
        StoreUnavailable, RetryLater, SendError: a service does not answer; run it again.
    """
    began = time.monotonic()
    async with Shards(settings, serverSelectionTimeoutMS=2_000) as shards:
        stored = await GrowthLog(shards, settings.outbox.transaction_timeout_s).count()
    before = settings.partitions if stored is None else stored.count
    if before == to:
        return Grown(to, before)
    if stored is not None and stored.grows_to not in (None, to):
        raise Refused(stored.problem(before) or "")
    check_target(before, to)
    if settings.partitions not in (before, to):
        raise Refused(
            f"the region has {before} partitions, the settings say {settings.partitions}: set `partitions: {before}`"
        )
    old = msgspec.structs.replace(settings, partitions=before)
    new = msgspec.structs.replace(settings, partitions=to)
    producer = BatchProducer(settings.kafka_connection(), client_id="notify-streams-command")
    async with Shards(old, serverSelectionTimeoutMS=2_000) as shards:
        try:
            await producer.start()
            work = _Growth(old, new, shards, producer, report)
            if stored is None or stored.grows_to is None or not await work.log.done():
                await work.begin(waits or wait_times(settings))
            else:
                await work.log.go_on(to)
            await work.run()
        except PyMongoError as error:
            raise StoreUnavailable(f"MongoDB {mongo_reason(error)}; run it again") from error
        finally:
            await producer.stop()
    work.result.seconds = time.monotonic() - began
    return work.result


class _Growth:
    def __init__(
        self, old: Settings, new: Settings, shards: Shards, producer: BatchProducer, report: Callable[[str], None]
    ) -> None:
        self._old = old
        self._new = new
        self._shards = shards
        self._producer = producer
        self._report = report
        self._split = BucketSplit(old.partitions, new.partitions)
        self.log = GrowthLog(shards, _TIMEOUT_S)
        self.result = Grown(new.partitions, old.partitions)
        self._line_at = 0.0

    async def begin(self, waits: WaitTimes) -> None:
        """Check what must hold, set the mark, wait until no process can use the shards, and check again."""
        await self.log.withdraw()
        self._report("checking that workers are stopped, topics and shards as they should be, and nothing waits")
        await check_idle(self._old)
        await check_services(self._old, self._split.to, self._shards)
        await self._check_drained()
        self._report("checking the books")
        await check_books(self._old)
        await self.log.begin(self._split.before, self._split.to)
        failpoint("after_growth_mark")
        wait_s = waits.directory_s + waits.operations_s
        try:
            # From the mark on none begins.
            if await is_locked(self._shards.database(0)):
                raise Refused("a bucket is being moved: let its `notify-streams shards move` end")
            self._report(f"no worker may start from now on; waiting {wait_s:g} s until earlier operations have ended")
            await asyncio.sleep(wait_s)
            await check_idle(self._old)
            await self._check_drained()
        except Refused:
            await self.log.withdraw()
            raise

    async def run(self) -> None:
        """Make the steps that are not done."""
        await self._shards.directory.refresh(require_all=True)
        done = await self.log.done()
        steps: dict[str, Callable[[], Awaitable[None]]] = {
            "topics": self._topics,
            "placement": self._placement,
            "documents": self._documents,
            "timers": self._timers,
            "tables": self._tables,
            "locations": self._locations,
        }
        for number, (name, step) in enumerate(steps.items(), 1):
            if name in done:
                self._report(f"step {number} of {len(steps)}, {name}: was done before")
                continue
            self._report(f"step {number} of {len(steps)}, {name}")
            began = time.monotonic()
            await step()
            await self.log.mark_done(name)
            failpoint("after_growth_step")
            self._report(f"step {number} of {len(steps)}, {name}: {time.monotonic() - began:.1f} s")
        failpoint("inside_growth_end")
        await self.log.finish(self._split.before, self._split.to)

    async def _check_drained(self) -> None:
        async with TopicReader(self._old) as topics:
            await check_drained(self._old, self._shards, topics, self._producer)

    async def _topics(self) -> None:
        await add_partitions(self._new)

    async def _placement(self) -> None:
        """As at the end of a move: the entry on every shard, and no writes on the others."""
        for bucket in range(self._split.before, self._split.to):
            shard = self._shards.of(bucket % self._split.before)
            if self._shards.of(bucket) == shard:
                continue
            for other in range(len(self._shards)):
                async with self._shards.client(other).start_session() as session:
                    await write_entry(self._shards.database(other), bucket, shard, session)
                if other != shard:
                    await block_writes(self._shards.database(other), bucket)
        await self._shards.directory.refresh(require_all=True)

    async def _documents(self) -> None:
        total = 0
        for shard in range(len(self._shards)):
            for name in USER_FIELDS:
                total += await self._shards.database(shard)[name].estimated_document_count()
        began = time.monotonic()

        def show(name: str, read: int, moved: int) -> None:
            self.result.read[name] = self.result.read.get(name, 0) + read
            self.result.moved[name] = self.result.moved.get(name, 0) + moved
            found = sum(self.result.read.values())
            rate = found / max(time.monotonic() - began, 0.001)
            left_s = max(total - found, 0) / max(rate, 1.0)
            self._line(f"{found} of {total} documents, {rate:,.0f}/s, {left_s:.0f} s left")

        await asyncio.gather(*(self._documents_of(shard, show) for shard in range(len(self._shards))))

    async def _documents_of(self, shard: int, show: Callable[[str, int, int], None]) -> None:
        work = DocumentSplit(self._shards, shard, self._split, self.log, _TIMEOUT_S)
        for name in USER_FIELDS:
            await work.run(name, show)

    async def _timers(self) -> None:
        await open_new_ledgers(self._shards, self._split, _TIMEOUT_S)
        work = [TimerSplit(self._shards, shard, self._split, _TIMEOUT_S) for shard in range(len(self._shards))]
        self.result.timers += sum(await asyncio.gather(*(one.run() for one in work)))

    async def _tables(self) -> None:
        async with TopicReader(self._new) as topics:
            for name in TABLES:
                rows = 0

                def show(name: str, bucket: int, batch: Any) -> None:
                    nonlocal rows
                    rows += batch.published + batch.unchanged + batch.removed
                    self._line(f"{name}, bucket {bucket + 1} of {self._split.to}: {rows} rows")

                done = await rebuild_table(self._new, name, self._shards, topics, self._producer, show)
                self.result.rows[name] = done.published

    async def _locations(self) -> None:
        async with TopicReader(self._new) as topics:
            for topic in moved_topics(self._new):
                rows = 0

                def show(count: int, topic: str = topic) -> None:
                    nonlocal rows
                    rows += count
                    self._line(f"{topic}: {rows} rows")

                self.result.rows[topic] = await move_rows(topics, self._producer, topic, self._split, show)

    def _line(self, text: str) -> None:
        if time.monotonic() >= self._line_at:
            self._line_at = time.monotonic() + _LINE_EVERY_S
            self._report(text)
