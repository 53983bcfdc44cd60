"""The metadata that is sent with each message, on every protocol."""

from __future__ import annotations

from notify_streams.delivery.providers.provider import Outgoing


def delivery_metadata(message: Outgoing) -> dict[str, str]:
    """Name → text. `possible_duplicate` and `critical` are "1" or absent."""
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
    return found
