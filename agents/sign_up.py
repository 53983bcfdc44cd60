"""`user_signups` → registry, `user_locations`, `forward.<region>`, `edge.<pop>`."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from agents.apply_contacts import pending_signups
from notify_streams.app import app
from notify_streams.outbox.direct_publish import publish_directly
from notify_streams.outbox.outbox import Outbox
from notify_streams.outbox.partition_hooks import attach_outbox
from notify_streams.partition_concurrency import process_partitions_concurrently
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import arrival_ms, encode_record, read_signup
from notify_streams.registry.contact_copies import copies_at_signup
from notify_streams.registry.signup_batch import decide_signup_batch
from notify_streams.registry.signups import SignupProcessor
from notify_streams.registry.users_table import UsersTable
from notify_streams.retry import STORE
from notify_streams.routing.outcome_records import bad_record, id_conflict
from notify_streams.topics import USER_SIGNUPS
from tables.locations import locate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from faust.types import StreamT

    from notify_streams.records.batch import Batch, OutboxRecord, Producer
    from notify_streams.transport import BatchEvent

_RETRY: Final = STORE.named("signups.read_contacts")
registry = UsersTable(app.settings)
app.add_lifecycle(registry.start, registry.close)
outbox = app.outbox = Outbox(app.settings, app.role, app.shards, app, id_conflict, bad_record)
attach_outbox(app, outbox, app.shards, [USER_SIGNUPS])


async def sign_up(
    event: BatchEvent,
    copies_of: Callable[[Batch], Awaitable[Sequence[OutboxRecord]]],
    processor: SignupProcessor,
    outbox: Outbox,
    producer: Producer,
) -> None:
    """Register the batch and queue its records in the outbox, which acknowledges it when they are published.

    Args:
        copies_of: copies of contacts that arrived before the sign-ups; published first, without the outbox.
    """
    await publish_directly(producer, await _RETRY.call(copies_of, event.value))
    await outbox.submit(await decide_signup_batch(processor, event.value, event))


@app.agent(app.batched_topic(USER_SIGNUPS))
async def signups_agent(batches: StreamT[Any]) -> None:
    """Partitions run concurrently: one that waits for its shard delays no other."""
    processor = SignupProcessor(app.settings, registry, server_of, contacts_of, locate, app.preferences.erased.among)
    await process_partitions_concurrently(
        batches, partial(sign_up, copies_of=copies_of, processor=processor, outbox=outbox, producer=app)
    )


def server_of(region: str) -> str | None:
    """The region that serves `region`'s users now."""
    return app.placement().server_of(region)


async def contacts_of(user_ids: Sequence[str]) -> Mapping[str, bytes]:
    """Stored contacts as records: a user who moves to another region takes them along."""
    stored = await app.contacts.read({user_id: bucket_of(user_id, app.settings.partitions) for user_id in user_ids})
    return {user_id: encode_record(contacts) for user_id, contacts in stored.items()}


async def copies_of(batch: Batch) -> list[OutboxRecord]:
    """Copies of the contacts that arrived before these sign-ups."""
    now_ms = int(time.time() * 1000)
    read = [read_signup(record.value, arrival_ms(record, now_ms)) for record in batch.records]
    signups = [signup for signup in read if not isinstance(signup, Rejection)]
    for signup in signups:
        pending_signups.add(signup)
    stored = await app.contacts.read({signup.user_id: batch.partition for signup in signups})
    return copies_at_signup(stored.values(), batch.partition, pending_signups.home, app.placement(), app.settings)
