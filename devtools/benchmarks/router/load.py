"""The benchmarks' users and triggers; 1.5 notifications a trigger on average."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec
import orjson

from notify_streams.records.user_records import ContactRow, LocationRecord
from notify_streams.topics import CONTACT_ROWS, USER_LOCATIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from notify_streams.admin.trigger_producer import Upload

TOPIC: Final = "triggers.payments"
USERS: Final = 10_000
NOTIFICATIONS_A_TRIGGER: Final = 1.5
_encode = msgspec.json.Encoder().encode


def bench_user(number: int, users: int = USERS) -> str:
    return f"bench-{number % users:06d}"


def bench_users(users: int = USERS) -> list[str]:
    return [bench_user(number, users) for number in range(users)]


def user_uploads(user_ids: Iterable[str], region: str) -> Iterator[Upload]:
    """A location record in `region` and every contact, for each user, as the registry role writes them."""
    for number, user_id in enumerate(user_ids):
        yield USER_LOCATIONS, user_id, _encode(LocationRecord(user_id, region)), ()
        row = ContactRow(1, f"token-{number}", f"+1555{number:07d}", f"{user_id}@example.org")
        yield CONTACT_ROWS, user_id, _encode(row), ()


def triggers(count: int, run: str, users: int = USERS, first: int = 0) -> Iterator[Upload]:
    """Standard triggers of about 250 bytes. `run` keeps the ids of runs apart.

    Every second one goes to two channels. From the `first` one on, they go round all users in a mixed order.
    """
    created_at = datetime.now(UTC).isoformat()
    started_ms = int(time.time() * 1000)
    for number in range(count):
        user_id = bench_user((first + number) * 7919, users)
        channels = '["push","email"]' if number % 2 else '["push"]'
        value = (
            f'{{"id":"{started_ms:012x}-{run}-{number:08x}","user_id":"{user_id}","category":"payments",'
            f'"isCritical":false,"channels":{channels},"template":"payment_received",'
            f'"data":{{"amount":"12.50","order":"{number}"}},"created_at":"{created_at}"}}'
        )
        yield TOPIC, user_id, value.encode(), ()


TEMPLATE: Final = "payment_received"
#: What it makes of the data of `trigger`.
_TEXT: Final = {"title": "Payment received", "body": "You received 12.50."}


def trigger(
    trigger_id: str, user_id: str, critical: bool, channels: Sequence[str], order: int = 0, *, own_text: bool = False
) -> bytes:
    """One trigger. `own_text`: with its text instead of a template."""
    text = _TEXT if own_text else {"template": TEMPLATE}
    return orjson.dumps(
        {
            "id": trigger_id,
            "user_id": user_id,
            "category": "payments",
            "isCritical": critical,
            "channels": channels,
            "data": {"amount": "12.50", "order": str(order)},
            **text,
        }
    )
