"""The documents of erasures: one for each person, in the person's bucket.

``{_id: keyed hash of the user id, bucket, requested_at, user_id, due_at, done: [step], found: {step: count}, first_pass_at, finished_at}``.
`user_id` and `due_at` are there as long as something is to be done. The rest stays without limit: it is the proof, and what keeps the person
erased (`preferences.erased_users`). It has no user id, so it stays in its bucket when the region grows.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from notify_streams import metrics
from notify_streams.errors import StoreUnavailable
from notify_streams.records.person_hash import person_hash
from notify_streams.stores.mongo import ERASURES
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from datetime import datetime

    from notify_streams.stores.mongo import Document, Shards

log = logging.getLogger(__name__)

#: A worker that has not finished then has died, or is slow: another one goes on. Steps may be made twice, but only the worker that took the
#: erasure last says when the next one is due: a second pass that came too early would let messages under way be sent.
_LEASE: Final = timedelta(seconds=120)
_AT_ONCE: Final = 20


@dataclass(frozen=True, slots=True)
class OpenErasure:
    """An erasure with something to do."""

    person: str
    user_id: str
    bucket: int
    requested_at: datetime
    done: frozenset[str]
    #: From then on another worker may take it; as `due_at` of the document it names who took it last.
    taken_until: datetime | None = None


class ErasureStore:
    """Reads and writes these documents. Every method raises `StoreUnavailable` if a shard does not answer."""

    def __init__(self, shards: Shards, key: bytes, timeout_s: float) -> None:
        """`key`: of the hash."""
        self._shards = shards
        self._key = key
        self._timeout_s = timeout_s

    async def open(self, user_id: str, bucket: int, requested_at: datetime) -> None:
        """Begin an erasure. A repeated request changes nothing; a later one begins anew, for example after data were restored."""
        person = person_hash(self._key, user_id)
        begin = {"requested_at": requested_at, "user_id": user_id, "due_at": requested_at, "done": [], "found": {}}
        one = {"_id": person, "bucket": bucket}
        with mongo_call("begin an erasure", self._timeout_s):
            if (place := await self._place(person, bucket)) != bucket:
                await self._move(person, place, bucket)
            collection = self._shards.collection(ERASURES, bucket)
            await collection.update_one(one, {"$setOnInsert": begin}, upsert=True)
            again = one | {"finished_at": {"$exists": True}, "requested_at": {"$lt": requested_at}}
            await collection.update_one(again, {"$set": begin, "$unset": {"first_pass_at": "", "finished_at": ""}})

    async def take_due(self, now: datetime) -> list[OpenErasure]:
        """Erasures that are due. For two minutes no other worker gets them. A document that cannot be read is counted as failed.

        Raises:
            StoreUnavailable: a shard does not answer, and nothing is due on the others.
        """
        found: list[OpenErasure] = []
        silent: StoreUnavailable | None = None
        until = now + _LEASE
        for shard in range(len(self._shards)):
            query = {"bucket": {"$in": self._shards.buckets(shard)}, "due_at": {"$lte": now}}
            try:
                with mongo_call(f"read erasures on shard {shard}", self._timeout_s):
                    collection = self._shards.database(shard)[ERASURES]
                    for one in await collection.find(query).limit(_AT_ONCE).to_list():
                        as_read = {"_id": one["_id"], "bucket": one["bucket"], "due_at": one["due_at"]}
                        taken = await collection.update_one(as_read, {"$set": {"due_at": until}})
                        if taken.matched_count and (opened := open_erasure(one, until)) is not None:
                            found.append(opened)
            except StoreUnavailable as error:
                silent = error
        if silent is not None and not found:
            raise silent
        return found

    async def note(self, one: OpenErasure, step: str, found: int) -> None:
        """Keep how much a step has found, before it removes it: a repetition finds less."""
        await self._update(one, {"$max": {f"found.{step}": found}})

    async def mark_done(self, one: OpenErasure, step: str) -> None:
        await self._update(one, {"$addToSet": {"done": step}})

    async def first_pass_made(self, one: OpenErasure, now: datetime, next_at: datetime) -> None:
        """Nothing is sent to the person any more. The second pass is due at `next_at`."""
        await self._update_taken(one, {"$set": {"first_pass_at": now, "due_at": next_at}})

    async def postpone(self, one: OpenErasure, until: datetime) -> None:
        await self._update_taken(one, {"$set": {"due_at": until}})

    async def finish(self, one: OpenErasure, now: datetime) -> None:
        """The last step: the document itself forgets the person."""
        await self._update_taken(one, {"$set": {"finished_at": now}, "$unset": {"user_id": "", "due_at": ""}})

    async def read(self, user_id: str, bucket: int) -> Document | None:
        """The document of a person; None if no request has arrived here."""
        person = person_hash(self._key, user_id)
        with mongo_call("read an erasure", self._timeout_s):
            place = await self._place(person, bucket)
            return await self._shards.collection(ERASURES, place).find_one({"_id": person, "bucket": place})

    async def _place(self, person: str, bucket: int) -> int:
        """The bucket of the person's document: the present one, or a former one."""
        for former in self._shards.directory.former_buckets(bucket):
            if await self._shards.collection(ERASURES, former).find_one({"_id": person, "bucket": former}, {"_id": 1}):
                return former
        return bucket

    async def _move(self, person: str, place: int, bucket: int) -> None:
        old, target = self._shards.collection(ERASURES, place), self._shards.collection(ERASURES, bucket)
        same = {"_id": person, "bucket": place}
        if self._shards.of(place) == self._shards.of(bucket):
            await old.update_one(same, {"$set": {"bucket": bucket}})
        elif (document := await old.find_one(same)) is not None:
            await target.replace_one({"_id": person, "bucket": bucket}, document | {"bucket": bucket}, upsert=True)
            await old.delete_one(same)

    async def _update_taken(self, one: OpenErasure, update: dict[str, Any]) -> None:
        """Unless another worker has taken it since, which may have ended it."""
        await self._update(one, update, {"due_at": one.taken_until})

    async def _update(self, one: OpenErasure, update: dict[str, Any], condition: Document | None = None) -> None:
        # Unless it was begun anew meanwhile.
        same = {"_id": one.person, "bucket": one.bucket, "requested_at": one.requested_at} | (condition or {})
        with mongo_call("write an erasure", self._timeout_s):
            await self._shards.collection(ERASURES, one.bucket).update_one(same, update)


def open_erasure(document: Document, taken_until: datetime | None = None) -> OpenErasure | None:
    """None if the document cannot be read: then the erasures of all others go on."""
    person = document["_id"]
    try:
        return OpenErasure(
            person,
            document["user_id"],
            document["bucket"],
            document["requested_at"],
            frozenset(document["done"]),
            taken_until,
        )
    except (KeyError, TypeError) as error:
        log.error(
            "the document of an erasure cannot be read",
            extra={"action": "erasure.reject", "person": person, "error": type(error).__name__},
        )
        metrics.ERASURES.labels("failed").inc()
        return None
