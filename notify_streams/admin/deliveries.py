"""Finds deliveries by how they ended, and makes another attempt for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams.admin.channel_messages import channel_messages
from notify_streams.delivery.attempt_reader import (
    AttemptReader,
    last_provider,
    may_have_been_accepted,
    status_fields,
)
from notify_streams.delivery.attempts import delivery_key, fold, key_range
from notify_streams.delivery.failed_receipts import MessagePlace
from notify_streams.delivery.timers import arm_unless_there, new_timer, record_bytes
from notify_streams.errors import Refused
from notify_streams.records.ids import delivery_id, split_delivery_id
from notify_streams.roles import channel_topic
from notify_streams.stores.command_parts import command_parts
from notify_streams.stores.mongo import ATTEMPTS, NOTIFICATIONS, TIMERS, run_transaction, write_in_session
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence

    from pymongo.asynchronous.client_session import AsyncClientSession

    from notify_streams.delivery.attempts import DeliveryStatus
    from notify_streams.records.channel_message import ChannelMessage
    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Document, Shards

_AT_ONCE: Final = 500
_CLOCK_AGE_S: Final = 1.0
#: Of one transaction.
_TIMERS_AT_ONCE: Final = 100
_OPEN: Final = frozenset(("queued", "retrying"))
_SENT: Final = frozenset(("sent", "delivered"))


@dataclass(frozen=True, slots=True)
class FoundDelivery:
    """One delivery as it ended, or as it is now."""

    id: str
    topic: str
    bucket: int
    category: str
    decided_at: datetime
    state: str
    reason: str | None
    provider: str | None
    code: str | None
    attempts: int
    #: A call was accepted, or may have been: another one is marked as a possible duplicate.
    in_doubt: bool
    #: Of the last call.
    last_provider: str | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which deliveries; None selects all."""

    ids: Collection[str] | None = None
    state: str | None = None
    reason: str | None = None
    provider: str | None = None
    category: str | None = None
    since: datetime | None = None

    def query(self, buckets: Sequence[int]) -> Document:
        """Selects the notifications that may have such deliveries."""
        found: Document = {"bucket": {"$in": buckets}}
        if self.ids is not None:
            # Without it, all that the region has would be read for one delivery.
            found["_id"] = {"$in": sorted({split_delivery_id(one)[0] for one in self.ids})}
        if self.category is not None:
            found["category"] = self.category
        if self.since is not None:
            found["decided_at"] = {"$gte": self.since}
        return found

    def selects(self, delivery: FoundDelivery) -> bool:
        return (
            (self.ids is None or delivery.id in self.ids)
            and self.state in (None, delivery.state)
            and self.reason in (None, delivery.reason)
            and self.provider in (None, delivery.provider)
        )


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What may be replayed."""

    #: Also what was sent: the person may get it twice.
    again: bool = False
    #: Expired messages expire so many seconds after the replay.
    expires_s: float | None = None


async def find_deliveries(settings: Settings, shards: Shards, selection: Selection) -> AsyncIterator[FoundDelivery]:
    """The selected deliveries of the notifications that are kept.

    Raises:
        StoreUnavailable: a shard does not answer.
    """
    reader = AttemptReader(shards, settings.outbox.transaction_timeout_s)
    for shard in range(len(shards)):
        query = selection.query(shards.buckets(shard))
        chunk: list[Document] = []
        with mongo_call(f"find deliveries on shard {shard}"):
            async for document in shards.database(shard)[NOTIFICATIONS].find(query):
                chunk.append(document)
                if len(chunk) == _AT_ONCE:
                    for found in await _with_status(reader, chunk, selection):
                        yield found
                    chunk = []
        for found in await _with_status(reader, chunk, selection):
            yield found


async def _with_status(
    reader: AttemptReader, documents: Sequence[Document], selection: Selection
) -> list[FoundDelivery]:
    statuses = await reader.add_status(documents)
    found = [
        FoundDelivery(
            identity,
            channel_topic(channel, one["critical"]),
            one["bucket"],
            one["category"],
            one["decided_at"],
            delivery["state"],
            delivery.get("reason"),
            delivery.get("provider"),
            delivery.get("code"),
            delivery["attempts"],
            status is not None and may_have_been_accepted(status),
            None if status is None else last_provider(status),
        )
        for one in documents
        for channel, delivery in one["deliveries"].items()
        for identity in [delivery_id(one["_id"], channel)]
        for status in [statuses.get(identity)]
    ]
    return [delivery for delivery in found if selection.selects(delivery)]


async def replay_deliveries(
    settings: Settings,
    shards: Shards,
    deliveries: Sequence[FoundDelivery],
    options: ReplayOptions,
    *,
    dry_run: bool,
    find: Callable[[Settings, Mapping[str, MessagePlace]], Awaitable[dict[str, ChannelMessage]]] = channel_messages,
) -> dict[str, list[str]]:
    """Make another attempt for each of these deliveries, from its message in Kafka. Choices and expiry are checked again.

    Args:
        find: the messages of deliveries that Kafka still has.

    Returns:
        Delivery ids by what was done: ``replayed``, ``open`` (has not ended), ``not_queued`` (it never had a message), ``gone`` (Kafka
        does not have its message any more), ``expired``, ``changed`` (an attempt or a receipt has come since it was found).

    Raises:
        Refused: one was sent, and `ReplayOptions.again` is not set; nothing was done.
        StoreUnavailable: a service does not answer; call again.
    """
    sent = [one.id for one in deliveries if one.state in _SENT]
    if sent and not options.again:
        raise Refused(f"{sent[0]} was sent, so its receiver may get it twice: add --again to replay it")
    done: dict[str, list[str]] = {name: [] for name in ("replayed", "open", "not_queued", "gone", "expired", "changed")}
    wanted: dict[str, FoundDelivery] = {}
    for one in deliveries:
        if one.state in _OPEN:
            done["open"].append(one.id)
        elif not one.attempts:
            done["not_queued"].append(one.id)
        else:
            wanted[one.id] = one
    former = shards.directory.former_buckets
    places = {
        one.id: MessagePlace(one.topic, (one.bucket, *former(one.bucket)), one.decided_at) for one in wanted.values()
    }
    messages = await find(settings, places)
    done["gone"] = sorted(wanted.keys() - messages.keys())
    now = datetime.now(UTC)
    by_bucket: dict[int, list[tuple[FoundDelivery, ChannelMessage]]] = {}
    for identity, message in messages.items():
        if message.expires_at is not None and message.expires_at <= now:
            if options.expires_s is None:
                done["expired"].append(identity)
                continue
            message = msgspec.structs.replace(message, expires_at=now + timedelta(seconds=options.expires_s))
        by_bucket.setdefault(wanted[identity].bucket, []).append((wanted[identity], message))
    timers = _Timers(settings, shards)
    for bucket, replays in by_bucket.items():
        for first in range(0, len(replays), _TIMERS_AT_ONCE):
            some = replays[first : first + _TIMERS_AT_ONCE]
            changed = set() if dry_run else await timers.add(bucket, some)
            for one, _ in some:
                done["changed" if one.id in changed else "replayed"].append(one.id)
    return done


class _Timers:
    """Adds the timers of replays."""

    def __init__(self, settings: Settings, shards: Shards) -> None:
        self._shards = shards
        self._timeout_s = settings.outbox.transaction_timeout_s
        self._clocks = shards.clocks

    async def add(self, bucket: int, replays: Sequence[tuple[FoundDelivery, ChannelMessage]]) -> set[str]:
        """Add the timers of deliveries of one bucket; one that is there stays.

        Their attempts are read in the same transaction: between the search and now is the reading of Kafka, and another call of the
        command may have made the attempt meanwhile. A second one would not be marked.

        Returns:
            The deliveries that have changed since they were found, and get no timer.
        """
        shard = self._shards.of(bucket)
        await self._clocks.read(shard, _CLOCK_AGE_S)
        due_ms = self._clocks.latest_ms(shard)
        keys = {one.id: delivery_key(one.id, message.decided_at.timestamp()) for one, message in replays}
        ranges = [{"_id": key_range(key)} for key in keys.values()]
        changed: set[str] = set()

        async def body(session: AsyncClientSession) -> None:
            database = self._shards.database(shard)
            attempts = database[ATTEMPTS].find({"bucket": bucket, "$or": ranges}, session=session)
            statuses = fold(await attempts.to_list())
            changed.clear()
            changed.update(one.id for one, _ in replays if not _is_as_found(one, statuses.get(keys[one.id])))
            updates = [
                arm_unless_there(_timer(keys[one.id], one, message, due_ms))
                for one, message in replays
                if one.id not in changed
            ]
            for part in command_parts(updates, record_bytes):
                await write_in_session(session, database, "update", TIMERS, updates=part)

        with mongo_call(f"add timers in bucket {bucket}", self._timeout_s):
            await run_transaction(self._shards.client(shard), body)
        return changed


def _is_as_found(delivery: FoundDelivery, status: DeliveryStatus | None) -> bool:
    return (
        status is not None and status.attempts == delivery.attempts and status_fields(status)["state"] == delivery.state
    )


def _timer(key: bytes, delivery: FoundDelivery, message: ChannelMessage, due_ms: int) -> Document:
    # A repetition of what was accepted, or may have been, is marked for the receiver, and excused by the audit. It stays with its
    # provider. Of what was not accepted for certain the operator has mended the cause: it begins with the first provider again.
    return new_timer(
        key,
        delivery.bucket,
        delivery.topic,
        due_ms,
        delivery.attempts,
        delivery.in_doubt,
        msgspec.json.encode(message),
        provider=delivery.last_provider if delivery.in_doubt else None,
        replay=True,
    )
