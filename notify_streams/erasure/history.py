"""Steps for what was or is to be sent: notifications, attempts, timers.

What counts stays, so ledgers and audit agree as before: a notification keeps its id, its deliveries and their states, and names a keyed
hash instead of the user.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec
from pymongo import UpdateOne

from notify_streams.delivery.attempt_reader import AttemptReader
from notify_streams.delivery.attempts import (
    Attempt,
    Phase,
    attempt_document,
    delivery_key,
    pack,
    unpack,
)
from notify_streams.delivery.call_outcomes import ended_without_call
from notify_streams.delivery.delivery_ledger import RESOLVED, DeliveryLedger
from notify_streams.delivery.event_outbox import EventOutbox
from notify_streams.delivery.provider_ids import PROVIDER_KEY
from notify_streams.delivery.settlement import Answer, SettlementStore
from notify_streams.delivery.timers import drop_unclaimed
from notify_streams.errors import RetryLater
from notify_streams.preferences.consents import ids_of
from notify_streams.records.channel_message import read_channel_message
from notify_streams.records.ids import delivery_id
from notify_streams.records.outcomes import Reason
from notify_streams.roles import CHANNEL_ROLES
from notify_streams.stores.mongo import ATTEMPTS, CONSENTS, NOTIFICATIONS, OUTBOX, OUTCOMES, TIMERS
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from notify_streams.erasure.runner import Note
    from notify_streams.erasure.store import OpenErasure
    from notify_streams.records.batch import Producer
    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Document, Shards

_PAGE: Final = 1_000
#: In place of a worker's token in the id of an attempt.
_OWNER: Final = b"era"


class History:
    """The steps; see `runner.Step`."""

    def __init__(self, settings: Settings, shards: Shards, producer: Producer) -> None:
        self._settings = settings
        self._shards = shards
        self._producer = producer
        self._timeout_s = settings.outbox.transaction_timeout_s
        self._reader = AttemptReader(shards, self._timeout_s)

    async def timers(self, one: OpenErasure, note: Note) -> None:
        """End each delivery that waits for an attempt as suppressed, and count it so. The worker that owns the bucket publishes its event.

        Raises:
            RetryLater: a worker makes an attempt: look again when it has ended.
        """
        found = [timer async for timer in timers_of(self._shards, one.bucket, one.user_id, self._timeout_s)]
        await note(len(found))
        for timer in found:
            if timer["claim"] is None:
                await self._end(one, timer)
        if waits := sum(timer["claim"] is not None for timer in found):
            raise RetryLater(f"{waits} deliveries to the person are being attempted")

    async def outbox(self, one: OpenErasure, note: Note) -> None:
        """Wait until the rows that hold a message of the person are published and deleted, which takes less than a second.

        Raises:
            RetryLater: there are some.
        """
        with mongo_call("read outbox rows", self._timeout_s):
            for shard in range(len(self._shards)):
                # The row of a flush's events lies in the bucket of the first.
                rows: Document = {"bucket": {"$in": self._shards.buckets(shard)}}
                rows["$or"] = [{"bucket": one.bucket}, {"parts": {"$exists": True}}]
                fields = {"records": 1, "parts.records": 1}
                async for row in self._shards.database(shard)[OUTBOX].find(rows, fields):
                    if any(names(part["records"], one.user_id) for part in row.get("parts", (row,))):
                        raise RetryLater("a message or event of the person is not published yet")

    async def consents(self, one: OpenErasure, note: Note) -> None:
        """What the person chose, and when and how, stays as a proof under the keyed hash."""
        with mongo_call("consents", self._timeout_s):
            collection = self._shards.collection(CONSENTS, one.bucket)
            query = {"bucket": one.bucket, "_id": ids_of(one.user_id), "user_id": one.user_id}
            async for choice in collection.find(query, batch_size=_PAGE):
                version = choice["_id"].rpartition(":")[2]
                kept = choice | {"_id": f"{one.person}:{version}", "user_id": one.person}
                same = {"_id": kept["_id"], "bucket": one.bucket}
                await collection.replace_one(same, kept, upsert=True)
                await collection.delete_one({"_id": choice["_id"], "bucket": one.bucket})
            kept_query = {"bucket": one.bucket, "_id": ids_of(one.person)}
            await note(await collection.count_documents(kept_query))

    async def notifications(self, one: OpenErasure, note: Note) -> None:
        """All of 90 days are read once, because there is no index by person: it would cost each trigger, and this is rare."""
        found = 0
        async for page in notification_pages(self._shards, one.bucket, (one.user_id, one.person), self._timeout_s):
            found += len(page)
            named = [document for document in page if document["user_id"] == one.user_id]
            await self._strip_attempts(one.bucket, named)
            ids = [document["_id"] for document in named]
            with mongo_call("write notifications", self._timeout_s):
                await self._shards.collection(NOTIFICATIONS, one.bucket).update_many(
                    {"bucket": one.bucket, "_id": {"$in": ids}}, {"$set": {"user_id": one.person}}
                )
        await note(found)

    async def outcomes(self, one: OpenErasure, note: Note) -> None:
        """Delete the notes of triggers that became no notification. They may be in any bucket, because a dead letter stays where it was."""
        deleted = 0
        with mongo_call("delete outcomes", self._timeout_s):
            for shard in range(len(self._shards)):
                query = {"user_id": one.user_id, "bucket": {"$in": self._shards.buckets(shard)}}
                deleted += (await self._shards.database(shard)[OUTCOMES].delete_many(query)).deleted_count
        await note(deleted)

    async def _strip_attempts(self, bucket: int, notifications: Sequence[Document]) -> None:
        """Remove the providers' ids of messages, the masked addresses and the hashes of devices: with a provider's log they would lead to
        the person."""
        keys = [key for one in notifications for key in delivery_keys(one)]
        writes = []
        for document in await self._reader.documents(bucket, keys):
            attempt = unpack(document["p"])
            if (attempt.provider_id, attempt.devices, attempt.to) != (None, None, None):
                stripped = msgspec.structs.replace(attempt, provider_id=None, devices=None, to=None)
                same = {"_id": document["_id"], "bucket": bucket}
                writes.append(UpdateOne(same, {"$set": {"p": pack(stripped)}, "$unset": {PROVIDER_KEY: ""}}))
        if writes:
            with mongo_call("write attempts", self._timeout_s):
                await self._shards.collection(ATTEMPTS, bucket).bulk_write(writes, ordered=False)

    async def _end(self, one: OpenErasure, timer: Document) -> None:
        key, role, number = timer["_id"], timer["role"], timer["attempt"]
        if timer["replay"]:  # counted only when its attempt begins
            unclaimed = drop_unclaimed(key, one.bucket, number)
            with mongo_call("delete a timer", self._timeout_s):
                await self._shards.collection(TIMERS, one.bucket).delete_one(unclaimed["q"])
            return
        message = read_channel_message(timer["record"])
        rank, reason, code = ended_without_call(message, Reason.ERASED)
        attempt = Attempt(rank, int(time.time() * 1000), reason, code=code, in_doubt=timer["in_doubt"])
        document = attempt_document(key, one.bucket, number + 1, Phase.CALL, _OWNER, attempt)
        events = EventOutbox(role, self._settings, self._shards, self._producer)
        event = events.event_of(message, one.bucket, attempt, number + 1)
        ledger = DeliveryLedger(self._shards, role, self._timeout_s)
        store = SettlementStore(self._shards, self._shards.of(one.bucket), ledger, self._timeout_s)
        end = Answer(key, number, document, RESOLVED[attempt.state])
        await store.resolve(one.bucket, [end], events.rows_of_ends([event]))


def names(records: bytes, user_id: str) -> bool:
    """Whether packed records of an outbox row have this user id as a key, or as a text in JSON. Within a longer id it is none."""
    return msgspec.msgpack.encode(user_id.encode()) in records or msgspec.json.encode(user_id) in records


def delivery_keys(notification: Document) -> list[bytes]:
    """The keys of a notification's deliveries."""
    decided_s = notification["decided_at"].timestamp()
    return [
        delivery_key(delivery_id(notification["_id"], channel), decided_s) for channel in notification["deliveries"]
    ]


async def notification_pages(
    shards: Shards, bucket: int, user_ids: Collection[str], timeout_s: float
) -> AsyncIterator[list[Document]]:
    """The notifications of these users of one bucket, in pages.

    Raises:
        StoreUnavailable: the shard does not answer.
    """
    async for page in pages(shards, NOTIFICATIONS, bucket, {}, {"user_id": 1}, timeout_s):
        ids = [one["_id"] for one in page if one["user_id"] in user_ids]
        if ids:
            with mongo_call("read notifications", timeout_s):
                found = shards.collection(NOTIFICATIONS, bucket).find({"bucket": bucket, "_id": {"$in": ids}})
                documents = await found.to_list()
            yield documents


async def timers_of(shards: Shards, bucket: int, user_id: str, timeout_s: float) -> AsyncIterator[Document]:
    """The deliveries of a person that wait for an attempt. A trigger that waits for its user is none, and does so for some seconds only.

    Raises:
        StoreUnavailable: the shard does not answer.
    """
    quoted = msgspec.json.encode(user_id)
    async for page in pages(shards, TIMERS, bucket, {"role": {"$in": CHANNEL_ROLES}}, None, timeout_s):
        for timer in page:
            # Decoding each would take ten times as long.
            if quoted in timer["record"] and read_channel_message(timer["record"]).user_id == user_id:
                yield timer


async def pages(
    shards: Shards, name: str, bucket: int, query: Document, fields: Document | None, timeout_s: float
) -> AsyncIterator[list[Document]]:
    """The documents of one bucket that match `query`, in the order of their ids. Each page is one command.

    Raises:
        StoreUnavailable: the shard does not answer.
    """
    after: Document = {}
    while True:
        with mongo_call(f"read {name}", timeout_s):
            found = shards.collection(name, bucket).find(
                {"bucket": bucket} | query | after, fields, batch_size=_PAGE + 1
            )
            page = await found.sort("_id", 1).limit(_PAGE).to_list()
        if not page:
            return
        yield page
        after = {"_id": {"$gt": page[-1]["_id"]}}
