"""Cloudflare Workers KV: bulk writes and bulk deletes of up to 10,000 keys.

``PUT <url>/bulk`` and ``POST <url>/bulk/delete``, `url` being
``https://api.cloudflare.com/client/v4/accounts/<account id>/storage/kv/namespaces/<namespace id>``.
https://developers.cloudflare.com/api/resources/kv/subresources/namespaces/ : an answer of 200 can still name keys to be retried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from notify_streams.edge.http_client import HttpClient
from notify_streams.edge.point_of_presence import NotPushed, key_of, storable, value_of
from notify_streams.errors import RetryLater

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import aiohttp

    from notify_streams.edge.point_of_presence import Home

#: The API's limit for both calls.
KEYS_A_CALL: Final = 10_000
T = TypeVar("T")


class _Pair(msgspec.Struct, frozen=True, gc=False):
    key: str
    value: str


class _Result(msgspec.Struct, frozen=True):
    unsuccessful_keys: tuple[str, ...] = ()


class _Envelope(msgspec.Struct, frozen=True):
    success: bool
    result: _Result | None = None


_read = msgspec.json.Decoder(_Envelope).decode


class Cloudflare:
    """One namespace of Workers KV. A key that the API refuses is found by halving and given up alone."""

    def __init__(self, name: str, url: str, token: str, session: aiohttp.ClientSession) -> None:
        self.name = name
        self._calls = HttpClient(session, url, {"Authorization": f"Bearer {token}"}, timeout_s=15.0, at_once=2)

    async def put_many(self, homes: Sequence[Home]) -> int:
        """See `PointOfPresence`."""
        taken = storable(homes)
        refused = len(homes) - len(taken)
        for part in _parts(taken):
            refused += await self._put({key_of(home.user_id): home for home in part})
        return refused

    async def delete_many(self, user_ids: Sequence[str]) -> None:
        """See `PointOfPresence`."""
        for part in _parts(user_ids):
            keys = {key_of(user_id): user_id for user_id in part}
            await self._bulk("POST", "/bulk/delete", msgspec.json.encode(list(keys)), keys)

    async def _put(self, homes: Mapping[str, Home]) -> int:
        pairs = [_Pair(key, value_of(home).decode()) for key, home in homes.items()]
        if await self._bulk("PUT", "/bulk", msgspec.json.encode(pairs), homes):
            return 0
        if len(homes) == 1:
            return 1
        keys = list(homes)
        half = len(keys) // 2
        first = await self._put({key: homes[key] for key in keys[:half]})
        return first + await self._put({key: homes[key] for key in keys[half:]})

    async def _bulk(self, method: str, path: str, body: bytes, wanted: Mapping[str, T]) -> bool:
        """Whether the API took it; False where it refuses something in it for good."""
        try:
            answer = await self._calls.call(method, path, body)
        except RetryLater as error:
            raise NotPushed(f"{self.name}: {error}", list(wanted.values())) from error  # type: ignore[arg-type]
        if answer.refused:
            return False
        try:
            envelope = _read(answer.body)
        except msgspec.MsgspecError as error:
            raise NotPushed(f"{self.name}: an answer that is not the API's", list(wanted.values())) from error  # type: ignore[arg-type]
        left = [wanted[key] for key in (envelope.result.unsuccessful_keys if envelope.result else ()) if key in wanted]
        if left or not envelope.success:
            raise NotPushed(f"{self.name}: {len(left)} keys were not written", left or list(wanted.values()))  # type: ignore[arg-type]
        return True


def _parts(wanted: Sequence[T]) -> list[Sequence[T]]:
    return [wanted[start : start + KEYS_A_CALL] for start in range(0, len(wanted), KEYS_A_CALL)]
