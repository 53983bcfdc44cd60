"""The messages of deliveries among all that a channel topic holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from notify_streams.admin.channel_messages import messages_among
from notify_streams.delivery.failed_receipts import MessagePlace
from tests.builders import ARecord, a_message

#: No delivery has a key for them.
IMPOSSIBLE = [datetime(year, 1, 1, tzinfo=UTC) for year in (1, 1969, 2107, 9999)]


class Topics:
    """A topic with these records."""

    def __init__(self, *records: ARecord) -> None:
        self._records = records

    async def read(self, *_: Any) -> AsyncIterator[tuple[Any, ARecord]]:
        for record in self._records:
            yield None, record


def a_record(identity: str | None, value: bytes | None) -> ARecord:
    return ARecord(value, headers=[("id", None if identity is None else identity.encode())])


async def test_records_that_are_not_the_message_of_their_id_are_left_out() -> None:
    """They stopped the partition of the receipt that asked for the message: its batch came again and again."""
    wanted, other = a_message(), a_message(trigger_id="t-2")
    name = wanted.delivery_id
    topics: Any = Topics(
        a_record(name, b"no message"),
        a_record(name, b"\xff"),
        a_record(name, b"[" * 100_000),
        a_record(name, None),
        a_record(None, b""),
        ARecord(b""),
        a_record(name, msgspec.json.encode(other)),
        *(a_record(name, msgspec.json.encode(msgspec.structs.replace(wanted, decided_at=at))) for at in IMPOSSIBLE),
        a_record(name, msgspec.json.encode(wanted)),
    )
    places = {name: MessagePlace("push", (3,), wanted.decided_at)}
    assert await messages_among(topics, places) == {name: wanted}
