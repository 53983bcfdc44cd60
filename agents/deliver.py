"""`push`, `sms`, `email`, `cric_…` -> the channel's provider. A batch is acknowledged when each message's state is durable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from notify_streams.app import app
from notify_streams.delivery.claims import Claims
from notify_streams.delivery.delivery import DeliveryWorker
from notify_streams.delivery.providers import ProviderConfig, provider_for
from notify_streams.partition_concurrency import process_partitions_concurrently
from notify_streams.roles import channel_of

if TYPE_CHECKING:
    from faust.types import StreamT

    from notify_streams.transport import BatchEvent

channel = channel_of(app.role)
places = app.settings.providers
provider = provider_for(
    channel,
    ProviderConfig(
        fcm=places.fcm,
        apns=places.apns,
        twilio=places.twilio,
        smtp=places.smtp,
        timeout_s=places.timeout_s,
        start_within_s=app.preference_parts.bound.start_s,
        max_in_flight=places.max_in_flight,
    ),
)
delivery = DeliveryWorker(
    Claims(app.shards, channel, app.settings.outbox.transaction_timeout_s),
    app.preference_parts.provider_check,
    provider,
    app.categories,
    app.lane,
)
app.lives_with(provider.start, delivery.close)


@app.agent(app.batches_of(app.role), name=f"deliver {app.role}")
async def deliver(batches: StreamT[Any]) -> None:
    """Send each partition's batches in order, partitions side by side: one that waits for a provider holds up no other."""
    await process_partitions_concurrently(batches, send)


async def send(event: BatchEvent) -> None:
    """Send a batch, then acknowledge it."""
    await delivery.deliver(event.value)
    event.ack()
