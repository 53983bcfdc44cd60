"""Buckets that `notify-streams shards move` has handed on, as the shards themselves remember it: ``{_id: bucket, to: shard, at}``.

A shard that once handed a bucket on says so until it is moved back; the one that has it names itself. A worker uses a bucket on a
shard only while it has heard, within the last `lease_s`, that this shard still has it: so a mover that has said otherwise and waits
that long knows that nobody looks at the old rows any more. The settings need not change; `bucket_shards` says where a bucket was at
first.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from notify_streams.errors import StoreUnavailable
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.asynchronous.database import AsyncDatabase

MOVED: Final = "moved"
#: How long what a shard said of its buckets is believed. Workers and the mover must have the same.
LEASE_S: Final = 5.0


class BucketDirectory:
    """What each shard said last."""

    def __init__(
        self, shards: int, lease_s: float, timeout_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._lease_s = lease_s
        self._timeout_s = timeout_s
        self._now = now
        self._to: list[dict[int, int]] = [{} for _ in range(shards)]
        self._heard_s: list[float | None] = [None] * shards

    def place_of(self, bucket: int, first: int) -> int:
        """The shard where `bucket` is, if it was on `first` at first."""
        place = first
        for _ in self._to:  # what was heard at different moments may run in a circle
            place = self._to[place].get(bucket, place)
        return place

    def check(self, shard: int) -> None:
        """Whether what this shard has may be used now.

        Raises:
            StoreUnavailable: it has not said lately which buckets it handed on.
        """
        heard_s = self._heard_s[shard]
        if heard_s is None or self._now() - heard_s > self._lease_s:
            raise StoreUnavailable(f"shard {shard} has not said lately which buckets it has")

    async def ask(self, shard: int, database: AsyncDatabase[dict[str, Any]]) -> None:
        """Hear what a shard says.

        Raises:
            StoreUnavailable: it does not answer.
        """
        asked_s = self._now()
        with mongo_call(f"shard {shard}", self._timeout_s):
            found = await database[MOVED].find().to_list()
        self._to[shard] = {one["_id"]: one["to"] for one in found}
        self._heard_s[shard] = asked_s
