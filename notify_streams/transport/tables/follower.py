"""Keeps a store in step with its changelog: recovers partitions, then follows those that others write.

In: which partitions are wanted. Out: a store that holds them, and a future for "caught up". Positions decide, not
record counts: holes left by compaction or transactions, and an emptied changelog, end a recovery like any other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from aiokafka.errors import KafkaError

from notify_streams.transport.client_shutdown import is_cancelled
from notify_streams.transport.partition_buffer import FetchedRange
from notify_streams.transport.tables.changelog_reader import ChangelogReader
from notify_streams.transport.tables.recovery_progress import RecoveryMeter, RecoveryProgress
from notify_streams.transport.tables.store import Store

log = logging.getLogger(__name__)

RETRY_S = 0.5
FETCH_TIMEOUT_S = 5.0
EXTENTS_TIMEOUT_S = 30.0
LOG_EVERY_S = 5.0
STALLED_S = 10.0


class Follower:
    """One task that reads the wanted partitions, and whoever waits for them to be caught up."""

    def __init__(self, name: str, store: Store, new_reader: Callable[[], ChangelogReader]) -> None:
        self._name = name
        self._store = store
        self._new_reader = new_reader
        self._wanted: frozenset[int] = frozenset()
        self._targets: dict[int, int] = {}
        self._positions: dict[int, int] = {}
        #: Waiting for the ends that the next `_begin` finds, and for those that the last one found.
        self._asked: dict[int, list[asyncio.Future[None]]] = {}
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._meter = RecoveryMeter(name, 0.0)
        #: When the position of any partition last moved, or nothing was left to read.
        self.moved_at_s = 0.0
        #: When this reader last brought something, or had nothing to bring: one that stands still is replaced, whatever the reason.
        self._read_at_s = 0.0

    def start(self) -> None:
        self._meter.restart(self._now())
        self.moved_at_s = self._now()
        self._task = asyncio.create_task(self._run(), name=f"follow {self._name}")

    async def stop(self) -> None:
        """End the reading; those who wait are cancelled."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        for future in [f for waiting in (self._asked, self._waiting) for futures in waiting.values() for f in futures]:
            future.cancel()

    def want(self, partitions: frozenset[int]) -> None:
        """Follow these partitions from now on, and, until that is over, those that somebody waits for."""
        partitions |= self._asked.keys() | self._waiting.keys()
        if partitions != self._wanted:
            self._wanted = partitions
            self._changed.set()

    async def catch_up(self, partitions: frozenset[int]) -> None:
        """Follow these too, and wait until the store has what their changelog held at the time of the call."""
        loop = asyncio.get_running_loop()
        futures = []
        for partition in partitions:
            future = loop.create_future()
            self._asked.setdefault(partition, []).append(future)
            futures.append(future)
        self._wanted |= partitions
        self._changed.set()
        try:
            await asyncio.gather(*futures)
        finally:
            self._forget_done()

    def progress(self) -> RecoveryProgress:
        remaining = sum(max(end - self._positions.get(p, 0), 0) for p, end in self._targets.items())
        behind = bool(self._waiting or self._asked)
        return self._meter.progress(remaining, not behind, self._now())

    async def _run(self) -> None:
        while True:
            reader = self._new_reader()
            try:
                await reader.start()
                await self._follow(reader)
            except (KafkaError, OSError, TimeoutError) as exc:
                log.warning("%s: reading the changelog failed, trying again: %r", self._name, exc)
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
                # Not ours: the client gave up one of its own futures. Ending here would leave the table behind for ever, without a word.
                log.warning("%s: the client gave a request up, trying again", self._name)
            finally:
                await reader.stop()
            self._changed.set()
            await asyncio.sleep(RETRY_S)

    async def _follow(self, reader: ChangelogReader) -> None:
        logged_s = self._now()
        while True:
            if self._changed.is_set():
                self._changed.clear()
                await self._begin(reader)
            if not self._wanted:
                self.moved_at_s = self._now()
                await self._changed.wait()
                continue
            fetching = asyncio.ensure_future(reader.fetch(FETCH_TIMEOUT_S))
            changing = asyncio.ensure_future(self._changed.wait())
            try:
                await asyncio.wait([fetching, changing], return_when=asyncio.FIRST_COMPLETED)
                if fetching.done():
                    self._apply(fetching.result())
            finally:
                changing.cancel()
                # A fetch that is cancelled may have moved the reader: the next `_begin` seeks to the store's positions.
                fetching.cancel()
            if self._behind() and self._now() - self._read_at_s > STALLED_S:
                raise TimeoutError(f"nothing came for {STALLED_S:.0f} s although the end is ahead")
            if self._waiting and self._now() - logged_s >= LOG_EVERY_S:
                logged_s = self._now()
                log.info("recovering %s", self.progress())

    async def _begin(self, reader: ChangelogReader) -> None:
        wanted = self._wanted
        for partition, futures in self._asked.items():
            self._waiting.setdefault(partition, []).extend(futures)
        self._asked.clear()
        async with asyncio.timeout(EXTENTS_TIMEOUT_S):
            extents = await reader.offset_bounds(wanted) if wanted else {}
        positions = {p: self._start(p, beginning, end) for p, (beginning, end) in extents.items()}
        self._positions = positions
        self._targets = {p: end for p, (_, end) in extents.items()}
        if self._waiting:
            self._meter.restart(self._now())
        self._read_at_s = self._now()
        reader.read_from(positions)
        for partition in positions:
            self._release(partition)

    def _start(self, partition: int, beginning: int, end: int) -> int:
        position = self._store.position(partition)
        if position is None:
            return beginning
        if position > end:
            log.error(
                "%s-%d: the store is at %d, the changelog ends at %d: the topic was recreated. Reading all of it.",
                self._name,
                partition,
                position,
                end,
            )
        elif position < beginning:
            log.warning("%s-%d: offsets below %d are gone, reading all that is left", self._name, partition, beginning)
        else:
            return position
        self._store.drop(partition)
        return beginning

    def _apply(self, found: list[tuple[int, FetchedRange]]) -> None:
        now = self._now()
        for partition, fetched in found:
            if partition in self._wanted and fetched.start == self._positions.get(partition):
                self._store.load(partition, fetched.records, fetched.end)
                self._positions[partition] = fetched.end
                self._meter.read(len(fetched.records), fetched.end - fetched.start, now)
                self._release(partition)
        if found or not self._behind():
            self.moved_at_s = self._read_at_s = now

    def _behind(self) -> bool:
        return any(self._positions.get(p, 0) < end for p, end in self._targets.items())

    def _release(self, partition: int) -> None:
        if self._positions[partition] >= self._targets[partition]:
            if self._store.position(partition) is None:
                self._store.load(partition, (), self._positions[partition])
            for future in self._waiting.pop(partition, ()):
                if not future.done():
                    future.set_result(None)

    def _forget_done(self) -> None:
        """Whoever gave up waits no more, and is no reason to say that the table is behind."""
        for waiting in (self._asked, self._waiting):
            for partition in list(waiting):
                waiting[partition] = [future for future in waiting[partition] if not future.done()]
                if not waiting[partition]:
                    del waiting[partition]

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
