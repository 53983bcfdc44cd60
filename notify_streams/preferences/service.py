"""The preference parts of one worker with their life: connected when it starts, the keeper beside them, hung up when it stops."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from notify_streams.preferences.assembly import build_components
from notify_streams.stores.redis import connect

if TYPE_CHECKING:
    from notify_streams.preferences.categories import Categories
    from notify_streams.preferences.writer import Publish
    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Shards


class PreferenceService:
    """Made from settings without connecting; `start` runs the keeper, `stop` ends it and hangs up."""

    def __init__(self, settings: Settings, categories: Categories, shards: Shards, publish: Publish) -> None:
        self._redis = connect(settings)
        parts = build_components(settings, shards, self._redis, categories, publish)
        self.bound = parts.bound
        self.durable = parts.durable
        self.deltas = parts.deltas
        self.keeper = parts.keeper
        self.writer = parts.writer
        self.provider_check = parts.provider
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
