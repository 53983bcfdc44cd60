"""The preference parts of one worker, put together: what checks, what writes, and the keeper that runs beside them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from notify_streams.preferences.bound import bound_of
from notify_streams.preferences.deltas import Deltas
from notify_streams.preferences.durable import DurablePreferences
from notify_streams.preferences.keeper import Keeper
from notify_streams.preferences.provider_check import ProviderCheck
from notify_streams.preferences.writing import PreferenceWriter
from notify_streams.stores.redis import connect

if TYPE_CHECKING:
    from notify_streams.preferences.policy import Categories
    from notify_streams.preferences.writing import Publish
    from notify_streams.settings import Settings
    from notify_streams.stores.shards import Shards


class PreferenceParts:
    """Made from settings without connecting; `start` runs the keeper, `stop` ends it and hangs up."""

    def __init__(self, settings: Settings, categories: Categories, shards: Shards, publish: Publish) -> None:
        self.bound = bound_of(settings.preferences)
        self._redis = connect(settings)
        self.durable = DurablePreferences(shards, settings.outbox.transaction_timeout_s)
        self.deltas = Deltas(self._redis, self.bound.delta_ttl_s)
        self.writer = PreferenceWriter(self.durable, self.deltas, self.bound, categories, publish)
        self.provider_check = ProviderCheck(self.deltas, self.durable, self.bound, categories)
        self.keeper = Keeper(self._redis, self.deltas, self.durable, self.bound)
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._keeping = asyncio.create_task(self.keeper.run(), name="preference keeper")

    async def stop(self) -> None:
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping
        await self._redis.aclose()
