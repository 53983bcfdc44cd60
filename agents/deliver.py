"""`push`, `sms`, `email`, `cric_*` → provider, attempts and timers in MongoDB."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from faust.types import TP

from notify_streams.app import app
from notify_streams.delivery.admission import Admission
from notify_streams.delivery.dead_addresses import DeadAddresses
from notify_streams.delivery.delivery_spans import DeliverySpans
from notify_streams.delivery.engine import DeliveryEngine
from notify_streams.delivery.event_outbox import EventOutbox
from notify_streams.delivery.mail_links import mail_links_of
from notify_streams.delivery.provider_order import configured_order
from notify_streams.delivery.refused_addresses import RefusedAddresses
from notify_streams.delivery.reputation import Reputation
from notify_streams.delivery.retry_delay import RETRY_DELAYS
from notify_streams.errors import RetryLater
from notify_streams.outbox.direct_publish import publish_directly
from notify_streams.outbox.partition_hooks import first_position
from notify_streams.partition_concurrency import process_partitions_concurrently
from notify_streams.roles import channel_of
from notify_streams.transport import (
    batched_consumer,
    count_progress_by,
    hold_partitions_while,
    on_assigned,
    on_revoked,
    start_at,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from faust.types import StreamT

    from notify_streams.transport import BatchEvent

channel = channel_of(app.role)
settings = app.settings.providers_here()
order, budgets = configured_order(settings, channel, app.role, start_within_s=app.preferences.bound.start_s)
dead_addresses = DeadAddresses(partial(publish_directly, app))
app.add_lifecycle(dead_addresses.start, dead_addresses.stop)
refused_addresses = RefusedAddresses(app.preferences.stops)
app.add_lifecycle(refused_addresses.start, refused_addresses.stop)
reputation = Reputation(app.settings, app.shards) if channel == "email" else None
if reputation is not None:
    app.add_lifecycle(reputation.start, reputation.stop)
engine = app.delivery = DeliveryEngine(
    app.role,
    channel,
    app.lane,
    app.shards,
    app.preferences.provider_check,
    order,
    app.categories,
    app.templates(),
    Admission(order),
    RETRY_DELAYS[app.lane, channel].paced(settings.retry_pace),
    app.settings.outbox.transaction_timeout_s,
    settings.call_timeout_s,
    dead_addresses.add,
    EventOutbox(app.role, app.settings, app.shards, app),
    None if reputation is None else reputation.count_end,
    region=app.settings.region,
    retention=app.settings.retention,
    on_refused_address=refused_addresses.add,
    mail_links=mail_links_of(app.settings, app.categories) if channel == "email" else None,
    spans=None if app.spans is None else DeliverySpans(app.spans, channel, app.settings.tracing.send_to),
)
app.add_lifecycle(engine.start, engine.stop)
hold_partitions_while(app, lambda: engine.held)
count_progress_by(app, app.role, engine.counted_to)


async def first_positions(partitions: Collection[int]) -> dict[int, int]:
    """Where partitions without a ledger start."""
    offsets = await batched_consumer(app).partition_offsets([TP(app.role, one) for one in partitions])
    return {tp.partition: first_position(found) for tp, found in offsets.items()}


def buckets_of(partitions: frozenset[TP]) -> list[int]:
    """The partitions of this role's topic."""
    return [tp.partition for tp in partitions if tp.topic == app.role]


async def assigned(partitions: frozenset[TP]) -> None:
    """Own nothing of the last assignment any more, and take this worker's share of the providers' budgets."""
    for budget in budgets:
        budget.set_share(len(buckets_of(partitions)) / app.settings.partitions, time.monotonic())
    await engine.on_assigned(app.consumer_generation_id)


async def acquire(partitions: frozenset[TP]) -> Mapping[TP, int]:
    """Own the ledgers of these assigned partitions; they say where each partition starts."""
    positions = await engine.acquire(buckets_of(partitions), first_positions)
    return {TP(app.role, number): position for number, position in positions.items()}


on_assigned(app, assigned)
start_at(app, acquire, lambda tp: app.shards.of(tp.partition), transient=(RetryLater,))
on_revoked(app, lambda _: engine.release_all())


async def deliver(event: BatchEvent, engine: DeliveryEngine) -> None:
    """Begin the batch's deliveries; the engine acknowledges it when each has a durable outcome."""
    await engine.deliver(event)


@app.agent(app.batched_topic(app.role), name=f"deliver {app.role}")
async def delivery_agent(batches: StreamT[Any]) -> None:
    """Partitions run concurrently: one that waits for a provider delays no other."""
    await process_partitions_concurrently(batches, partial(deliver, engine=engine))
