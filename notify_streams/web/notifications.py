"""`/notifications/{id}` or `{system}/{id}`: a trigger's notifications."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from notify_streams.delivery.attempt_reader import AttemptReader
from notify_streams.stores.mongo import NOTIFICATIONS
from notify_streams.stores.mongo_errors import mongo_call
from notify_streams.web.responses import WebView, json_response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.web import Request, Response

    from notify_streams.stores.mongo import Document, Shards

#: Several notifications for one id mean that it was used for several users, or by several systems or sources.
_MAX_SHOWN: Final = 100
_FIELDS: Final = (
    "system",
    "source",
    "user_id",
    "bucket",
    "category",
    "critical",
    "lane",
    "region",
    "decided_at",
    "preference_version",
)
_DELIVERY_FIELDS: Final = (
    "state",
    "reason",
    "attempts",
    "provider",
    "provider_id",
    "code",
    "segments",
    "devices",
    "at",
)


def notification_query(wanted: str, buckets: list[int]) -> dict[str, Any]:
    """Selects notifications by trigger id, or by ``<system>/<trigger id>``: what has a slash may be either."""
    choices = [_with_id(wanted)]
    system, slash, trigger_id = wanted.partition("/")
    if slash:
        choices.append(_with_id(trigger_id) | {"system": system})
    return {"bucket": {"$in": buckets}, "$or": choices}


def _with_id(trigger_id: str) -> dict[str, Any]:
    """A range of `_id`, which is ``<trigger id>-<hexadecimal digits>``."""
    return {"_id": {"$gte": f"{trigger_id}-0", "$lt": f"{trigger_id}-g"}, "trigger_id": trigger_id}


async def find_notifications(shards: Shards, trigger_id: str, timeout_s: float) -> list[Document]:
    """Up to 100 notifications from each shard.

    Raises:
        StoreUnavailable: a shard does not respond.
    """
    parts = await asyncio.gather(*(_find_on(shards, shard, trigger_id, timeout_s) for shard in range(len(shards))))
    return [document for part in parts for document in part]


async def _find_on(shards: Shards, shard: int, trigger_id: str, timeout_s: float) -> list[Document]:
    with mongo_call(f"the notifications on shard {shard}", timeout_s):
        found = shards.database(shard)[NOTIFICATIONS].find(notification_query(trigger_id, shards.buckets(shard)))
        documents = await found.limit(_MAX_SHOWN).to_list()
    await AttemptReader(shards, timeout_s).add_status(documents)
    return documents


def notification_payload(document: Mapping[str, Any]) -> dict[str, Any]:
    """A notification as JSON, without its fingerprint."""
    deliveries = {
        channel: {name: delivery[name] for name in _DELIVERY_FIELDS if delivery.get(name) is not None}
        for channel, delivery in document.get("deliveries", {}).items()
    }
    return (
        {"notification_id": document["_id"]}
        | {name: document.get(name) for name in _FIELDS}
        | {"deliveries": deliveries}
    )


class Notifications(WebView):
    """404 without notifications: the trigger may be a dead letter, forwarded, in flight or unknown."""

    right = "read"

    async def get(self, request: Request, trigger_id: str) -> Response:
        found = [
            notification_payload(document)
            for document in await find_notifications(self.worker.shards, trigger_id, self.store_timeout_s)
        ]
        payload: dict[str, Any] = {"trigger_id": trigger_id, "region": self.worker.settings.region}
        payload["notifications"] = found
        if not found:
            payload["error"] = (
                "no notification of this trigger in this region; look at /dead-letters or run `notify-streams why`"
            )
        return json_response(payload, 200 if found else 404)
