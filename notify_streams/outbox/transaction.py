"""One flush as one single-shard MongoDB transaction, fenced by the ledger.

A flush either holds as a whole or changes nothing. Whatever the driver reports (a lost connection, an unknown commit result, a new
primary), the ledger's `last_flush` tells whether it held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pymongo
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
)
from pymongo.read_concern import ReadConcern

from notify_streams.errors import NotifyError, StoreUnavailable
from notify_streams.failpoints import failpoint
from notify_streams.outbox.fence import not_fenced
from notify_streams.stores.mongo import DURABLE, LEDGER, NOTIFICATIONS, OUTBOX
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from pymongo.asynchronous.client_session import AsyncClientSession

    from notify_streams.outbox.flush_plan import Flush, LedgerStep
    from notify_streams.stores.mongo import Shards

_DUPLICATE_KEY: Final = 11000
_SNAPSHOT: Final = ReadConcern("snapshot")
#: Documents of one command: with what surrounds them they stay under MongoDB's 16 MB, of which one row may take half.
_COMMAND_BYTES: Final = 8 * 1024 * 1024


class DuplicateNotifications(NotifyError):
    """Some notifications exist already; nothing was written. Classify the repeats and flush again."""


class LedgerFenced(NotifyError):
    """The ledger is not where the flush begins; nothing was written. `behind` maps the ledger ids to their `next_offset`."""

    def __init__(self, moved: Mapping[str, int | None]) -> None:
        super().__init__(f"the ledger has moved: {dict(moved)}")
        self.moved = moved


class FlushStore:
    """What a flush needs of one shard."""

    def __init__(self, shards: Shards, shard: int, timeout_s: float) -> None:
        self._shards = shards
        self._shard = shard
        self._timeout_s = timeout_s

    async def write(self, flush: Flush, published: Sequence[Mapping[str, Any]]) -> None:
        """Write `flush` and delete the rows in `published` (filters), all or nothing.

        Raises:
            Repeats: a notification exists already.
            Mismatch: the ledger is elsewhere.
            StoreUnavailable: it is not known whether the flush held; ask `holds`.
        """
        await self._leave_moved(flush, published)

        async def body(session: AsyncClientSession) -> None:
            await self._body(session, flush, published)

        try:
            failpoint("before_transaction")
            with pymongo.timeout(self._timeout_s):
                async with self._shards.client(self._shard).start_session() as session:
                    await session.with_transaction(body, read_concern=_SNAPSHOT, write_concern=DURABLE)
        except (DuplicateKeyError, BulkWriteError) as error:
            if _is_repeat(error):
                raise DuplicateNotifications from error
            raise StoreUnavailable(f"shard {self._shard}: {type(error).__name__}") from error
        except (ConnectionFailure, ExecutionTimeout, OperationFailure, PyMongoError) as error:
            raise StoreUnavailable(f"shard {self._shard}: {type(error).__name__}: {error}"[:500]) from error

    async def _leave_moved(self, flush: Flush, published: Sequence[Mapping[str, Any]]) -> None:
        """Read what was decided for a bucket that has moved again: it is decided anew, and goes out where the bucket is now."""
        elsewhere = [condition for condition in published if self._moved(condition["bucket"]["$in"])]
        if elsewhere:
            await self.delete_rows(elsewhere)
        moved = {step.id: step.start for step in flush.steps if self._moved([step.bucket])}
        if moved:
            raise LedgerFenced(moved)

    def _moved(self, buckets: Iterable[int]) -> set[int]:
        """The other shards on which these buckets are by now."""
        return {self._shards.of(bucket) for bucket in buckets} - {self._shard}

    async def _body(self, session: AsyncClientSession, flush: Flush, published: Sequence[Mapping[str, Any]]) -> None:
        steps = [_step(step, flush.id) for step in flush.steps]
        moved = await self._command(session, "update", LEDGER, updates=steps)
        if moved != len(steps):
            raise LedgerFenced(await self._positions(flush, session))
        failpoint("inside_transaction")
        for some in _within_bounds(flush.notifications, lambda document: len(document.raw)):
            await self._command(session, "insert", NOTIFICATIONS, documents=some)
        for some in _within_bounds([row.document for row in flush.rows], lambda document: len(document["records"])):
            await self._command(session, "insert", OUTBOX, documents=some)
        if published:
            failpoint("before_row_deletion")
            rows = [{"q": condition, "limit": 0} for condition in published]
            await self._command(session, "delete", OUTBOX, deletes=rows)

    async def _command(self, session: AsyncClientSession, name: str, collection: str, **arguments: Any) -> int:
        """A write, and how many documents it concerned. The driver's own way costs a small flush twice as much time."""
        command = {name: collection, "ordered": True, **arguments}
        answer = await self._shards.database(self._shard).command(command, session=session)
        if answer.get("writeErrors"):
            raise BulkWriteError(answer)
        return int(answer["n"])

    async def _positions(self, flush: Flush, session: AsyncClientSession) -> dict[str, int | None]:
        """`next_offset` of the steps that do not begin where their ledger is, or that it was fenced against.

        The others were moved by this very transaction, which sees its own writes: they still begin where they began.
        """
        wanted = {step.id: step for step in flush.steps}
        found: dict[str, int | None] = dict.fromkeys(wanted)
        query = _ledgers_of(flush)
        async for document in self._shards.database(self._shard)[LEDGER].find(query, session=session):
            if document.get("last_flush") == flush.id:
                del found[document["_id"]]
            else:
                found[document["_id"]] = document["next_offset"]
        return found

    async def holds(self, flush: Flush) -> bool:
        """Whether `flush` was committed: a ledger says that it was the last to move it.

        One is enough, because a flush holds as a whole; another may have been moved on by a new owner since. If all were, the
        answer is no: then nothing of this flush is this worker's any more.

        Raises:
            StoreUnavailable: the shard does not answer.
        """
        with mongo_call(f"shard {self._shard}", self._timeout_s):
            document = await self._shards.database(self._shard)[LEDGER].find_one(
                _ledgers_of(flush) | {"last_flush": flush.id}, {"_id": 1}
            )
        return document is not None

    async def known(self, wanted: Mapping[int, Sequence[str]]) -> dict[str, int]:
        """Fingerprints of those notifications, given by bucket, that exist already.

        Raises:
            StoreUnavailable: the shard does not answer.
        """
        known = {}
        collection = self._shards.database(self._shard)[NOTIFICATIONS]
        with mongo_call(f"shard {self._shard}", self._timeout_s):
            for bucket, identities in wanted.items():
                query = {"bucket": bucket, "_id": {"$in": identities}}
                async for document in collection.find(query, {"fingerprint": 1}):
                    known[document["_id"]] = document["fingerprint"]
        return known

    async def delete_rows(self, published: Sequence[Mapping[str, Any]]) -> None:
        """Delete published rows outside a flush: what an idle worker does.

        Raises:
            StoreUnavailable: the shard does not answer; the rows stay.
        """
        failpoint("before_row_deletion")
        with mongo_call(f"shard {self._shard}", self._timeout_s):
            for condition in published:
                for shard in {self._shard} | self._moved(condition["bucket"]["$in"]):
                    await self._shards.database(shard)[OUTBOX].delete_many(condition)


def _ledgers_of(flush: Flush) -> dict[str, Any]:
    steps = flush.steps
    return {"_id": {"$in": [step.id for step in steps]}, "bucket": {"$in": sorted({step.bucket for step in steps})}}


def _step(step: LedgerStep, flush_id: str) -> dict[str, Any]:
    fence = {} if step.epoch is None else not_fenced(step.epoch)
    return {
        "q": {"_id": step.id, "bucket": step.bucket, "next_offset": step.start, **fence},
        "u": {
            "$set": {"next_offset": step.end, "last_flush": flush_id},
            "$inc": {name: count for name, count in step.counts.items() if count},
        },
    }


def _within_bounds(documents: Sequence[Any], size_of: Callable[[Any], int]) -> Iterator[Sequence[Any]]:
    """`documents` in parts that fit into one command."""
    first = size = 0
    for at, document in enumerate(documents):
        length = size_of(document)
        if at > first and size + length > _COMMAND_BYTES:
            yield documents[first:at]
            first, size = at, 0
        size += length
    if documents:
        yield documents[first:]


def _is_repeat(error: PyMongoError) -> bool:
    if isinstance(error, DuplicateKeyError):
        return True
    details = getattr(error, "details", None) or {}
    return any(one.get("code") == _DUPLICATE_KEY for one in details.get("writeErrors", ()))
