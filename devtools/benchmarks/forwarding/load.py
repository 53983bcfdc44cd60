"""Triggers for another region, as sent and as forwarded."""

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

USERS: Final = 2_000
SOURCE: Final = forward_topic(FAR)
TARGET: Final = FORWARDED
ENTRY: Final = "triggers.payments"
_encode = msgspec.json.Encoder().encode


def user_of(number: int, region: str) -> str:
    """The id of a user whose home region is `region`."""
    return f"{region}-{number % USERS:06d}"


def trigger(trigger_id: str, user_id: str) -> bytes:
    """About 220 bytes, critical, for one channel."""
    return (
        f'{{"id":"{trigger_id}","user_id":"{user_id}","category":"payments","isCritical":true,"channels":["push"],'
        f'"template":"payment_received","data":{{"amount":"12.50","order":"{trigger_id}"}},'
        f'"created_at":"2026-11-22T10:00:00Z"}}'
    ).encode()


def forwarded_triggers(count: int, run: str) -> Iterator[Upload]:
    """Records on `forward.eu`, with the headers that the router adds."""
    headers = forwarded_headers((("source", b"triggers.payments:0:0"),), HERE, FORWARDED, location_version=1)
    for number in range(count):
        user_id = user_of(number * 7919, FAR)
        yield SOURCE, user_id, trigger(f"{run}-{number:08x}", user_id), headers


def user_uploads(now: datetime) -> Iterator[Upload]:
    """Location records and contacts; half of the users belong to each region."""
    for region in (HERE, FAR):
        for number in range(USERS):
            user_id = user_of(number, region)
            yield USER_LOCATIONS, user_id, _encode(LocationRecord(user_id, region)), ()
            yield USER_CONTACTS, user_id, _encode(Contacts(user_id, now, push=f"token-{user_id}")), ()
