"""`preference_updates`, `user_contacts` -> `forward.<region>` of every region that must know; `user_contacts` -> the table `contacts`.

A batch is acknowledged when its copies wait in `forward.<region>`; after a crash they are written again, and readers over there keep what is
newest. Done by the registry role, because only one role of a region may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from notify_streams.app import app
from notify_streams.outbox.direct_publish import publish_directly
from notify_streams.partition_concurrency import batch_events
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import read_contacts
from notify_streams.regions.replication import contact_copies, preference_copies
from notify_streams.registry.pending_signups import PendingSignups
from notify_streams.topics import PREFERENCE_UPDATES, USER_CONTACTS
from tables.contacts import apply_contacts
from tables.locations import locate

if TYPE_CHECKING:
    from faust.types import StreamT

    from notify_streams.records.batch import OutboxRecord, SourceRecord
    from notify_streams.transport import RecordBatch

newcomers = PendingSignups(locate)


@app.agent(app.batches_of(PREFERENCE_UPDATES))
async def replicate_preferences(batches: StreamT[Any]) -> None:
    """What a person chose is known everywhere, so that any region can stand in at once."""
    async for event in batch_events(batches):
        batch: RecordBatch = event.value
        await publish_directly(
            app,
            [copy for record in batch.records for copy in preference_copies(record, batch.partition, app.settings)],
        )
        event.ack()


@app.agent(app.batches_of(USER_CONTACTS))
async def replicate_contacts(batches: StreamT[Any]) -> None:
    """Contacts go to the person's home and its standby, once it is known; of somebody new, `agents.sign_up` sends them on."""
    async for event in batch_events(batches):
        batch: RecordBatch = event.value
        if not await apply_contacts(batch, newcomers.home):
            continue
        await publish_directly(
            app,
            [
                copy
                for record in batch.records
                if not isinstance(found := read_contacts(record.value), Rejection)
                for copy in copies_of(record, batch.partition, newcomers.home(found.user_id))
            ],
        )
        event.ack()


def copies_of(record: SourceRecord, partition: int, home: str | None) -> list[OutboxRecord]:
    """Copies of one contacts record, by who serves whom now."""
    placement = None if app.learning is None else app.learning.placement
    assert placement is not None, "nothing is read before the worker has learnt who serves whom"
    return contact_copies(record, partition, app.settings, home, placement)
