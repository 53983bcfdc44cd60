"""The interface of a point of presence, and the keys and values that it stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote

import msgspec

from notify_streams.errors import RetryLater

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.records.user_records import LocationRecord

#: Workers KV takes keys of up to 512 bytes; the other kinds take more.
MAX_KEY_BYTES: Final = 512


class _Value(msgspec.Struct, frozen=True, gc=False):
    region: str
    version: int


class NotPushed(RetryLater):
    """Some items of a batch were not written; `left` are those to push again: locations or user ids, as given."""

    def __init__(self, reason: str, left: Sequence[LocationRecord] | Sequence[str]) -> None:
        super().__init__(reason)
        self.left = left


class PointOfPresence(Protocol):
    """A store of user -> home region. Both calls may be repeated, write what they can, and are bounded in time."""

    name: str

    async def put_many(self, locations: Sequence[LocationRecord]) -> int:
        """Store each location; at most one for each user.

        Returns:
            How many can never be stored here (the store refuses the key): clients get those from the region.

        Raises:
            NotPushed: those in `left` may be tried again.
        """
        ...

    async def delete_many(self, user_ids: Sequence[str]) -> None:
        """Delete these users; one that is not stored counts as deleted.

        Raises:
            NotPushed: those in `left` may be tried again.
        """
        ...


def edge_key(user_id: str) -> str:
    """The key at the edge: JavaScript's ``encodeURIComponent(user_id)``, with ``.``, ``..`` and ``!*'()`` escaped too.

    Only unreserved characters and ``%``: safe as a file name, as a key of both KV stores, and in a URL once it is quoted there.
    """
    if user_id in (".", ".."):
        return user_id.replace(".", "%2E")
    return quote(user_id, safe="")


def edge_value(location: LocationRecord) -> bytes:
    """What is stored and served: ``{"region":"eu","version":2}``."""
    return msgspec.json.encode(_Value(location.region, location.version))


def is_storable(user_id: str) -> bool:
    """Whether every kind of store takes the user's key."""
    return len(edge_key(user_id)) <= MAX_KEY_BYTES


def storable(locations: Sequence[LocationRecord]) -> list[LocationRecord]:
    """Those whose key every kind of store takes."""
    return [location for location in locations if is_storable(location.user_id)]
