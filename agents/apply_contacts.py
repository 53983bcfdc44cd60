"""`user_contacts` -> the table `contacts`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from notify_streams.app import app
from notify_streams.partition_concurrency import batch_events
from notify_streams.topics import USER_CONTACTS
from tables.contacts import apply_contacts
from tables.locations import locate

if TYPE_CHECKING:
    from faust.types import StreamT


@app.agent(app.batches_of(USER_CONTACTS))
async def learn_contacts(batches: StreamT[Any]) -> None:
    """Keep the latest contacts of each person; an older record that comes late changes nothing."""
    async for event in batch_events(batches):
        if await apply_contacts(event.value, home_of):
            event.ack()


def home_of(user_id: str) -> str | None:
    """The person's home region, None for somebody whom nobody knows yet."""
    row = locate(user_id)
    return None if row is None else row.region
