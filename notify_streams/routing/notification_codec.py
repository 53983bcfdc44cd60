"""Encodes notification documents as BSON (https://bsonspec.org/spec.html).

Every notified trigger needs a document, and most of its bytes are the same for a whole batch: those are encoded once.
"""

from __future__ import annotations

from datetime import datetime
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

import bson
from bson.raw_bson import RawBSONDocument

from notify_streams.records.periods import period_elements
from notify_streams.records.person_slots import bucket_ms, kept_from_ms
from notify_streams.tracing.trace_context import TRACEPARENT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notify_streams.routing.decision import ChannelDecision, ChannelDecisions

_INT32: Final = Struct("<i").pack
_INT64: Final = Struct("<q").pack
_ID: Final = b"\x02_id\0"
_USER: Final = b"\0\x02user_id\0"
_VERSION: Final = b"\x12preference_version\0"
_FINGERPRINT: Final = b"\x12fingerprint\0"
#: Where the trigger lay, after the fingerprint: offset, and Kafka's time.
_ENTRY: Final = Struct("<8sq12sq").pack
_OFFSET, _ENTERED_AT = b"\x12offset\0", b"\x09entered_at\0"


class _LengthPrefixes(dict[int, bytes]):
    """Bytes of a string → its length prefix, which counts the final zero. Ids have few different lengths."""

    def __missing__(self, length: int) -> bytes:
        prefix = self[length] = _INT32(length + 1)
        return prefix


_LENGTH_PREFIXES: Final = _LengthPrefixes()


class NotificationEncoder:
    """Encodes the notifications of one batch. `now` is in UTC and whole milliseconds."""

    def __init__(
        self, bucket: int, region: str, critical: bool, now: datetime, period_end: datetime, period_s: int
    ) -> None:
        """The period that ends with `period_end` and has `period_s` seconds counts them."""
        self.bucket = bucket
        self.critical = critical
        self.now = now
        self._bucket = b"\0\x10bucket\0" + _INT32(bucket) + b"\x02trigger_id\0"
        self._common = _elements(
            {
                "critical": critical,
                "lane": "critical" if critical else "standard",
                "region": region,
                "decided_at": now,
            }
        )
        self._period_s = period_s
        self._period_end_ms = int(period_end.timestamp()) * 1000
        self._first_ms = bucket_ms(bucket, self._period_end_ms, period_s)
        self._by_category: dict[tuple[str, str], bytes] = {}
        self._by_decisions: dict[ChannelDecisions, bytes] = {}

    def encode(
        self,
        notification_id: str,
        trigger_id: str,
        user_id: bytes,
        system: str,
        source: str,
        category: str,
        preference_version: int,
        decisions: ChannelDecisions,
        fingerprint: int,
        offset: int,
        entered_ms: int,
        copy: Mapping[str, Any],
        traceparent: str = "",
    ) -> RawBSONDocument:
        """One notification's document; `source` is empty for a trigger without one, `traceparent` for one that is not traced.

        Args:
            offset: of the record in its topic.
            entered_ms: when Kafka took the record, milliseconds since the epoch.
            copy: what a copied record was copied from (`outcome_records.copy_fields`); empty for others.
        """
        category_and_common = self._by_category.get((system, category))
        if category_and_common is None:
            fields = _elements({"system": system, "category": category})
            category_and_common = b"\0" + fields + self._common + _VERSION
            self._by_category[system, category] = category_and_common
        deliveries = self._by_decisions.get(decisions)
        if deliveries is None:
            by_channel = {decision.channel: self._delivery(decision) for decision in decisions}
            deliveries = self._by_decisions[decisions] = _elements({"deliveries": by_channel}) + _FINGERPRINT
        notification, trigger = notification_id.encode(), trigger_id.encode()
        body = b"".join(
            (
                _ID,
                _LENGTH_PREFIXES[len(notification)],
                notification,
                self._bucket,
                _LENGTH_PREFIXES[len(trigger)],
                trigger,
                _USER,
                _LENGTH_PREFIXES[len(user_id)],
                user_id,
                category_and_common,
                _INT64(preference_version),
                deliveries,
                _INT64(fingerprint),
                _ENTRY(_OFFSET, offset, _ENTERED_AT, entered_ms),
                _optional(source, copy, traceparent) if source or copy or traceparent else b"",
                period_elements(kept_from_ms(self._first_ms, user_id, self._period_s), self._period_end_ms),
            )
        )
        return RawBSONDocument(_INT32(len(body) + 4) + body)

    def _delivery(self, decision: ChannelDecision) -> dict[str, Any]:
        reason = {} if decision.reason is None else {"reason": decision.reason.value}
        return {"state": decision.state.value, **reason, "attempts": 0, "at": self.now}


def _optional(source: str, copy: Mapping[str, Any], traceparent: str) -> bytes:
    fields = {"source": source, "copy": copy, TRACEPARENT: traceparent}
    return _elements({name: value for name, value in fields.items() if value})


def _elements(fields: dict[str, Any]) -> bytes:
    """The elements of a document, without its length and its final zero."""
    return bson.encode(fields)[4:-1]
