"""Which of the two router roles takes a record: a pure function of the record, so that the roles agree without speaking.

A record is critical if its header or its body asks for it and its category allows it. Everything else, what cannot be read included,
is standard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.records.outcomes import DeadReason
from notify_streams.records.trigger import Rejection, Trigger, asks_critical, may_be_critical, read_trigger
from notify_streams.routing.outcome_records import bytes_of

if TYPE_CHECKING:
    from notify_streams.preferences.categories import Categories
    from notify_streams.records.batch import SourceRecord
    from notify_streams.roles import Lane


def read_trigger_for_lane(
    lane: Lane, record: SourceRecord, categories: Categories, limit_bytes: int
) -> Trigger | Rejection | None:
    """The record's trigger, why it is none, or None if the other lane takes it."""
    critical = lane == "critical"
    value, headers = record.value, record.headers
    if critical and not may_be_critical(value, headers):
        return None
    size = bytes_of(record)
    if size > limit_bytes:
        detail = f"key, value and headers have {size} bytes, the limit is {limit_bytes}"
        return None if critical else Rejection(DeadReason.TOO_LARGE, detail)
    found = read_trigger(value, headers)
    if isinstance(found, Rejection):
        return None if critical else found
    category = categories.get(found.category)
    wanted = category is not None and category.critical and asks_critical(found, headers)
    return found if wanted is critical else None
