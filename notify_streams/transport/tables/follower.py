"""Reads a changelog into a store: recovers partitions, then follows them.

Compares positions, not record counts: holes and deleted records end a recovery too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from aiokafka.errors import KafkaError

from notify_streams import tasks
from notify_streams.kafka import note_missing_right
from notify_streams.transport.client_shutdown import is_cancelled
from notify_streams.transport.partition_buffer import FetchedRange
from notify_streams.transport.record_batch import Record
from notify_streams.transport.tables.changelog_reader import ChangelogReader
from notify_streams.transport.tables.recovery_progress import RecoveryMeter, RecoveryProgress
from notify_streams.transport.tables.store import DiskFull, Store, StoreDamaged

log = logging.getLogger(__name__)

_RETRY_S = 0.5
_FETCH_TIMEOUT_S = 2.0
_OFFSETS_TIMEOUT_S = 30.0
_LOG_EVERY_S = 5.0
_STALLED_S = 10.0
#: Partitions that are recovered at the same time. On disk, rows of one partition lie together: more at once would need more memory.
_AT_ONCE = 16
#: How often the ends of the partitions are read, for `lag_s`.
_ENDS_EVERY_S = 2.0

_Waiters = dict[int, list[asyncio.Future[None]]]


class Follower:
    """One task that reads the wanted partitions."""

    def __init__(
        self,
        name: str,
        store: Store,
        new_reader: Callable[[], ChangelogReader],
        crash: Callable[[BaseException], Awaitable[None]],
        on_records: Callable[[Sequence[Record]], None] | None = None,
    ) -> None:
        """`crash` stops the worker. `on_records`: see `ChangelogTable`."""
        self.name = name
        #: When any position last advanced, or nothing was left to read.
        self.moved_at_s = 0.0
        #: Why nothing can be written; None while all is well.
        self.problem: str | None = None
        self._store = store
        self._new_reader = new_reader
        self._crash = crash
        self._on_records = on_records
        self._wanted: frozenset[int] = frozenset()
        self._targets: dict[int, int] = {}
        self._positions: dict[int, int] = {}
        #: By partition: calls of `catch_up` whose targets the next `_begin` reads, and those that wait for the present targets.
        self._requested: _Waiters = {}
        self._recovering: _Waiters = {}
        #: Of the recovering ones, those that are read when the others have reached their targets.
        self._waiting: frozenset[int] = frozenset()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._meter = RecoveryMeter(name, 0.0)
        #: When this reader last returned something, or had nothing to return. One that stalls is replaced.
        self._read_at_s = 0.0
        #: The ends of the wanted partitions, and when they were read.
        self._ends: dict[int, int] = {}
        self._ends_at_s = 0.0
        #: Everything that the partitions had at this time is in the store.
        self._complete_at_s = 0.0

    def start(self) -> None:
        self._meter.restart(self._now())
        self.moved_at_s = self._ends_at_s = self._complete_at_s = self._now()
        self._task = asyncio.create_task(self._run(), name=f"follow {self.name}")

    async def stop(self) -> None:
        """Stop reading, and cancel every `catch_up`."""
        await tasks.stop([self._task])
        for waiters in (self._requested, self._recovering):
            for future in [future for futures in waiters.values() for future in futures]:
                future.cancel()

    def follow(self, partitions: frozenset[int]) -> None:
        """Follow only these partitions, and those of a `catch_up` until it returns."""
        partitions |= self._requested.keys() | self._recovering.keys()
        if partitions != self._wanted:
            self._wanted = partitions
            self._changed.set()

    async def catch_up(self, partitions: frozenset[int]) -> None:
        """Follow these partitions too, and wait until the store has what their changelog had at the time of the call."""
        loop = asyncio.get_running_loop()
        futures = []
        for partition in partitions:
            future = loop.create_future()
            self._requested.setdefault(partition, []).append(future)
            futures.append(future)
        self._wanted |= partitions
        self._changed.set()
        try:
            await asyncio.gather(*futures)
        finally:
            self._forget_done()

    def progress(self) -> RecoveryProgress:
        """How far the recovery is."""
        remaining = sum(max(end - self._positions.get(p, 0), 0) for p, end in self._targets.items())
        caught_up = not (self._recovering or self._requested)
        return self._meter.progress(remaining, caught_up, self._now())

    def lag_s(self) -> float:
        """The store has everything that the wanted partitions had so many seconds ago; 0 without partitions.

        A few seconds if all is well, since the ends are read only every `_ENDS_EVERY_S`. It grows while the broker does not answer.
        """
        return self._now() - self._complete_at_s if self._wanted else 0.0

    async def _run(self) -> None:
        while True:
            reader = self._new_reader()
            try:
                await reader.start()
                await self._read(reader)
            except DiskFull as error:
                self.problem = str(error)
                self._log_retry(error)
            except (KafkaError, OSError, TimeoutError) as error:
                note_missing_right(reader.connection, error)
                self._log_retry(error)
            except StoreDamaged as error:
                log.critical("the worker stops", extra={"action": "table.damaged", "table": self.name, "error": error})
                await self._crash(error)
                return
            except asyncio.CancelledError as error:
                if is_cancelled():
                    raise
                # The client has cancelled one of its own futures. The task must go on, or the table would never be updated again.
                self._log_retry(error)
            except Exception as error:
                # Without this task, the worker would decide by rows that nothing updates any more.
                log.exception(
                    "a table cannot be followed; the worker stops", extra={"action": "table.crash", "table": self.name}
                )
                await self._crash(error)
                return
            finally:
                await reader.stop()
            self._changed.set()
            await asyncio.sleep(_RETRY_S)

    def _log_retry(self, error: BaseException) -> None:
        log.warning(
            "reading the changelog failed, will be retried",
            extra={"action": "changelog.retry", "table": self.name, "error": error},
        )

    async def _read(self, reader: ChangelogReader) -> None:
        logged_s = self._now()
        while True:
            if self._changed.is_set():
                self._changed.clear()
                await self._begin(reader)
            if not self._wanted:
                self.moved_at_s = self._complete_at_s = self._now()
                await self._changed.wait()
                continue
            fetching = asyncio.ensure_future(reader.fetch(_FETCH_TIMEOUT_S))
            changing = asyncio.ensure_future(self._changed.wait())
            try:
                await asyncio.wait([fetching, changing], return_when=asyncio.FIRST_COMPLETED)
                if fetching.done():
                    self._apply(fetching.result())
            finally:
                changing.cancel()
                # A cancelled fetch may have moved the reader: the next `_begin` seeks to the store's positions.
                fetching.cancel()
            if self._store.failure is not None:
                raise self._store.failure
            if self._complete_at_s == self._ends_at_s < self._now() - _ENDS_EVERY_S:
                await self._read_bounds(reader)
                self._note_complete()
            if self._behind() and self._now() - self._read_at_s > _STALLED_S:
                raise TimeoutError(f"nothing was read for {_STALLED_S:.0f} s although the end is ahead")
            if self._recovering and self._now() - logged_s >= _LOG_EVERY_S:
                logged_s = self._now()
                log.info("table recovers", extra={"action": "table.recovering", "progress": str(self.progress())})

    async def _begin(self, reader: ChangelogReader) -> None:
        """Read the ends of the wanted partitions and seek to the store's positions."""
        if self._requested:
            self._meter.restart(self._now())
        for partition, futures in self._requested.items():
            self._recovering.setdefault(partition, []).extend(futures)
        self._requested.clear()
        bounds = await self._read_bounds(reader)
        self._positions = {p: self._start_position(p, beginning, end) for p, (beginning, end) in bounds.items()}
        self._targets = {p: end for p, (_, end) in bounds.items()}
        self._waiting = frozenset(sorted(self._recovering)[_AT_ONCE:])
        self._read_at_s = self._now()
        reader.read_from({p: position for p, position in self._positions.items() if p not in self._waiting})
        for partition in self._positions:
            self._release(partition)
        self._note_complete()

    async def _read_bounds(self, reader: ChangelogReader) -> Mapping[int, tuple[int, int]]:
        """Beginning and end of the wanted partitions; the ends are the next target of `lag_s`."""
        asked_s, wanted = self._now(), self._wanted
        async with asyncio.timeout(_OFFSETS_TIMEOUT_S):
            bounds = await reader.offset_bounds(wanted) if wanted else {}
        self._ends, self._ends_at_s = {partition: end for partition, (_, end) in bounds.items()}, asked_s
        return bounds

    def _note_complete(self) -> None:
        if all(self._positions.get(partition, 0) >= end for partition, end in self._ends.items()):
            self._complete_at_s = self._ends_at_s

    def _start_position(self, partition: int, beginning: int, end: int) -> int:
        """The store's position; the beginning, with an empty store, if the changelog does not have that position."""
        position = self._store.position(partition)
        if position is None:
            return beginning
        if beginning <= position <= end:
            return position
        log.log(
            logging.ERROR if position > end else logging.WARNING,
            "the changelog does not have the store's position (topic recreated, or records deleted); reading all of it",
            extra={
                "action": "table.reread",
                "table": self.name,
                "partition": partition,
                "position": position,
                "beginning": beginning,
                "end": end,
            },
        )
        self._store.drop(partition)
        return beginning

    def _apply(self, found: list[tuple[int, FetchedRange]]) -> None:
        now_s = self._now()
        for partition, fetched in found:
            if partition in self._wanted and fetched.start == self._positions.get(partition):
                self._store.load(partition, fetched.records, fetched.end)
                self.problem = None
                self._positions[partition] = fetched.end
                if self._on_records is not None:
                    self._on_records(fetched.records)
                self._meter.add(len(fetched.records), fetched.end - fetched.start, now_s)
                self._release(partition)
        self._note_complete()
        if found or not self._behind():
            self.moved_at_s = self._read_at_s = now_s

    def _behind(self) -> bool:
        return any(self._positions.get(p, 0) < end for p, end in self._targets.items())

    def _release(self, partition: int) -> None:
        """End the calls of `catch_up` that wait for this partition, if it has reached its target."""
        if self._positions[partition] >= self._targets[partition]:
            if self._store.position(partition) is None:
                self._store.load(partition, (), self._positions[partition])
            for future in self._recovering.pop(partition, ()):
                if not future.done():
                    future.set_result(None)
            self._read_waiting()

    def _read_waiting(self) -> None:
        """Begin again if only partitions recover that are not read yet."""
        if self._waiting and self._recovering.keys() <= self._waiting:
            self._changed.set()

    def _forget_done(self) -> None:
        """Remove cancelled calls of `catch_up`, so that the table does not count as behind because of them."""
        for waiters in (self._requested, self._recovering):
            for partition in list(waiters):
                waiters[partition] = [future for future in waiters[partition] if not future.done()]
                if not waiters[partition]:
                    del waiters[partition]
        self._read_waiting()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
