"""Headers that say what a record was copied from, and when it first entered."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notify_streams.records.batch import SourceRecord

#: Names the record that a published one was copied from, `topic:partition:offset`: copies of one record can be counted once.
SOURCE_HEADER: Final = "source"
#: When a copied trigger entered its first topic: milliseconds since the epoch, in decimal digits.
ORIGIN_HEADER: Final = "origin_ms"
#: Names the dead letter that a record was sent again from, `partition:offset`.
REPLAYED_HEADER: Final = "replayed"
_MAX_ORIGIN_DIGITS: Final = 15
#: The end of the year 9999, the last that can be stored and read as a date.
_LAST_MS: Final = 253_402_300_799_999
_MAX_UNDER_WAY_MS: Final = 7 * 24 * 3600 * 1000
_PLACE: Final = re.compile(rb"[A-Za-z0-9._-]{1,249}:\d{1,10}:\d{1,19}")
_DEAD_LETTER_PLACE: Final = re.compile(rb"\d{1,10}:\d{1,19}")


def entered_ms(record: SourceRecord) -> int:
    """When Kafka took the record: milliseconds since the epoch, 1970 to 9999. In a topic with `CreateTime` a client may have chosen it."""
    return min(max(record.timestamp, 0), _LAST_MS)


def origin_ms(record: SourceRecord) -> int:
    """When the trigger entered the first topic: milliseconds since the epoch. A client may have written the header, so it is bounded."""
    entered = entered_ms(record)
    for name, content in record.headers or ():
        if name == ORIGIN_HEADER and content and len(content) <= _MAX_ORIGIN_DIGITS and content.isdigit():
            return max(min(int(content), entered), entered - _MAX_UNDER_WAY_MS, 0)
    return entered


def origin_fields(record: SourceRecord) -> dict[str, Any]:
    """What is stored of a copy: ``copied_from``, ``origin_at``, ``replayed_from``; empty for a record that is none.

    A client may write these headers too, so what has not their form is left out.
    """
    if not record.headers:
        return {}
    fields: dict[str, Any] = {}
    for name, content in record.headers:
        if name == SOURCE_HEADER and content and _PLACE.fullmatch(content):
            fields["copied_from"] = content.decode()
            fields["origin_at"] = datetime.fromtimestamp(origin_ms(record) / 1000, UTC)
        elif name == REPLAYED_HEADER and content and _DEAD_LETTER_PLACE.fullmatch(content):
            fields["replayed_from"] = content.decode()
    return fields


def first_entry(notification: Mapping[str, Any]) -> datetime:
    """When the trigger of a notification's document entered its first topic, in whichever region, by Kafka's time.

    A document of an earlier release has no such time: then the time of the decision.
    """
    found: datetime = (
        notification.get("copy", {}).get("origin_at") or notification.get("entered_at") or notification["decided_at"]
    )
    return found
