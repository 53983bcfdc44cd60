"""`/notifications/{trigger_id}`: what a trigger became, for each person it named here. Needs the token: it says who got what."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from notify_streams.stores.mongo import NOTIFICATIONS
from notify_streams.stores.mongo_errors import mongo_call
from notify_streams.web.responses import WebView, answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.web import Request, Response

    from notify_streams.stores.mongo import Document, Shards

#: A trigger names one person; several notifications of an id mean that the id was used for several people.
_MOST: Final = 100
_SHOWN: Final = (
    "user_id",
    "bucket",
    "category",
    "critical",
    "lane",
    "region",
    "decided_at",
    "preference_version",
)
_OF_A_DELIVERY: Final = ("state", "reason", "attempts", "provider", "provider_id", "at")


def within(trigger_id: str, buckets: list[int]) -> dict[str, Any]:
    """The condition for a trigger's notifications in `buckets`: one range of `_id`, ``<trigger id>-<hexadecimal digits>``."""
    return {
        "bucket": {"$in": buckets},
        "_id": {"$gte": f"{trigger_id}-0", "$lt": f"{trigger_id}-g"},
        "trigger_id": trigger_id,
    }


async def find_notifications(shards: Shards, trigger_id: str, within_s: float) -> list[Document]:
    """Up to `_MOST` of each shard.

    Raises:
        StoreUnavailable: a shard does not answer.
    """
    parts = await asyncio.gather(*(_find_on(shards, shard, trigger_id, within_s) for shard in range(len(shards))))
    return [document for part in parts for document in part]


async def _find_on(shards: Shards, shard: int, trigger_id: str, within_s: float) -> list[Document]:
    with mongo_call(f"the notifications on shard {shard}", within_s):
        found = shards.database(shard)[NOTIFICATIONS].find(within(trigger_id, shards.buckets(shard)))
        return await found.limit(_MOST).to_list()


def shown(document: Mapping[str, Any]) -> dict[str, Any]:
    """A notification without what belongs to the workers alone (claims, fingerprints)."""
    deliveries = {
        channel: {name: delivery[name] for name in _OF_A_DELIVERY if delivery.get(name) is not None}
        for channel, delivery in document.get("deliveries", {}).items()
    }
    return (
        {"notification_id": document["_id"]}
        | {name: document.get(name) for name in _SHOWN}
        | {"deliveries": deliveries}
    )


class Notifications(WebView):
    """404 if the trigger notified nobody here: it may be a dead letter, forwarded, still on its way, or unknown."""

    needs_token = True

    async def get(self, request: Request, trigger_id: str) -> Response:
        found = [shown(document) for document in await find_notifications(self.worker.shards, trigger_id, self.store_s)]
        payload: dict[str, Any] = {"trigger_id": trigger_id, "region": self.worker.settings.region}
        payload["notifications"] = found
        if not found:
            payload["error"] = (
                "no notification of this trigger in this region; /dead-letters and `why` know of other ends"
            )
        return answer(payload, 200 if found else 404)
