"""Pauses of providers: documents that an operator writes and workers read.

Each shard has all of them, so that a pause can be written and read while one shard does not answer.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from notify_streams.errors import StoreUnavailable
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from notify_streams.stores.mongo import Document, Shards

_PAUSES: Final = "pauses"


class ProviderPauses:
    """The paused providers of a region."""

    def __init__(self, shards: Shards, timeout_s: float) -> None:
        self._shards = shards
        self._timeout_s = timeout_s

    async def read(self) -> dict[str, datetime]:
        """Provider → since when it is paused, by the first shard that answers.

        Raises:
            StoreUnavailable: no shard answers.
        """
        for shard in range(len(self._shards)):
            try:
                with mongo_call(f"read pauses on shard {shard}", self._timeout_s):
                    found = self._shards.database(shard)[_PAUSES].find({})
                    return {one["_id"]: one["since"] async for one in found}
            except StoreUnavailable:
                if shard == len(self._shards) - 1:
                    raise
        return {}

    async def pause(self, provider: str) -> None:
        """Workers begin no call to `provider` any more; those that read the pauses know it within 2 s.

        Raises:
            StoreUnavailable: a shard did not answer; call again.
        """
        update = {"$setOnInsert": {"since": datetime.now(UTC)}}
        await asyncio.gather(*(self._update(shard, provider, update) for shard in range(len(self._shards))))

    async def resume(self, provider: str) -> None:
        """Undo `pause`.

        Raises:
            StoreUnavailable: a shard did not answer; call again.
        """
        await asyncio.gather(*(self._update(shard, provider, None) for shard in range(len(self._shards))))

    async def _update(self, shard: int, provider: str, update: Document | None) -> None:
        with mongo_call(f"write pauses on shard {shard}", self._timeout_s):
            pauses = self._shards.database(shard)[_PAUSES]
            if update is None:
                await pauses.delete_one({"_id": provider})
            else:
                await pauses.update_one({"_id": provider}, update, upsert=True)
