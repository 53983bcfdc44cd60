"""The metadata that is sent with each message, on every protocol."""

from __future__ import annotations

from notify_streams.delivery.providers.provider import Outgoing
from notify_streams.records.names import MARK_PREFIX


def delivery_metadata(message: Outgoing) -> dict[str, str]:
    """Name → text. Every name begins with `MARK_PREFIX`, which no application's data may use.

    `notify_possible_duplicate` and `notify_critical` are "1" or absent. `notify_region` and `notify_bucket` are the way of a receipt.
    """
    found = {
        "delivery_id": message.delivery_id,
        "notification_id": message.notification_id,
        "attempt": str(message.attempt),
    }
    if message.possible_duplicate:
        found["possible_duplicate"] = "1"
    if message.critical:
        found["critical"] = "1"
    if message.decided_at_ms is not None:
        found["decided_at"] = str(message.decided_at_ms)
    if message.region is not None and message.bucket is not None:
        found |= {"region": message.region, "bucket": str(message.bucket)}
    return {MARK_PREFIX + name: text for name, text in found.items()}
