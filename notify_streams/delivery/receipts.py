"""Applies providers' receipts to the states of deliveries."""

from __future__ import annotations

import logging
import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from pymongo import UpdateOne

from notify_streams import metrics
from notify_streams.records.ids import split_delivery_id
from notify_streams.records.outcomes import DeadReason, DeliveryState, Reason
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import arrival_ms, record_decoder
from notify_streams.roles import CHANNELS
from notify_streams.stores.mongo import NOTIFICATIONS
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.records.batch import Batch, SourceRecord
    from notify_streams.stores.mongo import Shards

log = logging.getLogger(__name__)


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """A provider's report about an accepted message, written to `receipts` by its webhook."""

    delivery_id: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    state: Literal["delivered", "failed"]
    at: Annotated[datetime, msgspec.Meta(tz=True)]


read_receipt = record_decoder(Receipt)

#: ``sending`` too, because a receipt can arrive before the worker has written ``sent``.
_FROM_STATES: Final = [DeliveryState.SENDING.value, DeliveryState.SENT.value]


class ReceiptWriter:
    """Applies receipts to notifications."""

    def __init__(self, shards: Shards, timeout_s: float) -> None:
        self._shards = shards
        self._timeout_s = timeout_s

    async def apply(self, batch: Batch) -> list[tuple[SourceRecord, Rejection]]:
        """Move deliveries from ``sending`` or ``sent`` to ``delivered`` or ``failed``; other deliveries stay unchanged.

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
                collection = self._shards.database(shard)[NOTIFICATIONS]
                wanted = {"_id": {"$in": list(missing)}, "bucket": {"$in": self._shards.buckets(shard)}}
                found = {one["_id"]: one["bucket"] async for one in collection.find(wanted, {"bucket": 1})}
                updates = [
                    _update(found[notification], notification, channel, receipt)
                    for receipt in receipts
                    for notification, channel in [split_delivery_id(receipt.delivery_id)]
                    if notification in found
                ]
                if updates:
                    await collection.bulk_write(updates, ordered=False)
            missing -= found.keys()
        metrics.UNKNOWN_RECEIPTS.inc(len(missing))


def _update(bucket: int, notification: str, channel: str, receipt: Receipt) -> UpdateOne:
    field = f"deliveries.{channel}"
    fields: dict[str, Any] = {f"{field}.state": receipt.state, f"{field}.at": receipt.at}
    if receipt.state == "failed":
        fields[f"{field}.reason"] = Reason.PROVIDER_REJECTED.value
    return UpdateOne(
        {"bucket": bucket, "_id": notification, f"{field}.state": {"$in": _FROM_STATES}},
        # Removes the claim, so that a worker that still owns the delivery neither calls again nor overwrites this state.
        {"$set": fields, "$unset": {f"{field}.claim": ""}},
    )
