"""Appends providers' receipts to the histories of deliveries."""

from __future__ import annotations

import logging
import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from pymongo import UpdateOne

from notify_streams import metrics
from notify_streams.delivery.attempts import Attempt, Phase, Rank, attempt_document, delivery_key
from notify_streams.records.ids import split_delivery_id
from notify_streams.records.outcomes import DeadReason, DeliveryState, Reason
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import arrival_ms, record_decoder
from notify_streams.roles import CHANNELS
from notify_streams.stores.mongo import ATTEMPTS, NOTIFICATIONS
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.records.batch import Batch, SourceRecord
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
    #: Why it failed; default: `provider_rejected`.
    reason: Literal["provider_rejected", "dead_token", "bounced", "stopped"] | None = None
    #: Another attempt may succeed.
    temporary: bool = False


read_receipt = record_decoder(Receipt)

_RANKS: Final = {"delivered": Rank.DELIVERED, "failed": Rank.FAILED_BY_RECEIPT}


class ReceiptWriter:
    """Applies receipts to notifications."""

    def __init__(self, shards: Shards, timeout_s: float) -> None:
        self._shards = shards
        self._timeout_s = timeout_s

    async def apply(self, batch: Batch) -> list[tuple[SourceRecord, Rejection]]:
        """Append each receipt to its delivery, also before the worker has settled the call: the order does not matter.

        A receipt may lie in any partition: a webhook knows the delivery id only.

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
            else:
                receipts.append(receipt)
        await self._write(receipts, self._shards.of(batch.partition))
        return refused

    async def _write(self, receipts: Sequence[Receipt], first_shard: int) -> None:
        """Look for the notifications on `first_shard`, then on the others."""
        missing = {split_delivery_id(receipt.delivery_id)[0] for receipt in receipts}
        for shard in sorted(range(len(self._shards)), key=lambda shard: shard != first_shard):
            if not missing:
                return
            with mongo_call(f"receipts on shard {shard}", self._timeout_s):
                database = self._shards.database(shard)
                wanted = {"_id": {"$in": list(missing)}, "bucket": {"$in": self._shards.buckets(shard)}}
                fields = {"bucket": 1, "decided_at": 1, "deliveries": 1}
                found = {one["_id"]: one async for one in database[NOTIFICATIONS].find(wanted, fields)}
                updates = [
                    _append(notification, receipt)
                    for receipt in receipts
                    for notification_id, channel in [split_delivery_id(receipt.delivery_id)]
                    if (notification := found.get(notification_id)) is not None
                    and notification["deliveries"].get(channel, {}).get("state") == DeliveryState.QUEUED
                ]
                if updates:
                    await database[ATTEMPTS].bulk_write(updates, ordered=False)
            missing -= found.keys()
        metrics.UNKNOWN_RECEIPTS.inc(len(missing))


def _append(notification: Document, receipt: Receipt) -> UpdateOne:
    """A repetition finds the same `_id` and changes nothing."""
    decided_at_ms = int(notification["decided_at"].timestamp() * 1000)
    reason = (receipt.reason or Reason.PROVIDER_REJECTED.value) if receipt.state == "failed" else None
    attempt = Attempt(
        _RANKS[receipt.state], int(receipt.at.timestamp() * 1000), reason, receipt.provider, code=receipt.code
    )
    document = attempt_document(
        delivery_key(receipt.delivery_id, decided_at_ms),
        notification["bucket"],
        receipt.attempt,
        Phase.RECEIPT,
        receipt.state.encode(),
        attempt,
    )
    return UpdateOne(
        {"_id": document["_id"], "bucket": document["bucket"]}, {"$setOnInsert": {"p": document["p"]}}, upsert=True
    )
