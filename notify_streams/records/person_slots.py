"""How a person's notifications are found without an index for it.

An index on the user would cost MongoDB about half again for each notification. Notifications expire by an index on a time, `kept_from`: the
end of the period that counted them, and up to a period more. That rest is a hash of bucket and user in milliseconds. So the same index
finds a person: one look for each period. Different people may have the same time: what is found is compared.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from zlib import crc32

KEPT_FROM: Final = "kept_from"
#: A bucket has its own part of a period, so that the notifications of a bucket are found together.
_BUCKETS: Final = 256


def bucket_ms(bucket: int, period_end_ms: int, period_s: int) -> int:
    """The first `kept_from` of a bucket in a period: milliseconds since the epoch."""
    return period_end_ms + (bucket % _BUCKETS) * _part_ms(period_s)


def kept_from_ms(first_ms: int, user_id: bytes, period_s: int) -> int:
    """`kept_from` of a person's notification: milliseconds since the epoch. `first_ms`: see `bucket_ms`."""
    return first_ms + crc32(user_id) % _part_ms(period_s)


def person_times(user_id: str, bucket: int, until: int, seconds: int, period_s: int) -> list[datetime]:
    """`kept_from` of a person's notifications in each period of the last `seconds` before `until` (since the epoch), newest first."""
    key = user_id.encode()
    ends = range(until // period_s + 1, (until - seconds) // period_s, -1)
    return [_time(kept_from_ms(bucket_ms(bucket, end * period_s * 1000, period_s), key, period_s)) for end in ends]


def bucket_times(bucket: int, second: int, period_s: int) -> list[tuple[datetime, datetime]]:
    """From and to, not included, the `kept_from` of a bucket's notifications of this second: counted in its period or the next one."""
    ends = [(second // period_s + 1 + later) * period_s * 1000 for later in (0, 1)]
    firsts = [bucket_ms(bucket, end, period_s) for end in ends]
    return [(_time(first), _time(first + _part_ms(period_s))) for first in firsts]


def _part_ms(period_s: int) -> int:
    return max(1, period_s * 1000 // _BUCKETS)


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
