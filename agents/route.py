"""`triggers.*` → outbox → channels, `forward.*`, `dead_letters`, `triggers.*`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from notify_streams.app import app
from notify_streams.outbox.direct_publish import publish_directly
from notify_streams.outbox.outbox import Outbox
from notify_streams.outbox.partition_hooks import attach_outbox
from notify_streams.partition_concurrency import process_partitions_concurrently
from notify_streams.routing.decision_events import DecisionEvents
from notify_streams.routing.outcome_records import bad_record, id_conflict
from notify_streams.routing.recipient_lookup import RecipientLookup
from notify_streams.routing.router import Router
from notify_streams.routing.trigger_traces import TriggerTraces
from notify_streams.routing.waiting_triggers import WaitingTriggers
from notify_streams.topics import FORWARDED, trigger_topics
from notify_streams.transport import exempt_from_watchdog
from tables.contacts import contacts
from tables.locations import locate_in, recent_users
from tables.preferences import preferences

if TYPE_CHECKING:
    from faust.types import StreamT

    from notify_streams.transport import BatchEvent

TOPICS = frozenset(trigger_topics(app.settings))


check = app.preferences.decision_check(
    preferences.get_many, preferences.lag_s, lambda bucket: bucket in preferences.partitions
)
recipients = RecipientLookup(locate_in, contacts, check, recent_users)
assert app.placement_follower is not None, f"role {app.role} follows the placement"
router = Router(
    app.settings,
    app.categories,
    app.templates(),
    app.lane,
    recipients,
    app.placement_follower,
    traces=None if app.spans is None else TriggerTraces(app.settings.tracing),
    # Who checks and who deletes looks at the same clock. By one that is ahead, a decision would be sent without a look for the opt-outs
    # since; by one that is behind, it would expire, and its notification be deleted, too early.
    now=app.shard_now,
)
events = DecisionEvents(app.settings)
outbox = app.outbox = Outbox(
    app.settings, app.role, app.shards, app, events.after(id_conflict), events.after(bad_record), spans=app.spans
)
attach_outbox(app, outbox, app.shards, TOPICS)
waiting_triggers = WaitingTriggers(
    app.shards,
    app.lane,
    partial(publish_directly, app),
    lambda: outbox.buckets,
    app.settings.outbox.transaction_timeout_s,
)
app.add_lifecycle(waiting_triggers.start, waiting_triggers.stop)
exempt_from_watchdog(app, FORWARDED)  # waits during a failover, when no region serves some users


async def route(event: BatchEvent, router: Router, outbox: Outbox) -> None:
    """Decide the batch and queue it in the outbox, which acknowledges it when its rows are committed and published."""
    decided = await router.decide_batch(event.value, event)
    await outbox.submit(decided)
    if any(entry.timer is not None for entry in decided.entries):
        waiting_triggers.wake()


async def route_agent(batches: StreamT[Any]) -> None:
    """Partitions run concurrently: a shard that does not answer delays its own partitions only."""
    await process_partitions_concurrently(batches, partial(route, router=router, outbox=outbox))


for topic in sorted(TOPICS):
    app.agent(app.batched_topic(topic), name=f"route {topic}")(route_agent)
