"""Commits a flush in one MongoDB transaction, conditional on the ledger.

A flush commits as a whole or changes nothing. After a lost connection, an unknown commit result or a new primary, the ledger's `last_flush`
shows whether it was committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymongo.errors import BulkWriteError, DuplicateKeyError

from notify_streams.errors import NotifyError
from notify_streams.failpoints import failpoint
from notify_streams.outbox.fence import not_fenced
from notify_streams.records.periods import PERIOD_END
from notify_streams.stores.command_parts import command_parts
from notify_streams.stores.mongo import (
    DURABLE,
    LEDGER,
    NOTIFICATIONS,
    OUTBOX,
    OUTCOMES,
    SNAPSHOT,
    TIMERS,
    run_transaction,
    write_in_session,
)
from notify_streams.stores.mongo_errors import is_duplicate_key, mongo_call

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pymongo.asynchronous.client_session import AsyncClientSession

    from notify_streams.outbox.flush_plan import Flush, LedgerStep
    from notify_streams.stores.mongo import Shards


class DuplicateNotifications(NotifyError):
    """Some notifications exist already; nothing was written. Mark the duplicates and flush again."""


class LedgerFenced(NotifyError):
    """A ledger is not at the start of its step, or fenced; nothing was written. `ledgers`: ledger id → `next_offset` or None."""

    def __init__(self, ledgers: Mapping[str, int | None]) -> None:
        super().__init__(f"ledgers at other positions: {dict(ledgers)}")
        self.ledgers = ledgers


class FlushStore:
    """The database operations of a flush on one shard."""

    def __init__(self, shards: Shards, shard: int, timeout_s: float) -> None:
        self._shards = shards
        self._shard = shard
        self._timeout_s = timeout_s

    async def write(self, flush: Flush, published: Sequence[Mapping[str, Any]]) -> None:
        """Write `flush` and delete the rows that the filters `published` match, all or nothing.

        Raises:
            DuplicateNotifications: a notification exists already.
            LedgerFenced: a ledger is at another position or fenced.
            StoreUnavailable: it is unknown whether the flush was committed; `is_committed` tells.
        """
        await self._check_moved_buckets(flush, published)

        async def body(session: AsyncClientSession) -> None:
            await self.write_in_transaction(session, flush, published)

        failpoint("before_transaction")
        with mongo_call(f"commit flush on shard {self._shard}", self._timeout_s):
            try:
                await run_transaction(self._shards.client(self._shard), body)
            except (DuplicateKeyError, BulkWriteError) as error:
                if is_duplicate_key(error):
                    raise DuplicateNotifications from error
                raise

    async def check(self, flush: Flush) -> None:
        """Write the notifications and rows of `flush` in a transaction that is aborted.

        Raises:
            DuplicateNotifications: a notification exists already.
            StoreUnavailable: the shard does not answer, or refuses it (`PermanentFailure`).
        """
        with mongo_call(f"check flush on shard {self._shard}", self._timeout_s):
            async with self._shards.client(self._shard).start_session() as session:
                await session.start_transaction(SNAPSHOT, DURABLE)
                try:
                    await self._insert(session, flush)
                except (DuplicateKeyError, BulkWriteError) as error:
                    if is_duplicate_key(error):
                        raise DuplicateNotifications from error
                    raise
                finally:
                    await session.abort_transaction()

    async def _check_moved_buckets(self, flush: Flush, published: Sequence[Mapping[str, Any]]) -> None:
        """Raise `LedgerFenced` for buckets that were moved to another shard: their batches are read and decided again."""
        on_other_shards = [condition for condition in published if self._moved(condition["bucket"]["$in"])]
        if on_other_shards:
            await self.delete_rows(on_other_shards)
        moved = {step.id: step.start for step in flush.steps if self._moved([step.bucket])}
        if moved:
            raise LedgerFenced(moved)

    def _moved(self, buckets: Iterable[int]) -> set[int]:
        """Other shards that hold these buckets now."""
        return {self._shards.of(bucket) for bucket in buckets} - {self._shard}

    async def write_in_transaction(
        self, session: AsyncClientSession, flush: Flush, published: Sequence[Mapping[str, Any]]
    ) -> None:
        """The writes of a flush, in an open transaction of `session`."""
        database = self._shards.database(self._shard)
        steps = [ledger_update(step, flush.id) for step in flush.steps]
        matched = await write_in_session(session, database, "update", LEDGER, updates=steps)
        if matched != len(steps):
            raise LedgerFenced(await self._positions(flush, session))
        failpoint("inside_transaction")
        await self._insert(session, flush)
        if published:
            failpoint("before_row_deletion")
            rows = [{"q": condition, "limit": 0} for condition in published]
            await write_in_session(session, database, "delete", OUTBOX, deletes=rows)

    async def _insert(self, session: AsyncClientSession, flush: Flush) -> None:
        database = self._shards.database(self._shard)
        for documents in command_parts(flush.notifications, lambda document: len(document.raw)):
            await write_in_session(session, database, "insert", NOTIFICATIONS, documents=documents)
        for rows in command_parts([row.document for row in flush.rows], lambda document: len(document["records"])):
            await write_in_session(session, database, "insert", OUTBOX, documents=rows)
        for timers in command_parts(flush.timers, lambda document: len(document["record"])):
            await write_in_session(session, database, "insert", TIMERS, documents=timers)
        if flush.notes:
            # A topic that was made anew counts its offsets again: its note replaces the other.
            notes = [
                {"q": {"_id": one["_id"], "bucket": one["bucket"]}, "u": one, "upsert": True} for one in flush.notes
            ]
            await write_in_session(session, database, "update", OUTCOMES, updates=notes)

    async def _positions(self, flush: Flush, session: AsyncClientSession) -> dict[str, int | None]:
        """`next_offset` of the ledgers that did not match their step. Those that matched show this flush as `last_flush` here."""
        wanted = {step.id: step for step in flush.steps}
        found: dict[str, int | None] = dict.fromkeys(wanted)
        query = _ledgers_of(flush)
        async for document in self._shards.database(self._shard)[LEDGER].find(query, session=session):
            if document.get("last_flush") == flush.id:
                del found[document["_id"]]
            else:
                found[document["_id"]] = document["next_offset"]
        return found

    async def is_committed(self, flush: Flush) -> bool:
        """Whether `flush` was committed: at least one of its ledgers names it as `last_flush`.

        One is enough, because a flush commits as a whole. New owners may have moved the other ledgers since. If they have moved all of
        them the result is False: then no partition of this flush belongs to this worker any more.

        Raises:
            StoreUnavailable: the shard does not answer.
        """
        with mongo_call(f"read last_flush on shard {self._shard}", self._timeout_s):
            document = await self._shards.database(self._shard)[LEDGER].find_one(
                _ledgers_of(flush) | {"last_flush": flush.id}, {"_id": 1}
            )
        return document is not None

    async def fingerprints(self, wanted: Mapping[int, Sequence[str]]) -> dict[str, int]:
        """Fingerprints of the notifications that exist, of those wanted (bucket → ids).

        Raises:
            StoreUnavailable: the shard does not answer.
        """
        found = {}
        collection = self._shards.database(self._shard)[NOTIFICATIONS]
        with mongo_call(f"read notifications on shard {self._shard}", self._timeout_s):
            for bucket, ids in wanted.items():
                query = {"bucket": bucket, "_id": {"$in": ids}}
                async for document in collection.find(query, {"fingerprint": 1}):
                    found[document["_id"]] = document["fingerprint"]
        return found

    async def delete_rows(self, published: Sequence[Mapping[str, Any]]) -> None:
        """Delete published rows without a flush.

        Raises:
            StoreUnavailable: the shard does not answer; the rows stay.
        """
        failpoint("before_row_deletion")
        with mongo_call(f"delete outbox rows on shard {self._shard}", self._timeout_s):
            for condition in published:
                for shard in {self._shard} | self._moved(condition["bucket"]["$in"]):
                    await self._shards.database(shard)[OUTBOX].delete_many(condition)


def _ledgers_of(flush: Flush) -> dict[str, Any]:
    steps = flush.steps
    return {"_id": {"$in": [step.id for step in steps]}, "bucket": {"$in": sorted({step.bucket for step in steps})}}


def ledger_update(step: LedgerStep, flush_id: str) -> dict[str, Any]:
    """The update statement of a step: it matches only at the step's start, in its period, and unless a later epoch has fenced the ledger."""
    fence = {} if step.epoch is None else not_fenced(step.epoch)
    if step.period_end is not None:
        fence[PERIOD_END] = step.period_end
    return {
        "q": {"_id": step.id, "bucket": step.bucket, "next_offset": step.start, **fence},
        "u": {
            "$set": {"next_offset": step.end, "last_flush": flush_id},
            "$inc": {name: count for name, count in step.counts.items() if count},
        },
    }
