"""What follows a receipt that says failed: another attempt, or the next channel.

Another attempt is a timer, as of an operator's replay: the bucket's owner counts it when it begins, so the ledger stays closed. The next
channel is a trigger of the same system with an id made of the first one's: it goes the whole way, and a second one is a duplicate. It is
published as events are, so a topic that takes nothing holds no receipts up.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from notify_streams import metrics
from notify_streams.delivery.attempt_reader import AttemptReader, last_provider
from notify_streams.delivery.attempts import Attempt, Phase, Rank, attempt_document, delivery_key
from notify_streams.delivery.retry_delay import RETRY_DELAYS
from notify_streams.delivery.timers import arm_unless_there, new_timer, record_bytes
from notify_streams.errors import RetryLater
from notify_streams.preferences.categories import OnFailedReceipt
from notify_streams.records.channel_message import ChannelMessage
from notify_streams.records.ids import new_flush_id, split_delivery_id
from notify_streams.records.names import MAX_LENGTH
from notify_streams.records.trigger import NO_DATA
from notify_streams.roles import CHANNELS, Channel, channel_named, channel_topic, lane_of
from notify_streams.stores.command_parts import command_parts
from notify_streams.stores.mongo import ATTEMPTS, OUTBOX, TIMERS, by_shard, run_transaction, write_in_session
from notify_streams.stores.mongo_errors import mongo_call
from notify_streams.tracing.trace_context import TRACEPARENT

if TYPE_CHECKING:
    from pymongo.asynchronous.client_session import AsyncClientSession

    from notify_streams.delivery.attempts import DeliveryStatus
    from notify_streams.delivery.event_outbox import EventOutbox
    from notify_streams.delivery.receipts import Receipt
    from notify_streams.preferences.categories import Categories, Category
    from notify_streams.records.batch import OutboxRecord
    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Document, Shards

log = logging.getLogger(__name__)

#: A call that is not settled after so long has no worker any more: its next owner decides. One that is parked then is repeated by its timer.
_SETTLED_S: Final = 10.0
#: Receipts whose wait is remembered.
_MAX_WAITING: Final = 10_000
_CLOCK_AGE_S: Final = 1.0
#: Of a trigger's key and headers, at most about.
_OVERHEAD_BYTES: Final = 1_024
#: `next_trigger_id`.
_FOLLOW_UP: Final = re.compile(r"(.*)~([a-z+]+)~([a-z]+)", re.DOTALL)


class NotSettled(RetryLater):
    """A receipt is about a call that its worker has not settled yet, or that is parked."""


class MessagePlace(NamedTuple):
    """Where Kafka has the message of a delivery."""

    topic: str
    #: The notification's bucket, then those before the region grew: its message may be in the partition of any.
    buckets: tuple[int, ...]
    decided_at: datetime


class _Failure(NamedTuple):
    notification: Document
    receipt: Receipt
    key: bytes
    channel: Channel
    #: Number of the last attempt.
    number: int = 0
    #: Of the last call.
    provider: str | None = None

    @property
    def topic(self) -> str:
        return channel_topic(self.channel, self.notification["critical"])


class FailedReceipts:
    """Begins what follows."""

    def __init__(
        self,
        settings: Settings,
        shards: Shards,
        categories: Categories,
        find: Callable[[Mapping[str, MessagePlace]], Awaitable[dict[str, ChannelMessage]]],
        outbox: EventOutbox,
        settled_s: float = _SETTLED_S,
    ) -> None:
        """
        Args:
            find: the messages of deliveries that Kafka still has.
            outbox: publishes triggers.
            settled_s: so long a receipt waits for the end of its call.
        """
        self._settings = settings
        self._shards = shards
        self._categories = categories
        self._find = find
        self._outbox = outbox
        self._timeout_s = settings.outbox.transaction_timeout_s
        self._reader = AttemptReader(shards, self._timeout_s)
        self._clocks = shards.clocks
        self._settled_s = settled_s
        #: Delivery and attempt → since when its receipt waits (monotonic).
        self._waiting: dict[tuple[str, int], float] = {}

    async def follow(self, failed: Sequence[tuple[Document, Receipt]]) -> None:
        """These receipts are stored, each with its notification. A repetition changes nothing.

        Raises:
            NotSettled, StoreUnavailable: call again.
        """
        wanted = [one for one in failed if follow_up(self._categories.get(one[0]["category"]), one[1]) is not None]
        if not wanted:
            return
        failures = {one.receipt.delivery_id: one for one in await self._ended(wanted)}
        messages = await self._find({identity: self._place(one) for identity, one in failures.items()})
        now = datetime.now(UTC)
        again: dict[int, list[tuple[_Failure, ChannelMessage]]] = {}
        triggers: list[OutboxRecord] = []
        for identity, message in messages.items():
            one = failures[identity]
            category = self._categories[one.notification["category"]]
            if message.expires_at is not None and message.expires_at <= now:
                continue
            if follow_up(category, one.receipt) is OnFailedReceipt.RETRY:
                again.setdefault(self._shards.of(one.notification["bucket"]), []).append((one, message))
            elif (trigger := self._trigger(one, message, category)) is not None:
                triggers.append(trigger)
        for shard, some in again.items():
            await self._try_again(shard, some)
        for mine in by_shard(self._shards, triggers, _bucket).values():
            for part in command_parts(mine, _packed_bytes):
                await self._store(part)
                metrics.RECEIPT_FOLLOW_UPS.labels("next_channel").inc(len(part))

    async def _store(self, triggers: Sequence[OutboxRecord]) -> None:
        """Store an outbox row with triggers of one shard. A repetition stores another one."""
        rows = self._outbox.rows_of(new_flush_id(), triggers)
        with mongo_call("store triggers for the next channel", self._timeout_s):
            await self._shards.collection(OUTBOX, rows[0].bucket).insert_one(rows[0].document)
        self._outbox.committed(rows)

    def _place(self, one: _Failure) -> MessagePlace:
        bucket = one.notification["bucket"]
        buckets = (bucket, *self._shards.directory.former_buckets(bucket))
        return MessagePlace(one.topic, buckets, one.notification["decided_at"])

    async def _ended(self, wanted: Sequence[tuple[Document, Receipt]]) -> list[_Failure]:
        """Those deliveries that this receipt has ended."""
        by_bucket: dict[int, list[_Failure]] = {}
        for notification, receipt in wanted:
            channel = channel_named(split_delivery_id(receipt.delivery_id)[1])
            assert channel is not None, "a stored receipt is for a delivery"
            key = delivery_key(receipt.delivery_id, notification["decided_at"].timestamp())
            by_bucket.setdefault(notification["bucket"], []).append(_Failure(notification, receipt, key, channel))
        found: list[_Failure] = []
        for bucket, failures in by_bucket.items():
            statuses = await self._reader.status(bucket, [one.key for one in failures])
            for one in failures:
                status = statuses.get(one.key)
                number = one.receipt.attempt or (0 if status is None else status.attempts)
                if status is None or _is_open(status, number):
                    if self._waits(one.receipt, self._clocks.earlier_now(self._shards.of(bucket))):
                        raise NotSettled("a receipt is about a call that is not settled yet")
                elif status.last.rank == Rank.FAILED_BY_RECEIPT:
                    found.append(one._replace(number=status.attempts, provider=last_provider(status)))
        return found

    def _waits(self, receipt: Receipt, now: datetime) -> bool:
        """Whether the call may be settled soon. The clock that dated the receipt may be ahead of ours by any time.

        `now`: by the earlier one of two clocks: with one that is ahead nothing would follow a receipt that is quicker than its call.
        """
        now_s = time.monotonic()
        key = receipt.delivery_id, receipt.attempt
        if key not in self._waiting and len(self._waiting) >= _MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
        began_s = self._waiting.setdefault(key, now_s)
        return (now - receipt.at).total_seconds() < self._settled_s and now_s - began_s < self._settled_s

    async def _try_again(self, shard: int, failures: Sequence[tuple[_Failure, ChannelMessage]]) -> None:
        """Append what makes the deliveries `retrying`, and add their timers, in one transaction."""
        await self._clocks.read(shard, _CLOCK_AGE_S)
        from_ms = self._clocks.latest_ms(shard)
        retries = [self._retry(one, from_ms) for one in failures]
        documents = {document["_id"]: (document, timer) for document, timer in retries}
        buckets = sorted({document["bucket"] for document, _ in documents.values()})
        added = 0

        async def body(session: AsyncClientSession) -> None:
            nonlocal added
            database = self._shards.database(shard)
            query = {"_id": {"$in": list(documents)}, "bucket": {"$in": buckets}}
            known = {one["_id"] async for one in database[ATTEMPTS].find(query, {"_id": 1}, session=session)}
            new = [one for identity, one in documents.items() if identity not in known]
            added = len(new)
            if new:
                await write_in_session(session, database, "insert", ATTEMPTS, documents=[one for one, _ in new])
                for timers in command_parts([arm_unless_there(timer) for _, timer in new], record_bytes):
                    await write_in_session(session, database, "update", TIMERS, updates=timers)

        with mongo_call(f"add timers on shard {shard}", self._timeout_s):
            await run_transaction(self._shards.client(shard), body)
        metrics.RECEIPT_FOLLOW_UPS.labels("retry").inc(added)

    def _retry(self, failed: tuple[_Failure, ChannelMessage], from_ms: int) -> tuple[Document, Document]:
        """The attempt document and the timer. The person may have the message after all.

        So the call is a possible duplicate, and is made at the same provider.
        """
        one, message = failed
        topic, bucket = one.topic, one.notification["bucket"]
        now_ms = int(time.time() * 1000)
        attempt = Attempt(
            Rank.RETRYING_BY_RECEIPT, now_ms, None, one.receipt.provider, code=one.receipt.code, in_doubt=True
        )
        document = attempt_document(one.key, bucket, one.number, Phase.RECEIPT, b"again", attempt)
        delay = RETRY_DELAYS[lane_of(topic), one.channel].paced(self._settings.providers.retry_pace)
        due_ms = from_ms + int(delay.delay_s(max(1, one.number), random.random()) * 1000)
        record = msgspec.json.encode(message)
        return document, new_timer(
            one.key, bucket, topic, due_ms, one.number, True, record, provider=one.provider, replay=True
        )

    def _trigger(self, one: _Failure, message: ChannelMessage, category: Category) -> OutboxRecord | None:
        notification = one.notification
        system: str = notification["system"]
        if system not in self._settings.trigger_systems:
            return None
        first_id, tried = tried_channels(message.trigger_id)
        tried = tried | notification["deliveries"].keys()
        channel = next_channel(category, one.channel, tried)
        if channel is None:
            return None
        source = notification.get("source")
        headers = [("ce_source", source.encode())] if source else []
        if message.traceparent:
            headers.append((TRACEPARENT, message.traceparent.encode()))
        value = next_trigger(message, next_trigger_id(first_id, tried, channel), channel)
        return f"triggers.{system}", notification["bucket"], message.user_id.encode(), value, headers


def _bucket(record: OutboxRecord) -> int:
    return record[1]


def _packed_bytes(record: OutboxRecord) -> int:
    """Of a record in an outbox row, about: its value, and key and headers."""
    return len(record[3]) + _OVERHEAD_BYTES


def _is_open(status: DeliveryStatus, number: int) -> bool:
    """Whether this call is not settled, or is parked: then its answer may still say that it was accepted.

    Not after a later attempt: what that one leads to counts, not the receipt.
    """
    call = status.calls.get(number)
    if call is None or call.ended is None:
        return True
    return call.ended.rank == Rank.RETRYING and number == status.attempts


def follow_up(category: Category | None, receipt: Receipt) -> OnFailedReceipt | None:
    """What the category asks for; None if nothing follows. A failure for good is not tried again."""
    if category is None or category.on_failed_receipt is OnFailedReceipt.END:
        return None
    if category.on_failed_receipt is OnFailedReceipt.RETRY and not receipt.temporary:
        return None
    return category.on_failed_receipt


def next_channel(category: Category, failed: Channel, tried: Collection[str]) -> Channel | None:
    """The first channel after `failed`, in the category's order, that was not tried."""
    order = list(category.channels)
    after = order[order.index(failed) + 1 :] if failed in order else []
    return next((channel for channel in after if channel not in tried), None)


def next_trigger_id(first_id: str, tried: Collection[str], channel: str) -> str:
    """``<first id>~<channels tried>~<channel>``: the same for each repetition; a digest in place of an id that is too long."""
    suffix = f"~{'+'.join(sorted(tried))}~{channel}"
    if len(first_id) + len(suffix) > MAX_LENGTH:
        first_id = blake2b(first_id.encode(), digest_size=16).hexdigest()
    return first_id + suffix


def tried_channels(trigger_id: str) -> tuple[str, frozenset[str]]:
    """The first id, and the channels that were tried for it: of a trigger that this system did not make, the id and none."""
    found = _FOLLOW_UP.fullmatch(trigger_id)
    if found is None or not {*found[2].split("+"), found[3]} <= {*CHANNELS}:
        return trigger_id, frozenset()
    return found[1], frozenset((*found[2].split("+"), found[3]))


def next_trigger(message: ChannelMessage, trigger_id: str, channel: str) -> bytes:
    """The trigger for the next channel: the same content and expiry."""
    fields: dict[str, Any] = {
        "id": trigger_id,
        "user_id": message.user_id,
        "category": message.category,
        "channels": [channel],
        "isCritical": message.critical,
        "template": message.template,
        "title": message.title,
        "body": message.body,
        "data": None if message.data is NO_DATA or not message.data else message.data,
        "expires_at": message.expires_at,
        "collapse_key": message.collapse_key,
        "test": message.test,
    }
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})
