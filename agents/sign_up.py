"""`user_signups` -> the registry, then `user_locations` here and in every other region, and the edge, all through the outbox."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from agents.replicate import copies_of, newcomers
from notify_streams.app import app
from notify_streams.outbox.direct_publish import publish_directly
from notify_streams.outbox.outbox import Outbox
from notify_streams.partition_concurrency import batch_events
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import read_signup
from notify_streams.registry.signup_batch import account_signups
from notify_streams.registry.signups import SignupProcessor
from notify_streams.registry.users_table import UsersTable
from notify_streams.routing.router import conflict
from notify_streams.topics import USER_SIGNUPS
from notify_streams.transport import on_assigned, on_revoked
from tables.contacts import contacts
from tables.locations import locate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from faust.types import TP, StreamT

    from notify_streams.records.batch import OutboxRecord
    from notify_streams.transport import RecordBatch

registry = UsersTable(app.settings)
app.lives_with(registry.start, registry.close)
way_out = app.way_out = Outbox(app.settings, app.role, app.shards, app, conflict)
app.lives_with(way_out.start, way_out.stop)


def server_of(region: str) -> str | None:
    """Who serves a region's people now."""
    placement = None if app.learning is None else app.learning.placement
    return None if placement is None else placement.server_of(region)


async def contacts_of(user_ids: Sequence[str]) -> Mapping[str, bytes]:
    """Contacts that a move hands over."""
    rows = {
        user_id: contacts.get(bucket_of(user_id, app.settings.partitions), user_id.encode()) for user_id in user_ids
    }
    return {user_id: row for user_id, row in rows.items() if row is not None}


signups = SignupProcessor(app.settings, registry, server_of, contacts_of, locate)


@app.agent(app.batches_of(USER_SIGNUPS))
async def sign_up(batches: StreamT[Any]) -> None:
    """Register each batch and hand its records to the way out, which acknowledges it."""
    async for event in batch_events(batches):
        batch: RecordBatch = event.value
        await publish_directly(app, contacts_sent_on(batch))
        await way_out.submit(await account_signups(signups, batch, event))


def contacts_sent_on(batch: RecordBatch) -> Iterator[OutboxRecord]:
    """Contacts that came before anybody knew where the person would be at home; those that come later know it from `newcomers`."""
    for record in batch.records:
        signup = read_signup(record.value)
        if isinstance(signup, Rejection):
            continue
        newcomers.note(signup)
        row = contacts.get(batch.partition, signup.user_id.encode())
        if row is not None:
            held = Held(signup.user_id.encode(), row)
            yield from copies_of(held, batch.partition, newcomers.home(signup.user_id))


class Held(NamedTuple):
    """A contacts row as the record that it came from, without that one's way."""

    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()
    offset: int = 0
    timestamp: int = 0


@partial(on_assigned, app)
async def take_over(partitions: frozenset[TP]) -> Mapping[TP, int]:
    """Publish what the last owner left, then begin where the ledger says."""
    sources = {(tp.topic, tp.partition): tp for tp in partitions if tp.topic == USER_SIGNUPS}
    positions = await way_out.take_over(sources)
    return {sources[source]: position for source, position in positions.items()}


@partial(on_revoked, app)
def give_up(_: frozenset[TP]) -> None:
    """What waits for lost partitions is read by their new owner."""
    way_out.give_up()
