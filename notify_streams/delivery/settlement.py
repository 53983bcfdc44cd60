"""Settles attempts: one transaction for a flush.

Attempts, timers and ledgers are written together, or nothing is. After a lost connection or an unknown commit result, `last_flush` of the
ledgers shows whether a flush was committed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from notify_streams.delivery.delivery_ledger import pack_seen
from notify_streams.delivery.timers import drop_unclaimed, keep_unclaimed
from notify_streams.errors import NotifyError
from notify_streams.failpoints import failpoint
from notify_streams.stores.mongo import ATTEMPTS, LEDGER, OUTBOX, TIMERS, run_transaction, write_in_session
from notify_streams.stores.mongo_errors import is_duplicate_key, mongo_call

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymongo.asynchronous.client_session import AsyncClientSession

    from notify_streams.delivery.delivery_ledger import DeliveryLedger
    from notify_streams.delivery.partition import Advance, Partition
    from notify_streams.outbox.flush_plan import OutboxRow
    from notify_streams.records.batch import OutboxRecord
    from notify_streams.stores.mongo import Document, Shards


class TokenRefused(NotifyError):
    """Ledgers do not have the token or position of the flush; nothing was written. `partitions`: those, with their tokens."""

    def __init__(self, partitions: frozenset[Partition]) -> None:
        numbers = sorted(one.number for one in partitions)
        super().__init__(f"ledgers of partitions {numbers} have another token or position")
        self.partitions = partitions


class AttemptsExist(NotifyError):
    """An attempt is stored already, or is twice in the flush; nothing was written. See `SettlementStore.without_stored`."""


class TimersChanged(NotifyError):
    """A timer is not as it was read; nothing was written. Read the due timers again."""


@dataclass(slots=True)
class Settlement:
    """What one flush writes for one partition."""

    partition: Partition
    attempts: list[Document] = field(default_factory=list)
    #: Statements on timers, each of which must match one document; `armed` may also insert.
    armed: list[Document] = field(default_factory=list)
    changed: list[Document] = field(default_factory=list)
    dropped: list[Document] = field(default_factory=list)
    events: list[OutboxRecord] = field(default_factory=list)
    #: Counts beside those of the step.
    counts: dict[str, int] = field(default_factory=dict)
    step: Advance | None = None
    claimed_to: int = 0
    #: The flush of which it was a part before it became a flush of its own; that one may still have been committed.
    whole_id: str | None = None

    def count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1


@dataclass(frozen=True, slots=True)
class Answer:
    """What ends a delivery that waits for another attempt, or leaves fewer devices to call."""

    #: The delivery's key.
    key: bytes
    #: The attempt that its timer names.
    number: int
    #: The attempt that says so.
    attempt: Document
    #: The ledger's count of the end.
    counted: str | None
    #: The message for the next attempt; None: there is none.
    record: bytes | None = None


class SettlementStore:
    """The database operations of settling on one shard."""

    def __init__(self, shards: Shards, shard: int, ledger: DeliveryLedger, timeout_s: float) -> None:
        self._shards = shards
        self._shard = shard
        self._ledger = ledger
        self._timeout_s = timeout_s

    async def write(
        self,
        flush_id: str,
        settlements: Sequence[Settlement],
        event_rows: Sequence[OutboxRow] = (),
        *,
        strict: bool = True,
    ) -> None:
        """Write all settlements with the document of their events, or nothing. `strict`: only if every timer is as it was read.

        Raises:
            TokenRefused, TimersChanged, AttemptsExist: nothing was written.
            StoreUnavailable: it is unknown whether the flush was committed; `is_committed` tells.
        """
        moved = frozenset(one.partition for one in settlements if self._shards.of(one.partition.number) != self._shard)
        if moved:
            raise TokenRefused(moved)

        async def body(session: AsyncClientSession) -> None:
            await self._write(session, flush_id, settlements, strict)
            if event_rows:
                rows = [event_rows[0].document]
                await write_in_session(session, self._shards.database(self._shard), "insert", OUTBOX, documents=rows)

        failpoint("before_settlement")
        with mongo_call(f"settle on shard {self._shard}", self._timeout_s):
            await run_transaction(self._shards.client(self._shard), body)
        failpoint("after_settlement")

    async def _write(
        self, session: AsyncClientSession, flush_id: str, settlements: Sequence[Settlement], strict: bool
    ) -> None:
        database = self._shards.database(self._shard)
        steps = [self._step(one, flush_id) for one in settlements]
        if await write_in_session(session, database, "update", LEDGER, updates=steps) != len(steps):
            raise TokenRefused(await self._refused(session, flush_id, settlements))
        failpoint("inside_settlement")
        if attempts := _joined(one.attempts for one in settlements):
            try:
                await write_in_session(session, database, "insert", ATTEMPTS, documents=attempts)
            except (BulkWriteError, DuplicateKeyError) as error:
                if is_duplicate_key(error):
                    raise AttemptsExist from error
                raise
        if armed := _joined(one.armed for one in settlements):
            await write_in_session(session, database, "update", TIMERS, updates=armed)
        changed = _joined(one.changed for one in settlements)
        if changed:
            count = await write_in_session(session, database, "update", TIMERS, updates=changed)
            if count != len(changed) and strict:
                raise TimersChanged
        dropped = _joined(one.dropped for one in settlements)
        if dropped:
            count = await write_in_session(session, database, "delete", TIMERS, deletes=dropped)
            if count != len(dropped) and strict:
                raise TimersChanged

    async def is_committed(self, flush_id: str, settlements: Sequence[Settlement]) -> bool:
        """Whether a flush was committed: a ledger names it as `last_flush`.

        Raises:
            StoreUnavailable: the shard does not answer.
        """
        with mongo_call(f"read last_flush on shard {self._shard}", self._timeout_s):
            found = await self._shards.database(self._shard)[LEDGER].find_one(
                self._query(settlements) | {"last_flush": flush_id}, {"_id": 1}
            )
        return found is not None

    async def without_stored(self, settlements: Sequence[Settlement]) -> int:
        """Remove attempts that are stored or are twice in the flush, in place; returns how many. They can only come from a defect.

        Raises:
            StoreUnavailable: the shard does not answer.
        """
        ids = [one["_id"] for settlement in settlements for one in settlement.attempts]
        query = {"bucket": {"$in": [one.partition.number for one in settlements]}, "_id": {"$in": ids}}
        with mongo_call(f"read attempts on shard {self._shard}", self._timeout_s):
            seen = {one["_id"] async for one in self._shards.database(self._shard)[ATTEMPTS].find(query, {"_id": 1})}
        removed = 0
        for settlement in settlements:
            kept = []
            for attempt in settlement.attempts:
                if attempt["_id"] in seen:
                    removed += 1
                else:
                    seen.add(attempt["_id"])
                    kept.append(attempt)
            settlement.attempts = kept
        return removed

    async def resolve(
        self, partition: int, answers: Sequence[Answer], event_rows: Sequence[OutboxRow] = ()
    ) -> frozenset[bytes]:
        """End deliveries by the answers to their parked calls: delete their timers, append attempts and events, count. Needs no token.

        The timer of an answer with a record stays, with that record.

        Returns:
            The keys of those that ended. Of the others without a record a later attempt has begun: they are appended as evidence and
            not counted.

        Raises:
            StoreUnavailable: call again; a repetition changes nothing.
        """
        ended: frozenset[bytes] = frozenset()

        async def body(session: AsyncClientSession) -> None:
            nonlocal ended
            database = self._shards.database(self._shard)
            # Upserts: a repetition after an unknown commit finds them.
            known = [_put(one.attempt["_id"], partition, one.attempt) for one in answers]
            await write_in_session(session, database, "update", ATTEMPTS, updates=known)
            if event_rows:
                row = event_rows[0].document
                await write_in_session(session, database, "update", OUTBOX, updates=[_put(row["_id"], partition, row)])
            query = {"bucket": partition, "_id": {"$in": [one.key for one in answers]}, "claim": None}
            timers = database[TIMERS].find(query, {"attempt": 1}, session=session)
            there = {one["_id"]: one["attempt"] for one in await timers.to_list()}
            in_time = [one for one in answers if there.get(one.key) == one.number]
            found = [one for one in in_time if one.record is None]
            ended = frozenset(one.key for one in found)
            # A timer that was claimed since the transaction began is a conflict: all of it is done again.
            kept = [
                keep_unclaimed(one.key, partition, one.number, one.record) for one in in_time if one.record is not None
            ]
            if kept:
                await write_in_session(session, database, "update", TIMERS, updates=kept)
            if not found:
                return
            deletes = [drop_unclaimed(one.key, partition, one.number) for one in found]
            await write_in_session(session, database, "delete", TIMERS, deletes=deletes)
            where = {"_id": self._ledger.id_of(partition), "bucket": partition}
            step = {"q": where, "u": {"$inc": Counter(one.counted for one in found)}}
            await write_in_session(session, database, "update", LEDGER, updates=[step])

        failpoint("before_resolve")
        with mongo_call(f"resolve deliveries on shard {self._shard}", self._timeout_s):
            await run_transaction(self._shards.client(self._shard), body)
        failpoint("after_resolve")
        return ended

    async def add_evidence(self, attempts: Sequence[Document], event_rows: Sequence[OutboxRow] = ()) -> None:
        """Append attempts of one bucket that has another owner, or is on another shard now, after their events. They are not counted.

        Raises:
            StoreUnavailable: call again.
        """
        bucket = attempts[0]["bucket"]
        writes = [
            UpdateOne(
                {"_id": one["_id"], "bucket": bucket},
                {"$setOnInsert": {name: value for name, value in one.items() if name not in ("_id", "bucket")}},
                upsert=True,
            )
            for one in attempts
        ]
        with mongo_call(f"append attempts of bucket {bucket}", self._timeout_s):
            if event_rows:
                row = event_rows[0].document
                known = {"_id": row["_id"], "bucket": bucket}
                await self._shards.collection(OUTBOX, bucket).replace_one(known, row, upsert=True)
            await self._shards.collection(ATTEMPTS, bucket).bulk_write(writes, ordered=False)

    def _step(self, settlement: Settlement, flush_id: str) -> Document:
        partition, step = settlement.partition, settlement.step
        assert step is not None, "a settlement is planned with its step"
        counts = dict(step.counts)
        for name, count in settlement.counts.items():
            counts[name] = counts.get(name, 0) + count
        update: Document = {
            "$set": {
                "next_offset": step.end,
                "claimed_to": settlement.claimed_to,
                "seen": pack_seen(partition.seen),
                "last_flush": flush_id,
            },
            "$currentDate": {"token.at": True},
        }
        if counts:
            update["$inc"] = counts
        return {"q": self._where(partition, step.start), "u": update}

    def _where(self, partition: Partition, start: int) -> Document:
        return {
            "_id": self._ledger.id_of(partition.number),
            "bucket": partition.number,
            "token.random": partition.token.random,
            "next_offset": start,
            "last_flush": partition.last_flush,
        }

    async def _refused(
        self, session: AsyncClientSession, flush_id: str, settlements: Sequence[Settlement]
    ) -> frozenset[Partition]:
        """The partitions whose step did not match. In this transaction those that matched have the flush, or the one of which it was a
        part, as `last_flush`.

        A flush may have two of one number: the one of an earlier assignment has another token.
        """
        ids = [flush_id, *(one.whole_id for one in settlements if one.whole_id is not None)]
        query = self._query(settlements) | {"last_flush": {"$in": ids}}
        matched = {
            (one["partition"], one["token"]["random"])
            async for one in self._shards.database(self._shard)[LEDGER].find(
                query, {"partition": 1, "token.random": 1}, session=session
            )
        }
        found = (one.partition for one in settlements)
        return frozenset(one for one in found if (one.number, one.token.random) not in matched)

    def _query(self, settlements: Sequence[Settlement]) -> Document:
        numbers = [one.partition.number for one in settlements]
        return {"_id": {"$in": [self._ledger.id_of(one) for one in numbers]}, "bucket": {"$in": numbers}}


def _put(document_id: Any, bucket: int, document: Document) -> Document:
    """The statement that stores a document under its id."""
    return {"q": {"_id": document_id, "bucket": bucket}, "u": document, "upsert": True}


def _joined(parts: Iterable[list[Document]]) -> list[Document]:
    return [one for part in parts for one in part]
