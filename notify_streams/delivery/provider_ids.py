"""How an attempt is found by the id that a provider gave the message.

Of SMS and mails by an index on a number: the time of the attempt in slots of 4,096 s, then a hash of the id. New entries lie together at the
end of the index, so its pages stay in memory. Most messages are pushes. They have no such number, because an index entry is about a
quarter of MongoDB's work for an attempt: those of FCM are found by the time in their id, others among the newest.
"""

from __future__ import annotations

import re
from typing import Final
from zlib import crc32

PROVIDER_KEY: Final = "provider_key"
#: Providers without the number.
_PUSH: Final = frozenset(("fcm", "apns", "web_push"))
#: Seconds of a slot, as a power of two.
_SLOT_BITS: Final = 12
_HASH_BITS: Final = 32
#: `projects/an-app/messages/0:1700000000000000%0123456789abcdef`: microseconds since the epoch.
_TIME_IN_ID: Final = re.compile(r"(?:^|/)0:(\d{16})%")


def provider_key(provider: str | None, provider_id: str, at_ms: int) -> int | None:
    """The number of an attempt that a provider accepted at `at_ms`; None: it has none."""
    return None if provider in _PUSH else _key(at_ms // 1000, provider_id)


def provider_keys(provider_id: str, until: int, seconds: int) -> list[int]:
    """The numbers that an attempt of the last `seconds` before `until` (since the epoch) may have, newest first."""
    return [
        _key(slot << _SLOT_BITS, provider_id)
        for slot in range(until >> _SLOT_BITS, ((until - seconds) >> _SLOT_BITS) - 1, -1)
    ]


def second_in(provider_id: str) -> int | None:
    """When the provider took the message, if its id says so: seconds since the epoch."""
    found = _TIME_IN_ID.search(provider_id)
    return None if found is None else int(found[1]) // 1_000_000


def _key(second: int, provider_id: str) -> int:
    return (second >> _SLOT_BITS) << _HASH_BITS | crc32(provider_id.encode())
