"""The metadata that is sent with each message, on every protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from notify_streams.delivery.providers.provider import Outgoing
from notify_streams.records.names import MARK_PREFIX

_MAX_DIGITS = 6
_DELIVERY_ID = f"{MARK_PREFIX}delivery_id"
_NOTIFICATION_ID = f"{MARK_PREFIX}notification_id"
_ATTEMPT = f"{MARK_PREFIX}attempt"
_POSSIBLE_DUPLICATE = f"{MARK_PREFIX}possible_duplicate"
_CRITICAL = f"{MARK_PREFIX}critical"
_DECIDED_AT = f"{MARK_PREFIX}decided_at"
_REGION = f"{MARK_PREFIX}region"
_BUCKET = f"{MARK_PREFIX}bucket"


def delivery_metadata(message: Outgoing) -> dict[str, str]:
    """Name → text. Every name begins with `MARK_PREFIX`, which no application's data may use.

    `notify_possible_duplicate` and `notify_critical` are "1" or absent. `notify_region` and `notify_bucket` are the way of a receipt.
    """
    found = {
        _DELIVERY_ID: message.delivery_id,
        _NOTIFICATION_ID: message.notification_id,
        _ATTEMPT: str(message.attempt),
    }
    if message.possible_duplicate:
        found[_POSSIBLE_DUPLICATE] = "1"
    if message.critical:
        found[_CRITICAL] = "1"
    if message.decided_at_ms is not None:
        found[_DECIDED_AT] = str(message.decided_at_ms)
    if message.region is not None and message.bucket is not None:
        found[_REGION] = message.region
        found[_BUCKET] = str(message.bucket)
    return found


def with_trace(headers: Mapping[str, str], message: Outgoing) -> Mapping[str, str]:
    """The headers of a request, with the `traceparent` that the message may have."""
    return headers if message.traceparent is None else {**headers, "traceparent": message.traceparent}


class Marks(NamedTuple):
    """What a provider's report must have of the delivery metadata."""

    delivery_id: str
    attempt: int
    region: str
    bucket: int


def read_marks(metadata: Mapping[str, str]) -> Marks | None:
    """The marks in delivery metadata that came back; None if one is missing or is none that we wrote."""
    found = {name: metadata.get(MARK_PREFIX + name, "") for name in Marks._fields}
    numbers = [found["attempt"], found["bucket"]]
    if not all(found.values()) or not all(one.isdecimal() and len(one) <= _MAX_DIGITS for one in numbers):
        return None
    return Marks(found["delivery_id"], int(found["attempt"]), found["region"], int(found["bucket"]))
