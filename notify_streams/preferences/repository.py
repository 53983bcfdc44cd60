"""The durable record of people's choices: one MongoDB document a person, changed by compare-and-set on its version.

Reads here are linearizable: they have everything that was acknowledged before they began, even if a deposed primary still answers.
MongoDB's own linearizable read waits for the next journal commit (100 ms on an idle shard); a majority write and a causally consistent
majority read after it give the same in 2 ms.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from random import randrange
from typing import TYPE_CHECKING, Any, Final

from bson import Timestamp
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, ConnectionFailure

from notify_streams.errors import StoreUnavailable
from notify_streams.preferences.choices import EMPTY_RECORD, ChoiceChange, PreferenceRecord, merge
from notify_streams.preferences.compare_and_swap import DUPLICATE_KEY, Replacement, compare_and_swap
from notify_streams.preferences.mongo_document import RECORD_FIELDS, record_of
from notify_streams.stores.mongo import PREFERENCES
from notify_streams.stores.mongo_errors import mongo_call
from notify_streams.stores.request_batcher import RequestBatcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

    from pymongo.asynchronous.client_session import AsyncClientSession
    from pymongo.asynchronous.collection import AsyncCollection

    from notify_streams.stores.mongo import Document, Shards

_ATTEMPTS: Final = 20
_PAUSE_S: Final = 0.005
#: Processes choose among this many documents of a bucket for their marks, so that they seldom meet.
_MARKS: Final = 64
#: Where a shard is all of its replica set, one mark does for all buckets, and belongs to none: a bucket that moves takes no writes.
_OF_THE_SHARD: Final = (-1,)

#: Bucket, user id, and a change for that person; several of one person are applied in their order.
BucketedChange = tuple[int, str, ChoiceChange]
#: What one person waits for: bucket and changes.
_Waiting = tuple[int, list[ChoiceChange]]


class PreferenceRepository:
    """Reads and writes the records. Every method raises `StoreUnavailable` if a shard does not answer within `timeout_s`."""

    def __init__(self, shards: Shards, timeout_s: float = 5.0) -> None:
        self._shards = shards
        self._timeout_s = timeout_s
        self._mark = randrange(_MARKS)
        #: A process that falls back to the durable record with everything it has costs a shard one read at a time.
        self._grouped = [RequestBatcher(partial(self._rows_on, shard)) for shard in range(len(shards))]

    def __len__(self) -> int:
        """The number of shards."""
        return len(self._shards)

    async def ensure_indexes(self) -> None:
        """Make the index that `changed_since` walks."""
        with _answering(self._timeout_s):
            for shard in range(len(self._shards)):
                await self._shards.database(shard)[PREFERENCES].create_index("changed")

    async def apply(self, wishes: Iterable[BucketedChange]) -> dict[str, PreferenceRecord]:
        """Apply changes of many people and return their records as they are then, changed or not.

        Each record returned is durable (majority, journalled). People are independent of each other: on an error some may have been
        changed; to apply the same changes again is harmless. One find and one bulk write a shard, and again for those whose record
        somebody else changed in between.
        """
        by_shard: dict[int, dict[str, _Waiting]] = {}
        for bucket, user_id, change in wishes:
            people = by_shard.setdefault(self._shards.of(bucket), {})
            people.setdefault(user_id, (bucket, []))[1].append(change)
        with _answering(self._timeout_s):
            results = await asyncio.gather(*(self._apply_on(shard, people) for shard, people in by_shard.items()))
        return {user_id: record for result in results for user_id, record in result.items()}

    async def read(self, bucket: int, user_id: str) -> PreferenceRecord:
        """One person's record, `EMPTY_RECORD` if there is none."""
        with _answering(self._timeout_s):
            async with self._after_now(self._shards.of(bucket), [bucket]) as (collection, session):
                return (await _records(collection, {user_id: bucket}, session)).get(user_id, EMPTY_RECORD)

    async def rows(self, bucket: int, user_ids: Sequence[str]) -> dict[str, bytes]:
        """The compiled rows of those who have one, and perhaps of others."""
        grouped = self._grouped[self._shards.of(bucket)]
        return await grouped.call((bucket, user_ids), len(user_ids), self._timeout_s)

    async def changed_since(
        self, shard: int, since: Timestamp | None, within_s: float
    ) -> tuple[Timestamp, dict[str, bytes]]:
        """The rows on `shard` that were written since, and the shard's logical time at which this is complete.

        None asks for what was written in the last `within_s` seconds, and nothing older is returned in any case.
        """
        with _answering(self._timeout_s):
            async with self._after_now(shard, self._shards.buckets(shard)) as (collection, session):
                complete_at = session.operation_time
                if complete_at is None:
                    raise StoreUnavailable("MongoDB reports no operation time: it is not a replica set")
                horizon = Timestamp(max(0, complete_at.time - int(within_s)), 0)
                start = horizon if since is None else max(since, horizon)
                # Buckets that were moved away, too: what was written here just before is looked for here.
                wanted = {"changed": {"$gte": start}, "bucket": {"$in": self._shards.all_buckets()}}
                return complete_at, await _rows(collection, wanted, session)

    async def _apply_on(self, shard: int, people: Mapping[str, _Waiting]) -> dict[str, PreferenceRecord]:
        database = self._shards.database(shard)
        done: dict[str, PreferenceRecord] = {}
        tried: dict[str, PreferenceRecord] = {}
        waiting = dict(people)
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_PAUSE_S)
            changed: dict[str, PreferenceRecord] = {}
            try:
                found = await _records(database[PREFERENCES], {user_id: of[0] for user_id, of in waiting.items()})
                settled, changed = _merge_all(waiting, found, tried)
                unsure = await compare_and_swap(
                    database,
                    (
                        Replacement(who, people[who][0], found.get(who, EMPTY_RECORD), after)
                        for who, after in changed.items()
                    ),
                )
            except ConnectionFailure:
                # A primary went away. What it did is seen at the next look.
                if attempt == _ATTEMPTS - 1:
                    raise
                tried |= changed
                continue
            done |= settled
            done |= {user_id: record for user_id, record in changed.items() if user_id not in unsure}
            if not unsure:
                return done
            tried |= changed
            waiting = {user_id: people[user_id] for user_id in unsure}
        raise StoreUnavailable(f"the preferences of {len(waiting)} people kept changing while they were written")

    async def _rows_on(self, shard: int, asked: Sequence[tuple[int, Sequence[str]]]) -> list[dict[str, bytes]]:
        buckets = list({bucket for bucket, _ in asked})
        people = list({user_id for _, user_ids in asked for user_id in user_ids})
        with _answering(self._timeout_s):
            async with self._after_now(shard, buckets) as (collection, session):
                rows = await _rows(collection, {"_id": {"$in": people}, "bucket": {"$in": buckets}}, session)
        return [rows] * len(asked)

    @asynccontextmanager
    async def _after_now(
        self, shard: int, buckets: Sequence[int]
    ) -> AsyncIterator[tuple[AsyncCollection[Document], AsyncClientSession]]:
        """A session whose reads have everything that was durable when this began: its own majority write comes after all of that."""
        client = self._shards.client(shard)
        collection = self._shards.database(shard)[PREFERENCES]
        async with client.start_session(causal_consistency=True) as session:
            touched = buckets if await client.is_mongos else _OF_THE_SHARD
            await _mark(collection, {-1 - bucket * _MARKS - self._mark: bucket for bucket in touched}, session)
            yield collection, session


async def _records(
    collection: AsyncCollection[Document], buckets: Mapping[str, int], session: AsyncClientSession | None = None
) -> dict[str, PreferenceRecord]:
    wanted = {"_id": {"$in": list(buckets)}, "bucket": {"$in": list(set(buckets.values()))}}
    found = await collection.find(wanted, RECORD_FIELDS, session=session, batch_size=len(buckets) + 1).to_list()
    return {document["_id"]: record_of(document) for document in found}


async def _rows(
    collection: AsyncCollection[Document], wanted: Mapping[str, Any], session: AsyncClientSession
) -> dict[str, bytes]:
    found = await collection.find(wanted, {"row": 1}, session=session, batch_size=10_000).to_list()
    return {document["_id"]: document["row"] for document in found}


async def _mark(collection: AsyncCollection[Document], marks: Mapping[int, int], session: AsyncClientSession) -> None:
    """Write marks (id -> bucket). Ids are numbers, so they never are a person's."""
    writes = [UpdateOne({"_id": m, "bucket": b}, {"$inc": {"reads": 1}}, upsert=True) for m, b in marks.items()]
    try:
        await collection.bulk_write(writes, ordered=False, session=session)
    except BulkWriteError as error:
        if any(problem["code"] != DUPLICATE_KEY for problem in error.details["writeErrors"]):
            raise
        # Another process made the mark at the same moment: it is there now.
        await collection.bulk_write(writes, ordered=False, session=session)


def _merge_all(
    waiting: Mapping[str, _Waiting], found: Mapping[str, PreferenceRecord], tried: Mapping[str, PreferenceRecord]
) -> tuple[dict[str, PreferenceRecord], dict[str, PreferenceRecord]]:
    """Records that need no write, and records to be written. One that is what was tried before was written then."""
    settled: dict[str, PreferenceRecord] = {}
    changed: dict[str, PreferenceRecord] = {}
    for user_id, (_, changes) in waiting.items():
        before = found.get(user_id, EMPTY_RECORD)
        after = before if tried and before == tried.get(user_id) else merge(before, changes)
        if after is before:
            settled[user_id] = before
        else:
            changed[user_id] = after
    return settled, changed


@contextmanager
def _answering(timeout_s: float) -> Iterator[None]:
    with mongo_call("the preferences' durable record", timeout_s):
        yield
