"""`push`, `sms`, `email`, `cric_*` → provider, delivery states in MongoDB."""

from __future__ import annotations

from functools import partial
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
settings = app.settings.providers
provider = provider_for(
    channel,
    ProviderConfig(
        fcm=settings.fcm,
        apns=settings.apns,
        twilio=settings.twilio,
        ca_file=settings.ca_file,
        smtp=settings.smtp,
        smtp_tls=settings.smtp_tls,
        smtp_ca_file=settings.smtp_ca_file,
        timeout_s=settings.timeout_s,
        start_within_s=app.preferences.bound.start_s,
        max_in_flight=settings.max_in_flight,
    ),
)
worker = DeliveryWorker(
    Claims(app.shards, channel, app.settings.outbox.transaction_timeout_s),
    app.preferences.provider_check,
    provider,
    app.categories,
    app.lane,
)
app.add_lifecycle(provider.start, worker.close)


async def deliver(event: BatchEvent, worker: DeliveryWorker) -> None:
    """Send the batch; acknowledge it when each message has a durable state."""
    await worker.deliver(event.value)
    event.ack()


@app.agent(app.batched_topic(app.role), name=f"deliver {app.role}")
async def delivery_agent(batches: StreamT[Any]) -> None:
    """Partitions run concurrently: one that waits for a provider delays no other."""
    await process_partitions_concurrently(batches, partial(deliver, worker=worker))
