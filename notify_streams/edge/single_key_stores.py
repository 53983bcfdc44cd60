"""Writes to stores of one key a request: generic HTTP, Fastly KV.

Both take ``PUT <url>/<key>`` and ``DELETE <url>/<key>``; they differ in the header that carries the token and in the path.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from notify_streams.edge.http_client import HttpClient
from notify_streams.edge.point_of_presence import NotPushed, edge_key, edge_value, storable
from notify_streams.errors import RetryLater

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import aiohttp

    from notify_streams.records.user_records import LocationRecord


class SingleKeyStore:
    """A store that takes one request a user; several requests run at once."""

    def __init__(self, name: str, client: HttpClient, folder: str) -> None:
        self.name = name
        self._client = client
        self._folder = folder

    async def put_many(self, locations: Sequence[LocationRecord]) -> int:
        """See `PointOfPresence`."""
        accepted = storable(locations)
        return len(locations) - len(accepted) + sum(await self._each(self._put, accepted))

    async def delete_many(self, user_ids: Sequence[str]) -> None:
        """See `PointOfPresence`."""
        await self._each(self._delete, user_ids)

    async def _put(self, location: LocationRecord) -> bool:
        response = await self._client.request("PUT", self._path(location.user_id), edge_value(location))
        return response.refused

    async def _delete(self, user_id: str) -> bool:
        response = await self._client.request("DELETE", self._path(user_id))
        return response.refused

    async def _each(self, request: Callable[[Any], Awaitable[bool]], items: Sequence[Any]) -> list[bool]:
        """For each item whether the store refuses it."""
        results = await asyncio.gather(*map(request, items), return_exceptions=True)
        refused: list[bool] = []
        left: list[Any] = []
        reason = ""
        for item, result in zip(items, results, strict=True):
            if isinstance(result, RetryLater):
                left.append(item)
                reason = str(result)
            elif isinstance(result, BaseException):
                raise result
            else:
                refused.append(result)
        if left:
            raise NotPushed(f"{self.name}: {len(left)} of {len(items)} were not written: {reason}", left)
        return refused

    def _path(self, user_id: str) -> str:
        return f"{self._folder}/{quote(edge_key(user_id), safe='')}"


def http_store(name: str, url: str, token: str, session: aiohttp.ClientSession) -> SingleKeyStore:
    """``PUT|DELETE <url>/<key>`` with ``Authorization: Bearer <token>``: nginx with DAV, an object store, a service of one's own."""
    return SingleKeyStore(name, HttpClient(session, url, {"Authorization": f"Bearer {token}"}), "")


def fastly_store(name: str, url: str, token: str, session: aiohttp.ClientSession) -> SingleKeyStore:
    """Fastly's KV store: ``PUT|DELETE <url>/keys/<key>``, `url` being ``https://api.fastly.com/resources/stores/kv/<store id>``.

    https://www.fastly.com/documentation/reference/api/services/resources/kv-store-item/
    """
    return SingleKeyStore(name, HttpClient(session, url, {"Fastly-Key": token}), "/keys")
