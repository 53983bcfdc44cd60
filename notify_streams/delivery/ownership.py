"""The partitions of a channel topic that a worker owns, as the ledgers say.

A ledger has the token of its owner. A worker whose write or reading finds another one begins no call of the partition, stores how its
calls ended, and owns the partition anew if it is still assigned to it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from notify_streams import tasks
from notify_streams.delivery.delivery_ledger import Token
from notify_streams.delivery.partition import Partition
from notify_streams.errors import RetryLater
from notify_streams.records.ids import new_flush_id
from notify_streams.retry import STORE, RetryPolicy
from notify_streams.stores.orphaned_transactions import abort_orphaned_transactions

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Sequence

    from notify_streams.delivery.delivery_ledger import DeliveryLedger
    from notify_streams.delivery.event_outbox import EventOutbox
    from notify_streams.delivery.settlement import SettlementStore
    from notify_streams.outbox.flush_plan import OutboxRow
    from notify_streams.records.batch import OutboxRecord
    from notify_streams.stores.mongo import Document, Shards
    from notify_streams.stores.shard_clocks import ShardClocks

log = logging.getLogger(__name__)

#: A proof that is older is renewed before a group of calls.
_RENEW_AFTER_S: Final = 0.5
#: Calls that end within this time after a revocation are settled by this worker.
_DRAIN_S: Final = 1.5
_AFTER_ERROR_S: Final = 1.0

_VERIFY: Final = STORE.named("delivery.verify")
#: For longer than a bucket that moves can be written on no shard.
_EVIDENCE: Final = RetryPolicy("delivery.evidence", first_s=0.1, max_s=1.0, max_attempts=20)


class WorkUnderWay(Protocol):
    """The calls and flushes of the worker."""

    def under_way(self, partition: Partition | None = None) -> list[asyncio.Task[None]]:
        """The calls of a partition, or all."""

    async def settled(self, shard: int | None = None) -> None:
        """Return when the results that a shard, or each of them, has now are settled."""

    def leave_waiting(self) -> None:
        """Begin no call of those that wait for one."""

    def give_back(self, partition: Partition) -> None:
        """Write what the ledger of a partition says now that nothing of it begins any more."""

    def owned_anew(self) -> None:
        """Partitions were added: they may have timers that are due."""


class Ownership:
    """Which partitions this worker owns."""

    def __init__(
        self,
        role: str,
        shards: Shards,
        ledger: DeliveryLedger,
        clocks: ShardClocks,
        store: SettlementStore,
        events: EventOutbox,
        work: WorkUnderWay,
    ) -> None:
        """`store`: of any shard; it appends how calls ended that were not settled."""
        self._role = role
        self._shards = shards
        self._ledger = ledger
        self._clocks = clocks
        self._store = store
        self._events = events
        self._work = work
        #: Those of the current assignment, by number.
        self.partitions: dict[int, Partition] = {}
        self._generation = 0
        self._proofs: dict[int, asyncio.Task[None]] = {}
        #: Partitions that are being owned anew.
        self._owning: set[Partition] = set()
        self._owning_tasks: set[asyncio.Task[None]] = set()
        #: Tasks that store how calls ended.
        self._appending: set[asyncio.Task[None]] = set()
        self._closed = False

    async def on_assigned(self, generation: int) -> None:
        """See `DeliveryEngine.on_assigned`."""
        self.release_all()
        self._generation = generation
        self._events.on_assigned(())
        await self.drain(_DRAIN_S)

    async def acquire(
        self, partitions: Collection[int], first_positions: Callable[[Collection[int]], Any]
    ) -> dict[int, int]:
        """See `DeliveryEngine.acquire`."""
        shards = {self._shards.of(one) for one in partitions}
        await abort_orphaned_transactions(self._shards, shards)
        for shard in shards:
            await self._clocks.read(shard)
        taken = await self._acquire(partitions, first_positions)
        self.partitions |= taken
        self._events.on_assigned(self.partitions)
        self._work.owned_anew()
        return {number: partition.next_offset for number, partition in taken.items()}

    async def _acquire(
        self, partitions: Collection[int], first_positions: Callable[[Collection[int]], Any]
    ) -> dict[int, Partition]:
        token, began = Token(self._generation), time.monotonic()
        owned = await self._ledger.acquire(partitions, token)
        if missing := set(partitions) - owned.keys():
            if others := await self._ledger.existing(missing):
                raise RetryLater(f"{self._role}: a worker of a later generation owns partitions {sorted(others)}")
            owned |= await self._ledger.create(await first_positions(missing), token)
        return {number: Partition(ledger, token, self._shards.of(number), began) for number, ledger in owned.items()}

    def release_all(self) -> None:
        """Begin no call any more. Calls under way are settled as long as no other worker has taken over."""
        self._end_all()
        self.partitions = {}
        self._work.leave_waiting()

    async def drain(self, seconds: float) -> None:
        """Wait until no call is under way and everything is settled, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                if running := self._work.under_way():
                    await asyncio.wait(running)
                await self._work.settled()
        except TimeoutError:
            pass

    def close(self) -> None:
        """Begin no call any more, and own nothing anew."""
        self._closed = True
        self._end_all()

    def _end_all(self) -> None:
        """Begin no call of the partitions, and give back what was claimed ahead."""
        for partition in self.partitions.values():
            if partition.active:
                partition.active = False
                if not self._shards.is_silent(partition.number):
                    self._work.give_back(partition)

    async def store_ends(self, seconds: float) -> None:
        """Wait until it is stored how calls ended, at most so long."""
        if self._appending:
            await asyncio.wait(self._appending, timeout=seconds)

    async def stop(self) -> None:
        """Call when nothing begins any more that uses this."""
        await tasks.stop((*self._owning_tasks, *self._appending, *self._proofs.values()))

    # -- Proofs

    async def prove(self, partition: Partition) -> None:
        """Return when the partition's token was proved lately, or the partition is disowned."""
        if time.monotonic() > partition.proved_at + _RENEW_AFTER_S:
            # One reading for all partitions of the shard, and for all who wait for it.
            shard = partition.shard
            proof = self._proofs.get(shard)
            if proof is None or proof.done():
                proof = self._proofs[shard] = asyncio.create_task(self._prove_shard(shard))
            await asyncio.shield(proof)

    async def _prove_shard(self, shard: int) -> None:
        partitions = [one for one in self.partitions.values() if one.shard == shard]
        owned, began = await _VERIFY.call(self._ledger.owned, shard, {one.number: one.token for one in partitions})
        for partition in partitions:
            if partition.number in owned:
                partition.proved_at = max(partition.proved_at, began)
            elif partition.active:
                self.disown(partition)

    def by_shard(self) -> dict[int, dict[int, Partition]]:
        """Shard → number → partition of the current assignment.

        One whose bucket has moved is owned anew: its timers are elsewhere.
        """
        found: dict[int, dict[int, Partition]] = {}
        for partition in list(self.partitions.values()):
            if partition.active and partition.shard != self._shards.of(partition.number):
                self.disown(partition)
            if partition.active:
                found.setdefault(partition.shard, {})[partition.number] = partition
        return found

    # -- Another owner

    def disown(self, partition: Partition) -> None:
        """Begin no call of the partition, and own it anew."""
        partition.active, partition.fenced = False, True
        self.on_refused(partition)

    def on_refused(
        self, partition: Partition, ends: Sequence[Document] = (), events: Sequence[OutboxRecord] = ()
    ) -> None:
        """A ledger has another token or position, or is on another shard: own it anew, if it is still assigned.

        Args:
            ends: how calls ended that were not settled.
            events: those of the ends.
        """
        if ends:
            _spawn(self._append(ends, self._events.rows_of(new_flush_id(), events)), self._appending)
        if self.partitions.get(partition.number) is partition and partition not in self._owning and not self._closed:
            log.warning(
                "ledger refused a worker",
                extra={"action": "delivery.fence", "topic": self._role, "partition": partition.number},
            )
            self._owning.add(partition)
            _spawn(self._own_anew_or_again(partition), self._owning_tasks)

    async def _append(self, ends: Sequence[Document], event_rows: Sequence[OutboxRow]) -> None:
        """Store how calls ended whose partition has another owner, or is on another shard."""
        try:
            await _EVIDENCE.call(self._store.add_evidence, ends, event_rows)
            self._events.committed(event_rows)
        except Exception as error:
            log.warning(
                "ends of calls could not be stored; their deliveries may be repeated, marked",
                extra={"action": "evidence.lost", "count": len(ends), "error": error},
            )

    async def _own_anew_or_again(self, partition: Partition) -> None:
        """After an unknown error too it is tried again: nothing else would begin a call of the partition."""
        try:
            await self._own_anew(partition)
        except Exception:
            log.exception(
                "a partition could not be owned anew, will be retried",
                extra={"action": "delivery.own_anew", "topic": self._role, "partition": partition.number},
            )
            await asyncio.sleep(_AFTER_ERROR_S)
            self._owning.discard(partition)
            self.on_refused(partition)

    async def _own_anew(self, partition: Partition) -> None:
        """Store how its calls end, then own the partition as after an assignment, if no other worker does."""
        number = partition.number
        if running := self._work.under_way(partition):
            await asyncio.wait(running, timeout=_DRAIN_S)
        # What is still refused then ends as after a revocation: by the token of the next owner.
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                await self._work.settled(partition.shard)
        if self._appending:
            await asyncio.wait(self._appending)
        if self.partitions.get(number) is not partition:
            self._owning.discard(partition)
            return  # assigned anew meanwhile, or to another worker, whose token must stay
        token = Token(self._generation)
        owned = await _VERIFY.call(self._ledger.acquire, [number], token)
        self._owning.discard(partition)
        if number not in owned or self.partitions.get(number) is not partition:
            return
        anew = Partition(owned[number], token, self._shards.of(number), time.monotonic())
        self.partitions[number] = anew
        self._work.owned_anew()
        # Also if no batch is left: one may have come and been left out meanwhile, or been counted in the flush that was refused.
        if partition.reader is not None:
            anew.reader = partition.reader
            anew.reader.refuse(anew.next_offset)


def _spawn(work: Coroutine[Any, Any, None], kept_in: set[asyncio.Task[None]]) -> None:
    task = asyncio.create_task(work)
    kept_in.add(task)
    task.add_done_callback(kept_in.discard)
