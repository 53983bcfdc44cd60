"""`receipts` -> the delivery's state: a provider's word on what it once accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from notify_streams.app import app
from notify_streams.channels.receipts import Receipts
from notify_streams.stores.insist import insist
from notify_streams.topics import RECEIPTS
from notify_streams.turns import events

if TYPE_CHECKING:
    from faust.types import StreamT

receipts = Receipts(app.shards, app.settings.outbox.transaction_timeout_s)


@app.agent(app.batches_of(RECEIPTS))
async def receive(batches: StreamT[Any]) -> None:
    """Lift states, then acknowledge."""
    async for event in events(batches):
        await insist(receipts.apply, event.value)
        event.ack()
