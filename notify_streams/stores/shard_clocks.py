"""The clocks of the shards: timers are due by them.

A reading of the primary's clock is carried on by the monotonic clock of this machine.
"""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from collections.abc import Callable

    from notify_streams.stores.mongo import Shards

#: MongoDB says its time in whole milliseconds, rounded down.
_RESOLUTION_S: Final = 0.001


async def shard_time(shards: Shards, shard: int) -> datetime:
    """What the clock of a shard's primary shows, in whole milliseconds.

    Raises:
        PyMongoError: it does not answer.
    """
    hello = await shards.client(shard).admin.command("hello")
    # The driver gives UTC without a zone.
    shown: datetime = hello["localTime"].replace(tzinfo=UTC)
    return shown


async def shard_ahead_s(shards: Shards, shard: int) -> float:
    """By how many seconds a shard's clock is ahead of this machine's. Raises as `shard_time`."""
    began = time.time()
    at = (await shard_time(shards, shard)).timestamp()
    return at - (began + time.time()) / 2


class ShardClocks:
    """What the shards' clocks show. Before the first reading of one: the clock of this machine."""

    def __init__(
        self,
        shards: Shards,
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
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=shown_ms)

    def _unknown(self) -> tuple[float, float, float]:
        ahead = self._now() - self._monotonic()
        return 0.0, ahead, ahead
