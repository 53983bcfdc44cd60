"""Gives the documents of one shard their buckets after a growth.

Each count is a multiple of the one before, so the people of a bucket go to it or to new buckets, and a new bucket begins on its shard: a
document never leaves its shard, only its field `bucket` changes. Attempts have no user id: they follow their notification, before it. What
has none any more, because the person was erased, stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pymongo import UpdateMany

from notify_streams.delivery.attempts import delivery_key, key_range
from notify_streams.failpoints import failpoint
from notify_streams.records.ids import delivery_id
from notify_streams.records.partitioner import bucket_of
from notify_streams.stores.mongo import ATTEMPTS, CONSENTS, CONTACTS, ERASURES, NOTIFICATIONS, OUTCOMES, PREFERENCES
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pymongo.asynchronous.collection import AsyncCollection

    from notify_streams.admin.growth.log import GrowthLog
    from notify_streams.stores.mongo import Document, Shards

#: Collection → the field with the user id.
USER_FIELDS: Final = {
    CONTACTS: "_id",
    PREFERENCES: "_id",
    CONSENTS: "user_id",
    ERASURES: "user_id",
    NOTIFICATIONS: "user_id",
    OUTCOMES: "user_id",
}
_AT_ONCE: Final = 2_000
#: Of one statement.
_RANGES: Final = 200
#: Of one command, each with the ranges of up to 200 deliveries: 48 MB is MongoDB's limit for a message.
_STATEMENTS: Final = 500


class BucketSplit:
    """Where the people of a bucket go."""

    def __init__(self, before: int, to: int) -> None:
        """`to` is a multiple of `before`."""
        self.before = before
        self.to = to

    def new_bucket(self, user_id: str, bucket: int) -> int | None:
        """The user's new bucket; None if what lies in `bucket` stays: it is the user's bucket after the growth, or it names no user."""
        new = bucket_of(user_id, self.to)
        return new if new != bucket and new % self.before == bucket else None


class DocumentSplit:
    """Changes the buckets of one shard's documents; may be repeated, and goes on where it was interrupted."""

    def __init__(self, shards: Shards, shard: int, split: BucketSplit, log: GrowthLog, timeout_s: float) -> None:
        self._shards = shards
        self._shard = shard
        self._split = split
        self._log = log
        self._timeout_s = timeout_s

    async def run(self, name: str, on_progress: Callable[[str, int, int], None]) -> None:
        """All documents of a collection. `on_progress` gets the collection, how many were read and how many have another bucket.

        Raises:
            StoreUnavailable: the shard does not answer.
        """
        after = await self._log.position(self._shard, name)
        fields = dict.fromkeys(("bucket", USER_FIELDS[name], "decided_at", "deliveries"), 1)
        while True:
            with mongo_call(f"read {name} on shard {self._shard}", self._timeout_s):
                # Texts only: the numbers are marks of preference readers.
                found = self._collection(name).find({"_id": {"$gt": after}}, fields, batch_size=_AT_ONCE)
                page = await found.sort("_id", 1).limit(_AT_ONCE).to_list()
            if not page:
                return
            moved = await self._move(name, page)
            after = page[-1]["_id"]
            failpoint("inside_growth_documents")
            await self._log.move_position(self._shard, name, after)
            on_progress(name, len(page), moved)

    async def _move(self, name: str, page: Sequence[Document]) -> int:
        places: dict[tuple[int, int], list[Document]] = {}
        for document in page:
            user_id = document.get(USER_FIELDS[name])
            bucket = document["bucket"]
            if user_id is not None and (new := self._split.new_bucket(user_id, bucket)) is not None:
                places.setdefault((bucket, new), []).append(document)
        if name == NOTIFICATIONS:
            await self._write(ATTEMPTS, [one for place, some in places.items() for one in _of_attempts(*place, some)])
        await self._write(
            name,
            [_change(*place, {"_id": {"$in": [one["_id"] for one in some]}}) for place, some in places.items()],
        )
        return sum(map(len, places.values()))

    async def _write(self, name: str, statements: Sequence[UpdateMany]) -> None:
        for first in range(0, len(statements), _STATEMENTS):
            with mongo_call(f"write {name} on shard {self._shard}", self._timeout_s):
                await self._collection(name).bulk_write(statements[first : first + _STATEMENTS], ordered=False)

    def _collection(self, name: str) -> AsyncCollection[Document]:
        return self._shards.database(self._shard)[name]


def _change(bucket: int, new: int, documents: Document) -> UpdateMany:
    return UpdateMany({"bucket": bucket} | documents, {"$set": {"bucket": new}})


def _of_attempts(bucket: int, new: int, notifications: Sequence[Document]) -> Iterator[UpdateMany]:
    keys = [
        delivery_key(delivery_id(one["_id"], channel), one["decided_at"].timestamp())
        for one in notifications
        for channel in one["deliveries"]
    ]
    for first in range(0, len(keys), _RANGES):
        yield _change(bucket, new, {"$or": [{"_id": key_range(key)} for key in keys[first : first + _RANGES]]})
