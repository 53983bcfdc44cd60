"""The states of all deliveries, and whether a role has read its topic."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from notify_streams import kafka
from notify_streams.admin.audit.topics import TopicReader
from notify_streams.admin.deliveries import Selection, find_deliveries
from notify_streams.admin.lag import LagReader
from notify_streams.errors import NotifyError
from notify_streams.stores.mongo import Shards

if TYPE_CHECKING:
    from notify_streams.settings import Settings

_POLL_S: Final = 0.2
_COUNTED: Final = frozenset(("standard", "push", "receipts", "outbox", "timers"))
_STALLED_S: Final = 60.0


async def delivery_states(settings: Settings) -> dict[str, str]:
    """By delivery id."""
    async with Shards(settings) as shards:
        await shards.refresh_directory()
        return {one.id: one.state async for one in find_deliveries(settings, shards, Selection())}


async def wait_until_idle(settings: Settings) -> None:
    """Wait until none of the roles that run here has lag, and nothing waits in the outbox or for an attempt.

    Raises:
        NotifyError: the lag has not changed for a minute.
    """
    admin = kafka.admin(settings.kafka_connection())
    await admin.start()
    try:
        async with Shards(settings) as shards, TopicReader(settings) as topics:
            await shards.refresh_directory()
            reader = LagReader(settings, topics, shards, admin)
            before, changed_at = -1, time.monotonic()
            while left := sum(count for name, count in (await reader.lag()).items() if name in _COUNTED):
                if left != before:
                    before, changed_at = left, time.monotonic()
                elif time.monotonic() > changed_at + _STALLED_S:
                    raise NotifyError(f"{left} records are not processed: no figure")
                await asyncio.sleep(_POLL_S)
    finally:
        await admin.close()
