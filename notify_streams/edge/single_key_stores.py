"""Points of presence that take one key a request: a generic HTTP store, and Fastly's KV store.

Both take ``PUT <url>/<key>`` and ``DELETE <url>/<key>``; they differ in the header that carries the token and in the path.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import quote

from notify_streams.edge.http_client import HttpClient
from notify_streams.edge.point_of_presence import NotPushed, key_of, storable, value_of
from notify_streams.errors import RetryLater

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import TypeVar

    import aiohttp

    from notify_streams.edge.point_of_presence import Home

    T = TypeVar("T")


class SingleKeyStore:
    """One request a person, several at once."""

    def __init__(self, name: str, calls: HttpClient, folder: str) -> None:
        self.name = name
        self._calls = calls
        self._folder = folder

    async def put_many(self, homes: Sequence[Home]) -> int:
        """See `PointOfPresence`."""
        taken = storable(homes)
        refused = await self._each(taken, self._put)
        return len(homes) - len(taken) + sum(refused)

    async def delete_many(self, user_ids: Sequence[str]) -> None:
        """See `PointOfPresence`."""
        await self._each(user_ids, self._delete)

    async def _put(self, home: Home) -> bool:
        answer = await self._calls.call("PUT", self._path(home.user_id), value_of(home))
        return answer.refused

    async def _delete(self, user_id: str) -> bool:
        answer = await self._calls.call("DELETE", self._path(user_id))
        return answer.refused

    async def _each(self, wanted: Sequence[T], act: Callable[[T], Awaitable[bool]]) -> list[bool]:
        results = await asyncio.gather(*map(act, wanted), return_exceptions=True)
        done: list[bool] = []
        left: list[T] = []
        why = ""
        for one, result in zip(wanted, results, strict=True):
            if isinstance(result, RetryLater):
                left.append(one)
                why = str(result)
            elif isinstance(result, BaseException):
                raise result
            else:
                done.append(result)
        if left:
            raise NotPushed(f"{self.name}: {len(left)} of {len(wanted)} did not arrive: {why}", left)  # type: ignore[arg-type]
        return done

    def _path(self, user_id: str) -> str:
        return f"{self._folder}/{quote(key_of(user_id), safe='')}"


def http_point(name: str, url: str, token: str, session: aiohttp.ClientSession) -> SingleKeyStore:
    """``PUT|DELETE <url>/<key>`` with ``Authorization: Bearer <token>``: nginx with DAV, an object store, one's own service."""
    return SingleKeyStore(name, HttpClient(session, url, {"Authorization": f"Bearer {token}"}), "")


def fastly(name: str, url: str, token: str, session: aiohttp.ClientSession) -> SingleKeyStore:
    """Fastly's KV store: ``PUT|DELETE <url>/keys/<key>``, `url` being ``https://api.fastly.com/resources/stores/kv/<store id>``.

    https://www.fastly.com/documentation/reference/api/services/resources/kv-store-item/
    """
    return SingleKeyStore(name, HttpClient(session, url, {"Fastly-Key": token}), "/keys")
