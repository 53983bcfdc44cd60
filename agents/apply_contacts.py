"""`user_contacts` → table `contacts`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from notify_streams.app import app
from notify_streams.partition_concurrency import batch_events
from notify_streams.regions.contacts_writer import ContactsWriter
from notify_streams.topics import USER_CONTACTS
from tables.contacts import contacts
from tables.locations import home_of

if TYPE_CHECKING:
    from faust.types import StreamT

    from notify_streams.transport import BatchEvent


async def apply_contacts(event: BatchEvent, writer: ContactsWriter) -> None:
    """Write the batch to the table. Not acknowledged if another worker owns the partition now."""
    if await writer.apply(event.value):
        event.ack()


@app.agent(app.batched_topic(USER_CONTACTS))
async def contacts_agent(batches: StreamT[Any]) -> None:
    writer = ContactsWriter(contacts, home_of, app.placement, app.settings)
    async for event in batch_events(batches):
        await apply_contacts(event, writer)
