"""Which router role handles a record: a pure function of the record.

A record is critical if its header or its body asks for it and its category allows it and is open to the system that sent it. All others
are standard, invalid ones included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams.records.batch import record_size
from notify_streams.records.outcomes import DeadReason
from notify_streams.records.trigger import Rejection, Trigger, asks_critical, may_be_critical, read_trigger

if TYPE_CHECKING:
    from notify_streams.preferences.categories import Categories
    from notify_streams.records.batch import SourceRecord
    from notify_streams.roles import Lane


def read_trigger_for_lane(
    lane: Lane, record: SourceRecord, system: str | None, categories: Categories, max_bytes: int
) -> Trigger | Rejection | None:
    """The record's trigger, or why it is rejected; None if the record belongs to the other lane.

    Args:
        system: see `topics.system_of`.
    """
    critical = lane == "critical"
    value, headers = record.value, record.headers
    if critical and not may_be_critical(value, headers):
        return None
    size = record_size(record)
    if size > max_bytes:
        detail = f"key, value and headers have {size} bytes, the limit is {max_bytes}"
        return None if critical else Rejection(DeadReason.TOO_LARGE, detail)
    trigger = read_trigger(value, headers)
    if isinstance(trigger, Rejection):
        return None if critical else trigger
    category = categories.get(trigger.category)
    is_critical = (
        category is not None and category.critical and asks_critical(trigger, headers) and category.is_open_to(system)
    )
    return trigger if is_critical is critical else None
