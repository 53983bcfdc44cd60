"""`user_signups` → registry, `user_locations`, `forward.<region>`, `edge.<pop>`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agents.replicate import pending_signups
from notify_streams.app import app
from notify_streams.outbox.direct_publish import publish_directly
from notify_streams.outbox.outbox import Outbox
from notify_streams.outbox.partition_hooks import attach_outbox
from notify_streams.partition_concurrency import batch_events
from notify_streams.records.partitioner import bucket_of
from notify_streams.registry.contact_copies import copies_at_signup
from notify_streams.registry.signup_batch import decide_signup_batch
from notify_streams.registry.signups import SignupProcessor
from notify_streams.registry.users_table import UsersTable
from notify_streams.routing.outcome_records import id_conflict
from notify_streams.topics import USER_SIGNUPS
from tables.contacts import contacts
from tables.locations import locate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from faust.types import StreamT

    from notify_streams.records.batch import Batch, OutboxRecord, Producer
    from notify_streams.transport import BatchEvent

registry = UsersTable(app.settings)
app.add_lifecycle(registry.start, registry.close)
outbox = app.outbox = Outbox(app.settings, app.role, app.shards, app, id_conflict)
attach_outbox(app, outbox, [USER_SIGNUPS])


async def sign_up(
    event: BatchEvent,
    copies_of: Callable[[Batch], Sequence[OutboxRecord]],
    processor: SignupProcessor,
    outbox: Outbox,
    producer: Producer,
) -> None:
    """Register the batch and queue its records in the outbox, which acknowledges it when they are published.

    Args:
        copies_of: copies of contacts that arrived before the sign-ups; published first, without the outbox.
    """
    await publish_directly(producer, copies_of(event.value))
    await outbox.submit(await decide_signup_batch(processor, event.value, event))


@app.agent(app.batched_topic(USER_SIGNUPS))
async def signups_agent(batches: StreamT[Any]) -> None:
    processor = SignupProcessor(app.settings, registry, server_of, contacts_of, locate)
    async for event in batch_events(batches):
        await sign_up(event, copies_of, processor, outbox, app)


def server_of(region: str) -> str | None:
    """The region that serves `region`'s users now."""
    return app.placement().server_of(region)


async def contacts_of(user_ids: Sequence[str]) -> Mapping[str, bytes]:
    """Rows of the table `contacts`: a user who moves to another region takes them along."""
    rows = {
        user_id: contacts.get(bucket_of(user_id, app.settings.partitions), user_id.encode()) for user_id in user_ids
    }
    return {user_id: row for user_id, row in rows.items() if row is not None}


def copies_of(batch: Batch) -> list[OutboxRecord]:
    return copies_at_signup(batch, pending_signups, contacts.get, app.placement(), app.settings)
