"""The load: triggers as the router leaves them on `forward.eu`, and the same as they entered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from devtools.benchmarks.forwarding.environment import FAR, HERE
from notify_streams.records.user_records import Contacts, LocationRecord
from notify_streams.regions.forwarding.headers import forwarded_headers
from notify_streams.topics import FORWARDED, USER_CONTACTS, USER_LOCATIONS, forward_topic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from notify_streams.admin.trigger_producer import Upload

PEOPLE: Final = 2_000
SOURCE: Final = forward_topic(FAR)
TARGET: Final = FORWARDED
ENTRY: Final = "triggers.payments"
_encode = msgspec.json.Encoder().encode


def person(number: int, region: str) -> str:
    """An id; those of one region are never at home in another."""
    return f"{region}-{number % PEOPLE:06d}"


def trigger(trigger_id: str, user_id: str) -> bytes:
    """About 220 bytes, critical, for one channel."""
    return (
        f'{{"id":"{trigger_id}","user_id":"{user_id}","category":"payments","isCritical":true,"channels":["push"],'
        f'"template":"payment_received","data":{{"amount":"12.50","order":"{trigger_id}"}},'
        f'"created_at":"2026-11-22T10:00:00Z"}}'
    ).encode()


def waiting(count: int, run: str) -> Iterator[Upload]:
    """What waits for the far region, with the headers that the router gives it."""
    headers = forwarded_headers((("source", b"triggers.payments:0:0"),), HERE, FORWARDED, location_version=1)
    for number in range(count):
        user_id = person(number * 7919, FAR)
        yield SOURCE, user_id, trigger(f"{run}-{number:08x}", user_id), headers


def population(now: datetime) -> Iterator[Upload]:
    """Half of the people are at home here, half in the far region."""
    for region in (HERE, FAR):
        for number in range(PEOPLE):
            user_id = person(number, region)
            yield USER_LOCATIONS, user_id, _encode(LocationRecord(user_id, region)), ()
            yield USER_CONTACTS, user_id, _encode(Contacts(user_id, now, push=f"token-{user_id}")), ()
