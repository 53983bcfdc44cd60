"""The clocks of the shards: timers are due by them.

A reading of the primary's clock is carried on by the monotonic clock of this machine.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from notify_streams import tasks
from notify_streams.errors import StoreUnavailable
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo import AsyncMongoClient

#: MongoDB says its time in whole milliseconds, rounded down.
_RESOLUTION_S: Final = 0.001
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
#: How often `FollowedClocks` reads each clock.
_READ_EVERY_S: Final = 15.0


class ClientOfEach(Protocol):
    """`mongo.Shards`, which has the clocks."""

    def __len__(self) -> int: ...
    def client(self, shard: int, /) -> AsyncMongoClient[dict[str, Any]]: ...


def own_now(bucket: int) -> datetime:
    """What the clock of this machine shows, whichever the bucket is."""
    return datetime.now(UTC)


async def shard_time(shards: ClientOfEach, shard: int) -> datetime:
    """What the clock of a shard's primary shows, in whole milliseconds.

    Raises:
        PyMongoError: it does not answer.
    """
    hello = await shards.client(shard).admin.command("hello")
    # The driver gives UTC without a zone.
    shown: datetime = hello["localTime"].replace(tzinfo=UTC)
    return shown


async def shard_ahead_s(shards: ClientOfEach, shard: int) -> float:
    """By how many seconds a shard's clock is ahead of this machine's. Raises as `shard_time`."""
    began = time.time()
    at = (await shard_time(shards, shard)).timestamp()
    return at - (began + time.time()) / 2


class ShardClocks:
    """What the shards' clocks show. Before the first reading of one: the clock of this machine."""

    def __init__(
        self,
        shards: ClientOfEach,
        timeout_s: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._shards = shards
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._now = now
        #: By shard: when it was read last, and the least and most that its clock is ahead of the monotonic clock.
        self._read: dict[int, tuple[float, float, float]] = {}

    async def read(self, shard: int, max_age_s: float = 0.0) -> None:
        """Read the clock of a shard, unless it was read within the last `max_age_s`.

        Raises:
            StoreUnavailable: the shard does not answer.
        """
        began = self._monotonic()
        if shard in self._read and began - self._read[shard][0] < max_age_s:
            return
        with mongo_call(f"read the clock of shard {shard}", self._timeout_s):
            at = (await shard_time(self._shards, shard)).timestamp()
        ended = self._monotonic()
        self._read[shard] = (began, at - ended, at + _RESOLUTION_S - began)

    def latest_ms(self, shard: int) -> int:
        """The most that the shard's clock may show now: milliseconds since the epoch, rounded up."""
        _, _, ahead = self._read.get(shard) or self._unknown()
        return math.ceil((self._monotonic() + ahead) * 1000)

    def earliest(self, shard: int) -> datetime:
        """The least that the shard's clock may show now, in whole milliseconds."""
        _, ahead, _ = self._read.get(shard) or self._unknown()
        shown_ms = math.floor((self._monotonic() + ahead) * 1000)
        return _EPOCH + timedelta(milliseconds=shown_ms)

    def later_now(self, shard: int) -> datetime:
        """The later one of what this machine and the shard may show.

        For what must not be taken for younger than it is, although one of the two clocks is behind, or the machine was suspended.
        """
        return max(self._own(), _EPOCH + timedelta(milliseconds=self.latest_ms(shard)))

    def earlier_now(self, shard: int) -> datetime:
        """The earlier one of both, in whole milliseconds: for times that must not lie in the future, although one of the clocks is ahead."""
        own = self._own()
        return min(own.replace(microsecond=own.microsecond // 1000 * 1000), self.earliest(shard))

    def _own(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)

    def _unknown(self) -> tuple[float, float, float]:
        ahead = self._now() - self._monotonic()
        return 0.0, ahead, ahead


class FollowedClocks(ShardClocks):
    """Reads each shard's clock every 15 s, from `start` to `stop`. No caller waits for a reading."""

    _task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(tasks.keep_running("clocks of the shards", self._follow))

    async def stop(self) -> None:
        await tasks.stop([self._task])

    async def _follow(self) -> None:
        while True:
            await tasks.all_ended(map(self._try_read, range(len(self._shards))))
            await asyncio.sleep(_READ_EVERY_S)

    async def _try_read(self, shard: int) -> None:
        with suppress(StoreUnavailable):  # the last reading is carried on
            await self.read(shard)
