"""`preference_updates`, `user_contacts` → `forward.<region>`, table `contacts`.

Only the registry role does this, since one role of a region must. A batch is acknowledged when its copies are on `forward.<region>`; after a
crash they are written again, and readers keep the newest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from notify_streams.app import app
from notify_streams.outbox.direct_publish import publish_directly
from notify_streams.partition_concurrency import batch_events
from notify_streams.regions.contacts_writer import ContactsWriter
from notify_streams.regions.replication import preference_copies
from notify_streams.registry.contact_copies import copies_of_records
from notify_streams.registry.pending_signups import PendingSignups
from notify_streams.topics import PREFERENCE_UPDATES, USER_CONTACTS
from tables.contacts import contacts
from tables.locations import locate

if TYPE_CHECKING:
    from collections.abc import Callable

    from faust.types import StreamT

    from notify_streams.records.batch import Producer
    from notify_streams.regions.failover.placement import Placement
    from notify_streams.settings import Settings
    from notify_streams.transport import BatchEvent

#: Shared with `agents.sign_up`.
pending_signups = PendingSignups(locate)


async def replicate_preferences(event: BatchEvent, producer: Producer, settings: Settings) -> None:
    """Copy each update to every other region, so that any of them can serve the user after a failover."""
    batch = event.value
    copies = [copy for record in batch.records for copy in preference_copies(record, batch.partition, settings)]
    await publish_directly(producer, copies)
    event.ack()


async def replicate_contacts(
    event: BatchEvent,
    writer: ContactsWriter,
    producer: Producer,
    home_of: Callable[[str], str | None],
    placement: Placement,
    settings: Settings,
) -> None:
    """Write the batch to the table, and copy it to the user's home region and its standby.

    For a user whose home region is unknown, `agents.sign_up` makes the copies.
    """
    if await writer.apply(event.value):
        await publish_directly(producer, copies_of_records(event.value, home_of, placement, settings))
        event.ack()


@app.agent(app.batched_topic(PREFERENCE_UPDATES))
async def preferences_agent(batches: StreamT[Any]) -> None:
    async for event in batch_events(batches):
        await replicate_preferences(event, app, app.settings)


@app.agent(app.batched_topic(USER_CONTACTS))
async def contacts_agent(batches: StreamT[Any]) -> None:
    home_of = pending_signups.home
    writer = ContactsWriter(contacts, home_of, app.placement, app.settings)
    async for event in batch_events(batches):
        await replicate_contacts(event, writer, app, home_of, app.placement(), app.settings)
