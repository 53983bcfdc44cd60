"""Appends providers' receipts to the histories of deliveries."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from pymongo import UpdateOne

from notify_streams import metrics, tasks
from notify_streams.delivery.attempts import Attempt, Phase, Rank, attempt_document, delivery_key
from notify_streams.errors import PermanentFailure, RetryLater, StoreUnavailable, UnknownFailure
from notify_streams.records.ids import new_flush_id, split_delivery_id
from notify_streams.records.notification_event import delivery_event, event_state
from notify_streams.records.origin import first_entry
from notify_streams.records.outcomes import DeadReason, DeliveryState, Reason
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import arrival_ms, record_decoder
from notify_streams.roles import CHANNELS
from notify_streams.stores.mongo import ATTEMPTS, NOTIFICATIONS, OUTBOX, run_transaction, write_in_session
from notify_streams.stores.mongo_errors import are_writes_blocked, mongo_call
from notify_streams.topics import event_topic
from notify_streams.tracing.trace_context import TRACEPARENT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from pymongo.asynchronous.client_session import AsyncClientSession

    from notify_streams.delivery.event_outbox import EventOutbox
    from notify_streams.outbox.flush_plan import OutboxRow
    from notify_streams.records.batch import Batch, OutboxRecord, SourceRecord
    from notify_streams.stores.mongo import Document, Shards

log = logging.getLogger(__name__)

#: A provider's name or code.
_Word = Annotated[str, msgspec.Meta(pattern=r"^[ -~]{1,64}\Z")]


class Receipt(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A provider's report about an accepted message, written to `receipts` by the role `webhooks`."""

    delivery_id: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    state: Literal["delivered", "failed"]
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    #: Number of the attempt that it is about; 0: not known.
    attempt: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)] = 0
    provider: _Word | None = None
    #: The provider's error code.
    code: _Word | None = None
    #: Why it failed; default: `provider_rejected`. `complaint`, of what was delivered: the person marked it as spam.
    reason: Literal["provider_rejected", "dead_token", "bounced", "stopped", "complaint"] | None = None
    #: Another attempt may succeed.
    temporary: bool = False


read_receipt = record_decoder(Receipt)

#: What is read of a notification.
_FIELDS: Final = (
    "bucket",
    "decided_at",
    "entered_at",
    "copy",
    "deliveries",
    "system",
    "source",
    "trigger_id",
    "user_id",
    "category",
    "critical",
    TRACEPARENT,
)
_RANKS: Final = {"delivered": Rank.DELIVERED, "failed": Rank.FAILED_BY_RECEIPT}
#: Receipts that are stored with their events in one transaction. An outbox row then has at most about a megabyte.
_AT_ONCE: Final = 500


@dataclass(slots=True)
class ReceiptProgress:
    """What was done for a batch before a shard did not answer, so that a repetition does not do it again."""

    #: Receipts that are stored.
    written: set[Receipt] = field(default_factory=set)


class ReceiptWriter:
    """Applies receipts to notifications."""

    def __init__(
        self,
        shards: Shards,
        timeout_s: float,
        event_systems: Collection[str],
        events: EventOutbox,
        on_mail: Callable[[str, str | None], None],
        on_failed: Callable[[Sequence[tuple[Document, Receipt]]], Awaitable[None]],
        on_stored: Callable[[Sequence[tuple[Document, Receipt]], int], Awaitable[None]] | None = None,
    ) -> None:
        """Writes to all shards.

        Args:
            events: publishes the events of `event_systems`.
            on_mail: gets category and reason of each new receipt for a mail.
            on_failed: gets the receipts that say failed, once they are stored, with their notifications.
            on_stored: gets each new receipt with its notification, and when it was begun with (`ReceiptSpans.add`); None while tracing
                is off.
        """
        self._on_stored = on_stored
        self._shards = shards
        self._timeout_s = timeout_s
        self._event_systems = event_systems
        self._events = events
        self._on_mail = on_mail
        self._on_failed = on_failed

    async def apply(self, batch: Batch, progress: ReceiptProgress) -> list[tuple[SourceRecord, Rejection]]:
        """Append each receipt to its delivery, also before the worker has settled the call: the order does not matter.

        A receipt may lie in any partition: a webhook knows the delivery id only. Those of a shard that does not answer hold up no other
        of the batch.

        Args:
            progress: the same for each repetition.

        Returns:
            The records that are refused, and why.

        Raises:
            StoreUnavailable: apply the batch again; receipts that were applied change nothing.
        """
        refused: list[tuple[SourceRecord, Rejection]] = []
        receipts: list[Receipt] = []
        now_ms = int(time.time() * 1000)
        for record in batch.records:
            receipt = read_receipt(record.value, arrival_ms(record, now_ms))
            if isinstance(receipt, Receipt) and split_delivery_id(receipt.delivery_id)[1] not in CHANNELS:
                receipt = Rejection(DeadReason.INVALID, "`delivery_id` does not end in a channel")
            if isinstance(receipt, Rejection):
                refused.append((record, receipt))
            elif receipt not in progress.written:
                receipts.append(receipt)
        await self._write(receipts, self._shards.of(batch.partition), progress)
        return refused

    async def _write(self, receipts: Sequence[Receipt], first_shard: int, progress: ReceiptProgress) -> None:
        """Look for the notifications on `first_shard`, then on the others."""
        missing = {split_delivery_id(receipt.delivery_id)[0] for receipt in receipts}
        failed: RetryLater | None = None
        for shard in sorted(range(len(self._shards)), key=lambda shard: shard != first_shard):
            if not missing:
                return
            try:
                found = await self._write_on(shard, receipts, missing)
            except RetryLater as error:
                # That a shard does not answer comes before an error that could be about a record: none becomes a dead letter for it.
                if failed is None or isinstance(failed, UnknownFailure | PermanentFailure):
                    failed = error
            else:
                missing -= found
                progress.written.update(one for one in receipts if split_delivery_id(one.delivery_id)[0] in found)
        if failed is not None and missing:
            raise failed
        metrics.UNKNOWN_RECEIPTS.inc(len(missing))

    async def _write_on(self, shard: int, receipts: Sequence[Receipt], missing: Collection[str]) -> set[str]:
        """Append the receipts of the `missing` notifications that the shard has; returns their ids."""
        began_ns = time.time_ns()
        with mongo_call(f"receipts on shard {shard}", self._timeout_s):
            database = self._shards.database(shard)
            wanted = {"_id": {"$in": list(missing)}, "bucket": {"$in": self._shards.buckets(shard)}}
            fields = dict.fromkeys(_FIELDS, 1)
            found = {one["_id"]: one async for one in database[NOTIFICATIONS].find(wanted, fields)}
        known = [
            (notification, receipt)
            for receipt in receipts
            for notification_id, channel in [split_delivery_id(receipt.delivery_id)]
            if (notification := found.get(notification_id)) is not None
            and notification["deliveries"].get(channel, {}).get("state") == DeliveryState.QUEUED
        ]
        with_events = [one for one in known if one[0]["system"] in self._event_systems]
        if without := [one for one in known if one[0]["system"] not in self._event_systems]:
            await self._stored(await self._append(shard, without), began_ns)
        for at in range(0, len(with_events), _AT_ONCE):
            await self._write_with_events(shard, with_events[at : at + _AT_ONCE], began_ns)
        await self._on_failed([one for one in known if one[1].state == "failed"])
        return set(found)

    async def _append(self, shard: int, known: Sequence[tuple[Document, Receipt]]) -> list[tuple[Document, Receipt]]:
        """Store receipts whose systems have no events; returns those that are new."""
        with mongo_call(f"append receipts on shard {shard}", self._timeout_s):
            updates = [_insert_unless_there(_document(*one)) for one in known]
            done = await self._shards.database(shard)[ATTEMPTS].bulk_write(updates, ordered=False)
        return [known[index] for index in done.upserted_ids or ()]

    async def _write_with_events(self, shard: int, known: Sequence[tuple[Document, Receipt]], began_ns: int) -> None:
        """`_append_with_events`; bucket by bucket while one of them is being moved."""
        buckets: dict[int, list[tuple[Document, Receipt]]] = {}
        for one in known:
            buckets.setdefault(one[0]["bucket"], []).append(one)
        try:
            await self._stored(await self._append_with_events(shard, known), began_ns)
        except StoreUnavailable as error:
            if len(buckets) == 1 or not are_writes_blocked(error):
                raise
            await tasks.all_ended(self._write_with_events(shard, some, began_ns) for some in buckets.values())

    async def _append_with_events(
        self, shard: int, known: Sequence[tuple[Document, Receipt]]
    ) -> list[tuple[Document, Receipt]]:
        """Store receipts and, in the same transaction, the events of those that are new; returns these.

        So each stored receipt has one event, whatever crashes, and no topic that takes nothing holds receipts up.
        """
        found: dict[bytes, tuple[Document, tuple[Document, Receipt]]] = {}
        for one in known:
            document = _document(*one)
            found.setdefault(document["_id"], (document, one))
        query = {"_id": {"$in": list(found)}, "bucket": {"$in": sorted({one["bucket"] for one, _ in found.values()})}}
        new: list[tuple[Document, Receipt]] = []
        rows: list[OutboxRow] = []

        async def body(session: AsyncClientSession) -> None:
            nonlocal new, rows
            database = self._shards.database(shard)
            stored = {one["_id"] async for one in database[ATTEMPTS].find(query, {"_id": 1}, session=session)}
            left = [one for identity, one in found.items() if identity not in stored]
            new = [one for _, one in left]
            rows = self._events.rows_of(new_flush_id(), [_event(*one) for one in new])
            if left:
                documents = [document for document, _ in left]
                await write_in_session(session, database, "insert", ATTEMPTS, documents=documents)
                await write_in_session(session, database, "insert", OUTBOX, documents=[rows[0].document])

        with mongo_call(f"append receipts with events on shard {shard}", self._timeout_s):
            await run_transaction(self._shards.client(shard), body)
        self._events.committed(rows)
        return new

    async def _stored(self, new: Sequence[tuple[Document, Receipt]], began_ns: int) -> None:
        """Trace and count receipts that were not stored before."""
        if self._on_stored is not None:
            await self._on_stored(new, began_ns)
        for notification, receipt in new:
            channel = split_delivery_id(receipt.delivery_id)[1]
            if receipt.state == "delivered":
                lane = "critical" if notification["critical"] else "standard"
                waited_s = (receipt.at - first_entry(notification)).total_seconds()
                metrics.TO_DELIVERED.labels(lane, channel).observe(max(0.0, waited_s))
            if channel == "email":
                self._on_mail(notification["category"], _reason(receipt))


def _event(notification: Document, receipt: Receipt) -> OutboxRecord:
    _, channel = split_delivery_id(receipt.delivery_id)
    event = delivery_event(
        notification["_id"],
        notification["trigger_id"],
        notification["user_id"],
        notification["category"],
        channel,
        event_state(receipt.state, _reason(receipt)),
        _reason(receipt),
        receipt.at,
        receipt.attempt,
    )
    key = notification["user_id"].encode()
    return event_topic(notification["system"]), notification["bucket"], key, event, ()


def _reason(receipt: Receipt) -> str | None:
    if receipt.state == "failed":
        return receipt.reason or Reason.PROVIDER_REJECTED.value
    return receipt.reason if receipt.reason == Reason.COMPLAINT.value else None


def _document(notification: Document, receipt: Receipt) -> Document:
    """The attempt document; that of a repetition has the same `_id`."""
    attempt = Attempt(
        _RANKS[receipt.state],
        int(receipt.at.timestamp() * 1000),
        _reason(receipt),
        receipt.provider,
        code=receipt.code,
    )
    return attempt_document(
        delivery_key(receipt.delivery_id, notification["decided_at"].timestamp()),
        notification["bucket"],
        receipt.attempt,
        Phase.RECEIPT,
        event_state(receipt.state, _reason(receipt)).encode(),
        attempt,
    )


def _insert_unless_there(document: Document) -> UpdateOne:
    return UpdateOne(
        {"_id": document["_id"], "bucket": document["bucket"]}, {"$setOnInsert": {"p": document["p"]}}, upsert=True
    )
