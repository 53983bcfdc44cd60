"""What a point of presence is: a store of `user -> home region` that takes batches. No I/O here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote

import msgspec

from notify_streams.errors import RetryLater

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Workers KV takes keys of up to 512 bytes; the other kinds take more.
MAX_KEY_BYTES: Final = 512


class Home(msgspec.Struct, frozen=True, gc=False):
    """One person's home, as the edge is told."""

    user_id: str
    region: str
    version: int = 1


class _Stored(msgspec.Struct, frozen=True, gc=False):
    region: str
    version: int


class NotPushed(RetryLater):
    """Some of a batch did not arrive; `left` is what must be pushed again."""

    def __init__(self, why: str, left: Sequence[Home] | Sequence[str]) -> None:
        super().__init__(why)
        self.left = left


class PointOfPresence(Protocol):
    """Both calls may be repeated without harm, put what they can, and are bounded in time."""

    name: str

    async def put_many(self, homes: Sequence[Home]) -> int:
        """Store each home, one for each person.

        Returns:
            How many can never be stored here (a key that the store refuses): those persons are found by the origin.

        Raises:
            NotPushed: those in `left` may be tried again.
        """
        ...

    async def delete_many(self, user_ids: Sequence[str]) -> None:
        """Forget these; one that is not there is forgotten already.

        Raises:
            NotPushed: those in `left` may be tried again.
        """
        ...


def key_of(user_id: str) -> str:
    """The key at the edge: JavaScript's ``encodeURIComponent(user_id)``, but for ``.`` and ``..`` and ``!*'()``, which are escaped too.

    Only unreserved characters and ``%``: safe as a file name, as a key of both KV stores, and in a URL once it is quoted there.
    """
    if user_id in (".", ".."):
        return user_id.replace(".", "%2E")
    return quote(user_id, safe="")


def value_of(home: Home) -> bytes:
    """What is stored and served: ``{"region":"eu","version":2}``."""
    return msgspec.json.encode(_Stored(home.region, home.version))


def storable(homes: Sequence[Home]) -> list[Home]:
    """Those whose key every kind of store takes."""
    return [home for home in homes if len(key_of(home.user_id)) <= MAX_KEY_BYTES]
