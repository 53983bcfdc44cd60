"""Preference records in MongoDB, changed by compare-and-swap.

Reads are linearizable: they see everything that was acknowledged before they began, even if a deposed primary still answers. MongoDB's
own linearizable read waits for the next journal commit (100 ms on an idle shard). A majority write followed by a causally consistent
majority read gives the same in 2 ms; the documents of those writes are called marks here.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from operator import itemgetter
from random import randrange
from typing import TYPE_CHECKING, Any, Final

from bson import Timestamp
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, ConnectionFailure

from notify_streams.errors import StoreUnavailable
from notify_streams.preferences.choices import EMPTY_RECORD, ChoiceChange, PreferenceRecord, merge
from notify_streams.preferences.compare_and_swap import DUPLICATE_KEY, RecordSwap, compare_and_swap
from notify_streams.preferences.consents import (
    add_consents,
    chosen_now,
    complete_consents,
    consent_documents,
    replaced_choices,
)
from notify_streams.preferences.mongo_document import RECORD_FIELDS, record_of
from notify_streams.stores.mongo import PREFERENCES, by_shard, next_of_bucket
from notify_streams.stores.mongo_errors import mongo_call
from notify_streams.stores.request_batcher import RequestBatcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from pymongo.asynchronous.client_session import AsyncClientSession
    from pymongo.asynchronous.collection import AsyncCollection

    from notify_streams.stores.mongo import Document, Shards

_ATTEMPTS: Final = 20
_PAUSE_S: Final = 0.005
#: Changes of one user in one write: until the history has what they replace, the document has it, and that has a limit.
_MAX_CHANGES: Final = 2_000
#: Each process chooses one of so many marks of a bucket, so that few processes write the same document.
_MARKS: Final = 64
#: Where a shard is a whole replica set, one mark serves all its buckets. It belongs to no bucket: a bucket that moves takes no writes.
_SHARD_MARK: Final = (-1,)

#: Bucket, user id, and a change of that user's record. Several changes of one user are applied in their order.
BucketedChange = tuple[int, str, ChoiceChange]
#: The changes of one user, with the bucket.
_UserChanges = tuple[int, list[ChoiceChange]]
_Records = dict[str, PreferenceRecord]


class PreferenceRepository:
    """Reads and writes preference records. Every method raises `StoreUnavailable` if a shard does not answer within `timeout_s`."""

    def __init__(self, shards: Shards, timeout_s: float = 5.0) -> None:
        self._shards = shards
        self._timeout_s = timeout_s
        self._mark = randrange(_MARKS)
        #: While Redis is away all checks read rows from here: one read at a time from each shard.
        self._row_reads = [RequestBatcher(partial(self._read_rows, shard)) for shard in range(len(shards))]
        self._earlier_reads = [RequestBatcher(partial(self._read_earlier, shard)) for shard in range(len(shards))]

    @property
    def shard_count(self) -> int:
        return len(self._shards)

    async def ensure_indexes(self) -> None:
        """Create the index for `changed_since`."""
        with self._mongo_call():
            for shard in range(len(self._shards)):
                await self._shards.database(shard)[PREFERENCES].create_index("changed")

    async def apply(
        self,
        changes: Iterable[BucketedChange],
        then: Callable[[dict[str, PreferenceRecord]], Awaitable[object]] | None = None,
    ) -> dict[str, PreferenceRecord]:
        """Apply changes and return the records after them, changed or not, by user id.

        Each returned record is durable (majority, journalled), and so is the history of `changes` (`consents`). After an error some users
        may have been changed; applying the same changes again is safe. Costs one find and two bulk writes for each shard, a second find
        for choices that are replaced, and again for records that changed in between.

        Args:
            then: awaited with the durable records while the history is written.
        """
        users: dict[str, _UserChanges] = {}
        for bucket, user_id, change in changes:
            users.setdefault(user_id, (bucket, []))[1].append(change)
        while too_many := {user_id for user_id, (_, some) in users.items() if len(some) > _MAX_CHANGES}:
            await self._apply({one: (users[one][0], users[one][1][:_MAX_CHANGES]) for one in too_many})
            users |= {one: (users[one][0], users[one][1][_MAX_CHANGES:]) for one in too_many}
        return await self._apply(users, then)

    async def _apply(
        self, users: Mapping[str, _UserChanges], then: Callable[[_Records], Awaitable[object]] | None = None
    ) -> _Records:
        found = by_shard(self._shards, users.items(), lambda one: one[1][0])
        shards = {shard: dict(changed) for shard, changed in found.items()}
        with self._mongo_call():
            results = await asyncio.gather(*(self._swap_on(shard, users) for shard, users in shards.items()))
        records = {
            user_id: record for unchanged, changed in results for user_id, record in (unchanged | changed).items()
        }
        history = [
            self._add_to_history(shard, users, *result)
            for (shard, users), result in zip(shards.items(), results, strict=True)
        ]
        await asyncio.gather(*history, *([] if then is None else [then(records)]))
        return records

    async def read(self, bucket: int, user_id: str) -> PreferenceRecord:
        """One user's record; `EMPTY_RECORD` if there is none."""
        with self._mongo_call():
            async with self._linearizable(self._shards.of(bucket), [bucket]) as (collection, session):
                return (await _find_records(collection, {user_id: bucket}, session)).get(user_id, EMPTY_RECORD)

    async def read_earlier(self, bucket: int, user_id: str) -> PreferenceRecord:
        """The same without a write, so that changes of the last moments may be missing."""
        with self._mongo_call():
            found = await _find_records(self._shards.collection(PREFERENCES, bucket), {user_id: bucket})
        return found.get(user_id, EMPTY_RECORD)

    async def rows(self, bucket: int, user_ids: Sequence[str]) -> dict[str, bytes]:
        """The rows of the users that have one, by user id; it may hold other users, too."""
        batcher = self._row_reads[self._shards.of(bucket)]
        return await batcher.call((bucket, user_ids), len(user_ids), self._timeout_s)

    async def rows_after(self, bucket: int, user_id: str, limit: int) -> dict[str, bytes]:
        """The next rows of a bucket in the order of user ids; empty after the last one."""
        with self._mongo_call():
            found = await next_of_bucket(self._shards.collection(PREFERENCES, bucket), bucket, user_id, limit)
        return {document["_id"]: document["row"] for document in found}

    async def rows_of(self, buckets: Mapping[str, int]) -> dict[str, bytes]:
        """The same for users of several buckets, given with each user id."""
        by_bucket: dict[int, list[str]] = {}
        for user_id, bucket in buckets.items():
            by_bucket.setdefault(bucket, []).append(user_id)
        found = await asyncio.gather(*(self.rows(bucket, user_ids) for bucket, user_ids in by_bucket.items()))
        return {user_id: row for rows in found for user_id, row in rows.items()}

    def is_silent(self, bucket: int) -> bool:
        """See `Shards.is_silent`."""
        return self._shards.is_silent(bucket)

    async def earlier_rows_of(self, buckets: Mapping[str, int]) -> dict[str, bytes]:
        """The same without a write, so that changes of the last seconds may be missing: for callers that have those from the deltas."""
        calls = [
            self._earlier_reads[shard].call(dict(users), len(users), self._timeout_s)
            for shard, users in by_shard(self._shards, buckets.items(), itemgetter(1)).items()
        ]
        return {user_id: row for rows in await asyncio.gather(*calls) for user_id, row in rows.items()}

    async def changed_since(
        self, shard: int, since: Timestamp | None, within_s: float
    ) -> tuple[Timestamp, dict[str, bytes]]:
        """The rows that changed on `shard` since a logical time, and the logical time up to which they are complete.

        Changes older than `within_s` seconds are left out. None for `since`: all of the last `within_s` seconds.
        """
        with self._mongo_call():
            async with self._linearizable(shard, self._shards.buckets(shard)) as (collection, session):
                complete_at = session.operation_time
                if complete_at is None:
                    raise StoreUnavailable("MongoDB reports no operation time: it is not a replica set")
                horizon = Timestamp(max(0, complete_at.time - int(within_s)), 0)
                start = horizon if since is None else max(since, horizon)
                # All buckets: one that has moved away may have been written here just before.
                wanted = {"changed": {"$gte": start}, "bucket": {"$in": self._shards.all_buckets()}}
                return complete_at, await _find_rows(collection, wanted, session)

    async def _add_to_history(self, shard: int, users: Mapping[str, _UserChanges], *results: _Records) -> None:
        """Add what was chosen. A record that was found unchanged is one that was changed by an earlier call, which may have been cut off."""
        unchanged, changed = (
            [
                document
                for user_id, record in records.items()
                for document in consent_documents(users[user_id][0], user_id, chosen_now(record, users[user_id][1]))
            ]
            for records in results
        )
        with self._mongo_call():
            database = self._shards.database(shard)
            await asyncio.gather(add_consents(database, changed), complete_consents(database, unchanged))

    async def _swap_on(self, shard: int, users: Mapping[str, _UserChanges]) -> tuple[_Records, _Records]:
        """Read, merge and swap until every record is written; returns records that were found unchanged, and changed ones.

        What a swap replaces is in the history before it. Swaps fail often and harmlessly: both router roles apply each batch.
        """
        database = self._shards.database(shard)
        found_so: _Records = {}
        done: _Records = {}
        tried: dict[str, PreferenceRecord] = {}
        remaining = dict(users)
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_PAUSE_S)
            changed: dict[str, PreferenceRecord] = {}
            try:
                buckets = {user_id: bucket for user_id, (bucket, _) in remaining.items()}
                found = await _find_records(database[PREFERENCES], buckets)
                unchanged, changed = _merge_all(remaining, found, tried, self._shards.clocks.later_now(shard))
                await complete_consents(
                    database,
                    [
                        document
                        for user_id, after in changed.items()
                        for document in consent_documents(
                            buckets[user_id], user_id, replaced_choices(found.get(user_id, EMPTY_RECORD), after)
                        )
                    ],
                )
                unsure = await compare_and_swap(
                    database,
                    (
                        RecordSwap(user_id, buckets[user_id], found.get(user_id, EMPTY_RECORD), after)
                        for user_id, after in changed.items()
                    ),
                )
            except ConnectionFailure:
                # The primary changed. The next read shows what was written.
                if attempt == _ATTEMPTS - 1:
                    raise
                tried |= changed
                continue
            found_so |= unchanged
            done |= {user_id: record for user_id, record in changed.items() if user_id not in unsure}
            if not unsure:
                return found_so, done
            tried |= changed
            remaining = {user_id: users[user_id] for user_id in unsure}
        raise StoreUnavailable(f"the preferences of {len(remaining)} users changed at every attempt to write them")

    async def _read_rows(self, shard: int, requests: Sequence[tuple[int, Sequence[str]]]) -> list[dict[str, bytes]]:
        buckets = list({bucket for bucket, _ in requests})
        user_ids = list({user_id for _, requested in requests for user_id in requested})
        with self._mongo_call():
            async with self._linearizable(shard, buckets) as (collection, session):
                rows = await _find_rows(collection, {"_id": {"$in": user_ids}, "bucket": {"$in": buckets}}, session)
        return [rows] * len(requests)

    async def _read_earlier(self, shard: int, requests: Sequence[Mapping[str, int]]) -> list[dict[str, bytes]]:
        buckets = {user_id: bucket for request in requests for user_id, bucket in request.items()}
        with self._mongo_call():
            rows = await _find_rows(self._shards.database(shard)[PREFERENCES], _wanted(buckets))
        return [rows] * len(requests)

    @asynccontextmanager
    async def _linearizable(
        self, shard: int, buckets: Sequence[int]
    ) -> AsyncIterator[tuple[AsyncCollection[Document], AsyncClientSession]]:
        """A session whose reads see everything that was durable before this call: they follow its own majority write."""
        client = self._shards.client(shard)
        collection = self._shards.database(shard)[PREFERENCES]
        async with client.start_session(causal_consistency=True) as session:
            marked = buckets if await client.is_mongos else _SHARD_MARK
            await _write_marks(collection, {-1 - bucket * _MARKS - self._mark: bucket for bucket in marked}, session)
            yield collection, session

    @contextmanager
    def _mongo_call(self) -> Iterator[None]:
        with mongo_call("preference records", self._timeout_s):
            yield


async def _find_records(
    collection: AsyncCollection[Document], buckets: Mapping[str, int], session: AsyncClientSession | None = None
) -> dict[str, PreferenceRecord]:
    found = await collection.find(
        _wanted(buckets), RECORD_FIELDS, session=session, batch_size=len(buckets) + 1
    ).to_list()
    return {document["_id"]: record_of(document) for document in found}


def _wanted(buckets: Mapping[str, int]) -> dict[str, Any]:
    return {"_id": {"$in": list(buckets)}, "bucket": {"$in": list(set(buckets.values()))}}


async def _find_rows(
    collection: AsyncCollection[Document], wanted: Mapping[str, Any], session: AsyncClientSession | None = None
) -> dict[str, bytes]:
    found = await collection.find(wanted, {"row": 1}, session=session, batch_size=10_000).to_list()
    return {document["_id"]: document["row"] for document in found}


async def _write_marks(
    collection: AsyncCollection[Document], marks: Mapping[int, int], session: AsyncClientSession
) -> None:
    """Write marks (id → bucket). Their ids are numbers and so never a user's."""
    writes = [UpdateOne({"_id": m, "bucket": b}, {"$inc": {"reads": 1}}, upsert=True) for m, b in marks.items()]
    try:
        await collection.bulk_write(writes, ordered=False, session=session)
    except BulkWriteError as error:
        if any(problem["code"] != DUPLICATE_KEY for problem in error.details["writeErrors"]):
            raise
        # Another process inserted the mark at the same moment: now it exists.
        await collection.bulk_write(writes, ordered=False, session=session)


def _merge_all(
    users: Mapping[str, _UserChanges],
    found: Mapping[str, PreferenceRecord],
    tried: Mapping[str, PreferenceRecord],
    now: datetime,
) -> tuple[dict[str, PreferenceRecord], dict[str, PreferenceRecord]]:
    """Records that need no write, and records to write. A record that equals an earlier attempt was written by it."""
    unchanged: dict[str, PreferenceRecord] = {}
    changed: dict[str, PreferenceRecord] = {}
    for user_id, (_, changes) in users.items():
        before = found.get(user_id, EMPTY_RECORD)
        after = before if tried and before == tried.get(user_id) else merge(before, changes, now)
        if after is before:
            unchanged[user_id] = before
        else:
            changed[user_id] = after
    return unchanged, changed
