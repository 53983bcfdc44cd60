"""`triggers.*` -> decided, through the outbox -> channel topics, `forward.<region>`, `dead_letters`, or the right partition again.

A batch is acknowledged when its rows are committed and published; the ledger, not Kafka, says where reading goes on.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from notify_streams.app import app
from notify_streams.outbox.outbox import Outbox
from notify_streams.partition_concurrency import process_partitions_concurrently
from notify_streams.preferences.decision_check import DecisionCheck
from notify_streams.routing.recipient_lookup import RecipientLookup
from notify_streams.routing.router import Router, conflict
from notify_streams.topics import FORWARDED, trigger_topics
from notify_streams.transport import exempt_from_watchdog, on_assigned, on_revoked
from tables.contacts import contacts
from tables.locations import locate_many
from tables.preferences import preferences

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from faust.types import TP, StreamT

    from notify_streams.transport import BatchEvent


def rows_of(user_ids: Sequence[str]) -> list[bytes | None]:
    """The table's rows; a person whom nobody knows has none."""
    homes = zip(user_ids, locate_many(user_ids), strict=True)
    return [None if home is None else preferences.get(home.bucket, user_id.encode()) for user_id, home in homes]


parts = app.preference_parts
check = DecisionCheck(parts.deltas, parts.durable, parts.bound, rows_of, app.table_lag)
people = app.people = RecipientLookup(locate_many, contacts, check)
assert app.learning is not None, f"{app.role} learns who serves whom"
router = Router(app.settings, app.categories, app.lane, people, app.learning)
way_out = app.way_out = Outbox(app.settings, app.role, app.shards, app, conflict)
app.lives_with(way_out.start, way_out.stop)
SOURCES = frozenset(trigger_topics(app.settings))


# In the middle of a failover nobody serves some of its people.
exempt_from_watchdog(app, FORWARDED)


async def route_triggers(triggers: StreamT[Any]) -> None:
    """Decide each partition's batches in order, partitions side by side: a shard that is away holds up its own alone."""
    await process_partitions_concurrently(triggers, route)


async def route(event: BatchEvent) -> None:
    """Decide a batch and hand it to the way out, which acknowledges it."""
    await way_out.submit(await router.take(event.value, event))


for topic in sorted(SOURCES):
    app.agent(app.batches_of(topic), name=f"route {topic}")(route_triggers)


@partial(on_assigned, app)
async def take_over(partitions: frozenset[TP]) -> Mapping[TP, int]:
    """Publish what the last owner left, then begin where the ledger says."""
    sources = {(tp.topic, tp.partition): tp for tp in partitions if tp.topic in SOURCES}
    positions = await way_out.take_over(sources)
    return {sources[source]: position for source, position in positions.items()}


@partial(on_revoked, app)
def give_up(_: frozenset[TP]) -> None:
    """What waits for lost partitions is read by their new owner."""
    way_out.give_up()
