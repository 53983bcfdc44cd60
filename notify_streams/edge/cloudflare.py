"""Writes to Cloudflare Workers KV in bulks of up to 10,000 keys.

``PUT <url>/bulk`` and ``POST <url>/bulk/delete``, `url` being
``https://api.cloudflare.com/client/v4/accounts/<account id>/storage/kv/namespaces/<namespace id>``.
https://developers.cloudflare.com/api/resources/kv/subresources/namespaces/ : a response with status 200 can name keys to retry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from notify_streams.edge.http_client import HttpClient
from notify_streams.edge.point_of_presence import NotPushed, edge_key, edge_value, is_storable, storable
from notify_streams.errors import RetryLater
from notify_streams.field_errors import DECODE_ERRORS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    import aiohttp

    from notify_streams.records.user_records import LocationRecord

#: The API's limit for both calls.
_KEYS_PER_CALL: Final = 10_000
T = TypeVar("T")


class _Pair(msgspec.Struct, frozen=True, gc=False):
    key: str
    value: str


class _Result(msgspec.Struct, frozen=True):
    unsuccessful_keys: tuple[str, ...] = ()


class _Envelope(msgspec.Struct, frozen=True):
    success: bool
    result: _Result | None = None


_decode = msgspec.json.Decoder(_Envelope).decode


class Cloudflare:
    """One namespace of Workers KV. A key that the API refuses is isolated by halving the batch, and skipped."""

    def __init__(self, name: str, url: str, token: str, session: aiohttp.ClientSession) -> None:
        self.name = name
        self._client = HttpClient(session, url, {"Authorization": f"Bearer {token}"}, timeout_s=15.0, max_concurrent=2)

    async def put_many(self, locations: Sequence[LocationRecord]) -> int:
        """See `PointOfPresence`."""
        accepted = storable(locations)
        return len(locations) - len(accepted) + await _divided(self._put, accepted)

    async def delete_many(self, user_ids: Sequence[str]) -> None:
        """See `PointOfPresence`."""
        await _divided(self._delete, [user_id for user_id in user_ids if is_storable(user_id)])

    async def _put(self, locations: Sequence[LocationRecord]) -> bool:
        by_key = {edge_key(location.user_id): location for location in locations}
        pairs = [_Pair(key, edge_value(location).decode()) for key, location in by_key.items()]
        return await self._bulk("PUT", "/bulk", pairs, by_key)

    async def _delete(self, user_ids: Sequence[str]) -> bool:
        by_key = {edge_key(user_id): user_id for user_id in user_ids}
        return await self._bulk("POST", "/bulk/delete", list(by_key), by_key)

    async def _bulk(self, method: str, path: str, body: Any, by_key: Mapping[str, Any]) -> bool:
        """Whether the API accepted the request; False if it always refuses something in it.

        Raises:
            NotPushed: with the values of `by_key` that were not written.
        """
        everything = list(by_key.values())
        try:
            response = await self._client.request(method, path, msgspec.json.encode(body))
            if response.refused:
                return False
            envelope = _decode(response.body)
        except RetryLater as error:
            raise NotPushed(f"{self.name}: {error}", everything) from error
        except DECODE_ERRORS as error:
            raise NotPushed(f"{self.name}: the response is not one of the API's", everything) from error
        unsuccessful = () if envelope.result is None else envelope.result.unsuccessful_keys
        left = [by_key[key] for key in unsuccessful if key in by_key]
        if left or not envelope.success:
            raise NotPushed(f"{self.name}: {len(left)} keys were not written", left or everything)
        return True


async def _divided(call: Callable[[Sequence[T]], Awaitable[bool]], items: Sequence[T]) -> int:
    """How many of `items` the API refuses.

    Raises:
        NotPushed: with everything that was not written.
    """
    if not items or (len(items) <= _KEYS_PER_CALL and await call(items)):
        return 0
    if len(items) == 1:
        return 1
    first, second = items[: len(items) // 2], items[len(items) // 2 :]
    try:
        refused = await _divided(call, first)
    except NotPushed as error:
        raise NotPushed(str(error), [*error.left, *second]) from error
    return refused + await _divided(call, second)
