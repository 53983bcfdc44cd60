"""Pauses of providers, and of categories on a channel: documents.

An operator writes them, and for the mails of a category `reputation`. ``{_id, since, why}``: `_id` is a provider, or ``<channel>:<category>``.

Each shard has all of them, so that a pause can be written and read while one shard does not answer.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from notify_streams import metrics, tasks
from notify_streams.errors import StoreUnavailable
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from collections.abc import Iterable

    from notify_streams.stores.mongo import Document, Shards

log = logging.getLogger(__name__)

_PAUSES: Final = "pauses"


@dataclass(frozen=True, slots=True)
class Pause:
    """Since when, and why if not an operator wanted it."""

    since: datetime
    why: str = ""


def category_pause(channel: str, category: str) -> str:
    """The name of a pause of one category on one channel."""
    return f"{channel}:{category}"


class PausedCategories:
    """The paused categories of one channel, as a worker has read them last."""

    def __init__(self, channel: str) -> None:
        self._channel = channel
        self.names: frozenset[str] = frozenset()

    def update(self, paused: Iterable[str]) -> None:
        """Take the categories from the names of all pauses. One log line for each that begins or ends."""
        prefix = category_pause(self._channel, "")
        names = frozenset(one.removeprefix(prefix) for one in paused if one.startswith(prefix))
        for category in sorted(names ^ self.names):
            is_paused = category in names
            metrics.CATEGORY_PAUSED.labels(self._channel, category).set(is_paused)
            log.log(
                logging.WARNING if is_paused else logging.INFO,
                "messages of the category wait" if is_paused else "messages of the category go on",
                extra={"action": "category.state", "channel": self._channel, "category": category},
            )
        self.names = names


class ProviderPauses:
    """The pauses of a region."""

    def __init__(self, shards: Shards, timeout_s: float) -> None:
        self._shards = shards
        self._timeout_s = timeout_s

    async def read(self) -> dict[str, Pause]:
        """What is paused, by the first shard that answers.

        Raises:
            StoreUnavailable: no shard answers.
        """
        for shard in range(len(self._shards)):
            try:
                with mongo_call(f"read pauses on shard {shard}", self._timeout_s):
                    found = self._shards.database(shard)[_PAUSES].find({})
                    return {one["_id"]: Pause(one["since"], one.get("why", "")) async for one in found}
            except StoreUnavailable:
                if shard == len(self._shards) - 1:
                    raise
        return {}

    async def pause(self, name: str, why: str = "") -> bool:
        """Workers begin no call to a provider, or for a category, any more; those that read the pauses know it within 2 s.

        Returns:
            False if it was paused already.

        Raises:
            StoreUnavailable: a shard did not answer, the others have it; call again.
        """
        return await self._on_each(name, {"$setOnInsert": {"since": datetime.now(UTC), "why": why}})

    async def resume(self, name: str) -> None:
        """Undo `pause`.

        Raises:
            StoreUnavailable: a shard did not answer, the others have it; call again.
        """
        await self._on_each(name, None)

    async def _on_each(self, name: str, update: Document | None) -> bool:
        """Whether the document is new on the first shard."""
        new = await tasks.all_ended(self._update(shard, name, update) for shard in range(len(self._shards)))
        return new[0]

    async def _update(self, shard: int, name: str, update: Document | None) -> bool:
        """Whether the document is new."""
        with mongo_call(f"write pauses on shard {shard}", self._timeout_s):
            pauses = self._shards.database(shard)[_PAUSES]
            if update is None:
                await pauses.delete_one({"_id": name})
                return False
            return (await pauses.update_one({"_id": name}, update, upsert=True)).upserted_id is not None
