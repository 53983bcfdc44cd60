"""The load: people whose tables are filled directly, and triggers that make one and a half notifications each on average."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams.records.user_records import Contacts, LocationRecord
from notify_streams.topics import USER_CONTACTS, USER_LOCATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from notify_streams.admin.trigger_producer import Upload

PEOPLE: Final = 10_000
NOTIFICATIONS_A_TRIGGER: Final = 1.5
_encode = msgspec.json.Encoder().encode


def population() -> Iterator[Upload]:
    """Everybody at home in `us`, with every contact."""
    now = datetime.now(UTC)
    for number in range(PEOPLE):
        user_id = f"bench-{number:06d}"
        yield USER_LOCATIONS, user_id, _encode(LocationRecord(user_id, "us")), ()
        contacts = Contacts(user_id, now, f"token-{number}", f"+1555{number:07d}", f"{user_id}@example.org")
        yield USER_CONTACTS, user_id, _encode(contacts), ()


def triggers(count: int, run: str) -> Iterator[Upload]:
    """About 250 bytes each; every second one goes to two channels."""
    born = datetime.now(UTC).isoformat()
    base = int(time.time() * 1000)
    for number in range(count):
        user_id = f"bench-{number * 7919 % PEOPLE:06d}"
        channels = '["push","email"]' if number % 2 else '["push"]'
        value = (
            f'{{"id":"{base:012x}-{run}-{number:08x}","user_id":"{user_id}","category":"payments","isCritical":false,'
            f'"channels":{channels},"template":"payment_received","data":{{"amount":"12.50","order":"{number}"}},'
            f'"created_at":"{born}"}}'
        )
        yield "triggers.payments", user_id, value.encode(), ()
