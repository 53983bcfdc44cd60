"""Erases again what a backup brought back: the erased stay erased.

A backup does not know who was erased after it. So the erasures are kept apart from it: on the topic `user_erasures` of this region (if
its Kafka was kept) and of the others, for a week; and as an erasure log, a file with a line for each erased person that names a keyed
hash only. Persons of the log are found by the hash of every user id that the restored data have.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from notify_streams.admin.audit.topics import TopicReader
from notify_streams.admin.certificate import erasure_key
from notify_streams.erasure.history import pages
from notify_streams.erasure.steps import erasure_runner
from notify_streams.erasure.store import ErasureStore
from notify_streams.errors import Refused
from notify_streams.failpoints import failpoint
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.person_hash import person_hash
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import arrival_ms, read_erasure
from notify_streams.registry.contact_repository import ContactRepository
from notify_streams.registry.users_table import UsersTable
from notify_streams.stores.mongo import CONSENTS, CONTACTS, ERASURES, NOTIFICATIONS, OUTCOMES, PREFERENCES, Shards
from notify_streams.stores.mongo_errors import mongo_call
from notify_streams.topics import USER_ERASURES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Mapping
    from pathlib import Path

    from notify_streams.admin.connections import Connections
    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Document

log = logging.getLogger(__name__)
_LOOK_S: Final = 0.2
#: Where the restored database names a person: collection → field of the user id.
_NAMED_IN: Final = {
    PREFERENCES: "_id",
    CONTACTS: "_id",
    CONSENTS: "user_id",
    NOTIFICATIONS: "user_id",
    OUTCOMES: "user_id",
}


class ErasedPerson(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the erasure log."""

    #: Keyed hash of the user id.
    person: str
    bucket: int
    #: How many buckets the region had.
    partitions: int
    requested_at: datetime

    def buckets(self, partitions: int) -> range:
        """Where the person may be in a region that has grown to so many."""
        return range(self.bucket, partitions, self.partitions)


def read_erasure_log(paths: Iterable[Path], partitions: int) -> dict[str, ErasedPerson]:
    """The persons of these files, by hash.

    Raises:
        Refused: a line is none of an erasure log, or of a region with another number of partitions.
    """
    decode = msgspec.json.Decoder(ErasedPerson).decode
    found: dict[str, ErasedPerson] = {}
    for path in paths:
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            try:
                one = decode(line)
            except msgspec.DecodeError:
                raise Refused(f"{path}:{number}: not a line of `users erased`") from None
            if not 0 <= one.bucket < one.partitions or partitions % one.partitions:
                raise Refused(
                    f"{path}:{number}: bucket {one.bucket} of {one.partitions}, though the region has {partitions} partitions"
                )
            found[one.person] = one
    return found


async def erased_persons(settings: Settings, since: datetime | None) -> list[ErasedPerson]:
    """The erasure log of a region: who was erased, or is about to be; of those that were requested since then, if given.

    Raises:
        StoreUnavailable: a shard does not answer.
    """
    erasure_key(settings)
    async with Shards(settings, serverSelectionTimeoutMS=2_000) as shards:
        await shards.refresh_directory(require_all=True)
        documents = [one async for one in _documents(shards, settings.outbox.transaction_timeout_s)]
    return [
        ErasedPerson(
            person=one["_id"],
            bucket=one["bucket"],
            partitions=settings.partitions,
            requested_at=one["requested_at"],
        )
        for one in documents
        if since is None or one["requested_at"] >= since
    ]


class ErasedAgain:
    """The step of a restore.

    Args:
        logged: the erasure log.
        without: regions whose requests are left out, because they do not answer.
    """

    def __init__(
        self,
        settings: Settings,
        region: Connections,
        logged: Mapping[str, ErasedPerson],
        without: Collection[str],
        *,
        is_kafka_new: bool,
    ) -> None:
        self._settings = settings
        self._region = region
        self._shards = region.shards
        self._logged = logged
        self._key = erasure_key(settings)
        self._timeout_s = settings.outbox.transaction_timeout_s
        self._store = ErasureStore(region.shards, self._key, self._timeout_s)
        self._others = [one for one in settings.remote_kafka if one not in without]
        self._is_kafka_new = is_kafka_new

    async def run(self) -> Document:
        """Make the first pass of each erasure; workers make the second one. Then nothing is sent to these persons.

        Raises:
            StoreUnavailable: a service of this region, or Kafka of another one, does not answer.
        """
        requested = await self._requested()
        documents = {one["_id"]: one async for one in _documents(self._shards, self._timeout_s)}
        registry = UsersTable(self._settings)
        await registry.start()
        try:
            named = {user_id async for user_id in self._named(documents.keys(), registry)}
            now = datetime.now(UTC)
            again = {user_id: self._requested_at(user_id, documents.keys(), now) for user_id in named}
            # What is finished in the database is erased there: only the registry may have to be erased again.
            again |= {
                user_id: at for user_id, at in requested.items() if person_hash(self._key, user_id) not in documents
            }
            for user_id, requested_at in sorted(again.items()):
                await self._store.open(user_id, bucket_of(user_id, self._settings.partitions), requested_at)
            await self._begin_anew(now)
            failpoint("inside_restore_step")
            await self._keep(documents.keys(), named)
            await self._make_first_passes(registry)
        finally:
            await registry.close()
        return {"requested": len(requested), "logged": len(self._logged), "erased_again": len(again)}

    def _requested_at(self, user_id: str, known: Collection[str], now: datetime) -> datetime:
        person = person_hash(self._key, user_id)
        return now if person in known else self._logged[person].requested_at

    async def _requested(self) -> dict[str, datetime]:
        """User ids of the requests that are on topics."""
        found: dict[str, datetime] = {}
        for region in ([] if self._is_kafka_new else [None]) + self._others:
            async with TopicReader(self._settings, region) as topics:
                async for _, record in topics.read([USER_ERASURES]):
                    erasure = read_erasure(record.value, arrival_ms(record, int(datetime.now(UTC).timestamp() * 1000)))
                    if not isinstance(erasure, Rejection):
                        found[erasure.user_id] = erasure.updated_at
        return found

    async def _named(self, known: Collection[str], registry: UsersTable) -> AsyncIterator[str]:
        """The user ids of logged persons that the restored data have.

        The database agrees with its own `erasures`, because both are of one time; the registry need not.
        """
        missing = self._logged.keys() - known
        buckets = {one for person in missing for one in self._logged[person].buckets(self._settings.partitions)}
        for bucket in sorted(buckets):
            for name, name_of in _NAMED_IN.items():
                async for page in pages(self._shards, name, bucket, {}, {name_of: 1}, self._timeout_s):
                    for user_id in {one[name_of] for one in page}:
                        if isinstance(user_id, str) and person_hash(self._key, user_id) in missing:
                            yield user_id
        wanted = {*known, *missing}
        if wanted:
            async for rows in registry.scan():
                for user in rows:
                    if person_hash(self._key, user.user_id) in wanted:
                        yield user.user_id

    async def _begin_anew(self, now: datetime) -> None:
        """Erasures that were under way in the backup: what they had done elsewhere may be undone."""
        for shard in range(len(self._shards)):
            query = {"bucket": {"$in": self._shards.buckets(shard)}, "finished_at": {"$exists": False}}
            anew: Any = {"$set": {"done": [], "due_at": now}, "$unset": {"first_pass_at": ""}}
            with mongo_call(f"begin erasures on shard {shard}", self._timeout_s):
                await self._shards.database(shard)[ERASURES].update_many(query, anew)

    async def _keep(self, known: Collection[str], named: Collection[str]) -> None:
        """The other persons of the log: nothing of them is here, and nothing brings them back."""
        again = {person_hash(self._key, user_id) for user_id in named}
        for one in self._logged.values():
            if one.person in known or one.person in again:
                continue
            kept = {"requested_at": one.requested_at, "done": [], "found": {}, "finished_at": datetime.now(UTC)}
            with mongo_call("keep an erasure", self._timeout_s):
                collection = self._shards.collection(ERASURES, one.bucket)
                await collection.update_one(
                    {"_id": one.person, "bucket": one.bucket}, {"$setOnInsert": kept}, upsert=True
                )

    async def _make_first_passes(self, registry: UsersTable) -> None:
        runner = erasure_runner(
            self._settings,
            self._store,
            registry,
            ContactRepository(self._shards, self._timeout_s),
            self._region.preferences,
            self._shards,
            self._region.producer,
            lambda user_id: False,
        )
        while await self._without_first_pass():
            if not await runner.run_due():
                await asyncio.sleep(_LOOK_S)

    async def _without_first_pass(self) -> int:
        count = 0
        for shard in range(len(self._shards)):
            query: Document = {"bucket": {"$in": self._shards.buckets(shard)}}
            query |= {"finished_at": {"$exists": False}, "first_pass_at": {"$exists": False}}
            with mongo_call(f"read erasures on shard {shard}", self._timeout_s):
                count += await self._shards.database(shard)[ERASURES].count_documents(query)
        return count


async def _documents(shards: Shards, timeout_s: float) -> AsyncIterator[Document]:
    for bucket in shards.all_buckets():
        async for page in pages(shards, ERASURES, bucket, {}, {"bucket": 1, "requested_at": 1}, timeout_s):
            for one in page:
                yield one
