"""A notification as it is stored: written straight as BSON, because every trigger needs one and most of it is the same for a whole batch.

https://bsonspec.org/spec.html. What `bson.decode` makes of it is the contract's document (`tests/unit/routing/test_notification_document.py`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

import bson
from bson.raw_bson import RawBSONDocument

if TYPE_CHECKING:
    from notify_streams.routing.decision import ChannelDecisions

_KEPT: Final = timedelta(days=90)
_INT32: Final = Struct("<i").pack
_INT64: Final = Struct("<q").pack
_ID: Final = b"\x02_id\0"
_USER: Final = b"\0\x02user_id\0"
_VERSION: Final = b"\x12preference_version\0"
_FINGERPRINT: Final = b"\x12fingerprint\0"


class _Lengths(dict[int, bytes]):
    """The prefix of a string with so many bytes, its final zero included."""

    def __missing__(self, length: int) -> bytes:
        found = self[length] = _INT32(length + 1)
        return found


#: Ids are short: few lengths, packed once.
_LENGTHS: Final = _Lengths()


class NotificationTemplate:
    """What the notifications of one batch have in common. `now` in whole milliseconds, UTC."""

    def __init__(self, bucket: int, region: str, critical: bool, now: datetime) -> None:
        self.bucket = bucket
        self.critical = critical
        self.now = now
        self._said_first = b"\0\x10bucket\0" + _INT32(bucket) + b"\x02trigger_id\0"
        common: dict[str, Any] = {
            "critical": critical,
            "lane": "critical" if critical else "standard",
            "region": region,
            "decided_at": now,
        }
        self._common = _elements(common)
        # A whole hour, so that the index on it has few distinct values and its pages stay warm.
        self._end = _elements({"expire_at": now.replace(minute=0, second=0, microsecond=0) + _KEPT}) + b"\0"
        self._of_category: dict[str, bytes] = {}
        #: By the id of the fates, which are kept with it so that the id stays theirs.
        self._of_fates: dict[int, tuple[ChannelDecisions, bytes]] = {}

    def fill(
        self,
        notification: str,
        trigger_id: str,
        user_id: bytes,
        category: str,
        preference_version: int,
        fates: ChannelDecisions,
        fingerprint: int,
    ) -> RawBSONDocument:
        """One notification's document."""
        common = self._of_category.get(category)
        if common is None:
            common = self._of_category[category] = b"\0" + _elements({"category": category}) + self._common + _VERSION
        found = self._of_fates.get(id(fates))
        if found is None:
            deliveries = _elements({"deliveries": {one.channel: self._delivery(one) for one in fates}})
            found = self._of_fates[id(fates)] = fates, deliveries + _FINGERPRINT
        identity, trigger = notification.encode(), trigger_id.encode()
        body = b"".join(
            (
                _ID,
                _LENGTHS[len(identity)],
                identity,
                self._said_first,
                _LENGTHS[len(trigger)],
                trigger,
                _USER,
                _LENGTHS[len(user_id)],
                user_id,
                common,
                _INT64(preference_version),
                found[1],
                _INT64(fingerprint),
                self._end,
            )
        )
        return RawBSONDocument(_INT32(len(body) + 4) + body)

    def _delivery(self, planned: Any) -> dict[str, Any]:
        reason = {} if planned.reason is None else {"reason": planned.reason.value}
        return {"state": planned.state.value, **reason, "attempts": 0, "at": self.now}


def _elements(fields: dict[str, Any]) -> bytes:
    """A document's elements without its length and its end."""
    return bson.encode(fields)[4:-1]
