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
from notify_streams.records.outcomes import DeliveryState, Reason
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import arrival_ms, record_decoder
from notify_streams.roles import CHANNELS
from notify_streams.stores.mongo import NOTIFICATIONS
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from notify_streams.records.batch import Batch
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

    async def apply(self, batch: Batch) -> None:
        """Move deliveries from ``sending`` or ``sent`` to ``delivered`` or ``failed``; other deliveries stay unchanged.

        Raises:
            StoreUnavailable: apply the batch again; receipts that were applied change nothing.
        """
        updates = []
        now_ms = int(time.time() * 1000)
        for record in batch.records:
            receipt = read_receipt(record.value, arrival_ms(record, now_ms))
            if isinstance(receipt, Rejection):
                metrics.REJECTED_RECORDS.labels(batch.topic, receipt.reason.value).inc()
                continue
            update = _update(batch.partition, receipt)
            if update is None:
                metrics.REJECTED_RECORDS.labels(batch.topic, "invalid").inc()
                continue
            updates.append(update)
        if not updates:
            return
        with mongo_call(f"receipts in bucket {batch.partition}", self._timeout_s):
            collection = self._shards.collection(NOTIFICATIONS, batch.partition)
            await collection.bulk_write(updates, ordered=False)


def _update(bucket: int, receipt: Receipt) -> UpdateOne | None:
    """None for an unknown channel."""
    notification, channel = split_delivery_id(receipt.delivery_id)
    if channel not in CHANNELS:
        return None
    field = f"deliveries.{channel}"
    fields: dict[str, Any] = {f"{field}.state": receipt.state, f"{field}.at": receipt.at}
    if receipt.state == "failed":
        fields[f"{field}.reason"] = Reason.PROVIDER_REJECTED.value
    return UpdateOne(
        {"bucket": bucket, "_id": notification, f"{field}.state": {"$in": _FROM_STATES}},
        # Removes the claim, so that a worker that still owns the delivery neither calls again nor overwrites this state.
        {"$set": fields, "$unset": {f"{field}.claim": ""}},
    )
