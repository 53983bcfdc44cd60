"""Users' contacts in MongoDB: the durable record, one document a user."""

from __future__ import annotations

from datetime import datetime, timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from notify_streams.records.devices import stored_devices, without_last_seen
from notify_streams.records.user_records import MAX_CLOCK_SKEW, ContactRow, Contacts, push_fields
from notify_streams.stores.mongo import CONTACTS, by_shard, next_of_bucket
from notify_streams.stores.mongo_errors import is_duplicate_key, mongo_call

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pymongo.asynchronous.collection import AsyncCollection

    from notify_streams.stores.mongo import Document, Shards

#: A contacts record with its user's bucket.
BucketedContacts = tuple[int, Contacts]
_FIELDS: Final = ("push", "sms", "email", "locale", "time_zone")


class StoredContacts(msgspec.Struct, frozen=True, gc=False):
    """A user's contacts, and how often they were written."""

    contacts: Contacts
    version: int

    def row(self) -> bytes:
        """The row of the table `contacts`."""
        found = self.contacts
        devices = None if found.devices is None else without_last_seen(found.devices)
        row = ContactRow(self.version, found.push, found.sms, found.email, found.locale, found.time_zone, devices)
        return msgspec.json.encode(row)


class ContactRepository:
    """Reads and writes contacts. Every method raises `StoreUnavailable` if a shard does not answer within `timeout_s`."""

    def __init__(self, shards: Shards, timeout_s: float = 5.0) -> None:
        self._shards = shards
        self._timeout_s = timeout_s

    async def apply(self, records: Iterable[BucketedContacts]) -> dict[str, StoredContacts]:
        """Write the newest record of each user, unless the stored one is newer; of two with one time the later one wins. Then remove addresses.

        Returns what is stored afterwards, by user id. It is durable (majority, journalled). Applying the same records again is safe.
        """
        newest: dict[str, BucketedContacts] = {}
        removals: list[BucketedContacts] = []
        for bucket, contacts in records:
            if contacts.remove is not None:
                removals.append((bucket, contacts))
                continue
            held = newest.get(contacts.user_id)
            if held is None or held[1].updated_at <= contacts.updated_at:
                newest[contacts.user_id] = bucket, contacts
        stored: dict[str, StoredContacts] = {}
        for shard, entries in by_shard(self._shards, (*newest.values(), *removals), itemgetter(0)).items():
            with mongo_call("contacts", self._timeout_s):
                collection = self._shards.database(shard)[CONTACTS]
                if updates := [_update(*entry) for entry in entries if entry[1].remove is None]:
                    await _write(collection, updates)
                if updates := [update for entry in entries for update in _removals(*entry)]:
                    await collection.bulk_write(updates, ordered=False)
            stored |= await self._find(shard, {contacts.user_id: bucket for bucket, contacts in entries})
        return stored

    async def read(self, buckets: Mapping[str, int]) -> dict[str, Contacts]:
        """The contacts of the users (user id → bucket) that have a record, by user id."""
        found: dict[str, Contacts] = {}
        for shard, wanted in by_shard(self._shards, buckets.items(), itemgetter(1)).items():
            stored = await self._find(shard, dict(wanted))
            found |= {user_id: one.contacts for user_id, one in stored.items()}
        return found

    async def rows(self, bucket: int, user_ids: Sequence[str]) -> dict[str, bytes]:
        """The rows of the users that have a record, by user id."""
        found = await self._find(self._shards.of(bucket), dict.fromkeys(user_ids, bucket))
        return {user_id: stored.row() for user_id, stored in found.items()}

    async def rows_after(self, bucket: int, user_id: str, limit: int) -> dict[str, bytes]:
        """The next rows of a bucket in the order of user ids; empty after the last one."""
        with mongo_call("contacts", self._timeout_s):
            found = await next_of_bucket(self._shards.collection(CONTACTS, bucket), bucket, user_id, limit)
        return {document["_id"]: _stored(document).row() for document in found}

    async def delete(self, bucket: int, user_id: str) -> None:
        """Delete a user's record; none is the same."""
        with mongo_call("contacts", self._timeout_s):
            await self._shards.collection(CONTACTS, bucket).delete_one({"_id": user_id, "bucket": bucket})

    async def _find(self, shard: int, buckets: Mapping[str, int]) -> dict[str, StoredContacts]:
        wanted = {"_id": {"$in": [*buckets]}, "bucket": {"$in": list(set(buckets.values()))}}
        with mongo_call("contacts", self._timeout_s):
            found = await self._shards.database(shard)[CONTACTS].find(wanted, batch_size=len(buckets) + 1).to_list()
        return {document["_id"]: _stored(document) for document in found}


async def _write(collection: AsyncCollection[Document], updates: Sequence[UpdateOne]) -> None:
    try:
        await collection.bulk_write(updates, ordered=False)
    except BulkWriteError as error:
        if not is_duplicate_key(error):
            raise
        # Another worker inserted a document at the same time: now it is found. The others may be written again.
        await collection.bulk_write(updates, ordered=False)


def _update(bucket: int, contacts: Contacts) -> UpdateOne:
    """A pipeline, so that comparison and write are one step. `$literal`: a contact may begin with a dollar sign."""
    document = {"_id": contacts.user_id, "bucket": bucket, "updated_at": contacts.updated_at, **_values(contacts)}
    version = {"version": {"$add": [{"$ifNull": ["$version", 0]}, 1]}}
    credible = {"$lte": ["$updated_at", {"$add": ["$$NOW", MAX_CLOCK_SKEW // timedelta(milliseconds=1)]}]}
    newer = {"$and": [{"$gt": ["$updated_at", {"$literal": contacts.updated_at}]}, credible]}
    replaced = {"$cond": [newer, "$$ROOT", {"$mergeObjects": [{"$literal": document}, version]}]}
    return UpdateOne({"_id": contacts.user_id, "bucket": bucket}, [{"$replaceWith": replaced}], upsert=True)


def _removals(bucket: int, contacts: Contacts) -> Iterator[UpdateOne]:
    """A push address is removed wherever it is: as `push`, or as one of `devices`."""
    held = {"_id": contacts.user_id, "bucket": bucket, "updated_at": {"$lte": contacts.updated_at}}
    counted = {"$inc": {"version": 1}}
    for channel, address in (contacts.remove or {}).items():
        yield UpdateOne(held | {channel: address}, {"$unset": {channel: ""}, **counted})
        if channel == "push":
            yield UpdateOne(held | {"devices.token": address}, {"$pull": {"devices": {"token": address}}, **counted})


def _values(contacts: Contacts) -> dict[str, Any]:
    values = {name: value for name in _FIELDS if (value := getattr(contacts, name)) is not None}
    if contacts.devices is not None:
        values["devices"] = msgspec.to_builtins(contacts.devices, builtin_types=(datetime,))
    return values


def _stored(document: Document) -> StoredContacts:
    values = {name: document.get(name) for name in _FIELDS}
    if "devices" in document:
        values |= push_fields(stored_devices(document["devices"]))
    return StoredContacts(Contacts(document["_id"], document["updated_at"], **values), document["version"])
