"""The gauges of timers that are due and whose attempt has not begun."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from notify_streams import metrics
from notify_streams.errors import RetryLater

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime

    from notify_streams.delivery.timers import TimerReader
    from notify_streams.stores.shard_clocks import ShardClocks

_EVERY_S: Final = 5.0
_CLOCK_AGE_S: Final = 30.0


class DueTimers:
    """Looks every 5 s, also while the provider is not called and no timer is read. So no batch costs a look of its own."""

    def __init__(self, timers: TimerReader, clocks: ShardClocks, begun: Collection[bytes]) -> None:
        """`begun`: keys of the timers whose attempt has begun; it changes."""
        self._timers = timers
        self._clocks = clocks
        self._begun = begun
        #: By shard: how many were due, and when the oldest was.
        self._known: dict[int, tuple[int, datetime | None]] = {}

    async def run(self, owned: Callable[[], Mapping[int, Collection[int]]]) -> None:
        """`owned` returns the buckets of this worker by shard."""
        while True:
            await self.look(owned())
            await asyncio.sleep(_EVERY_S)

    async def look(self, owned: Mapping[int, Collection[int]]) -> None:
        """Set the gauges. Of a shard that does not answer the timers that were known stay, and grow later."""
        self._known = {shard: known for shard, known in self._known.items() if shard in owned}
        for shard, buckets in owned.items():
            try:
                await self._clocks.read(shard, _CLOCK_AGE_S)
                now = self._clocks.earliest(shard)
                self._known[shard] = await self._timers.count_due(shard, buckets, now, self._begun)
            except RetryLater:
                continue  # the loop that reads due timers says so
        late_s = [
            (self._clocks.earliest(shard) - oldest).total_seconds()
            for shard, (_, oldest) in self._known.items()
            if oldest is not None
        ]
        metrics.TIMERS_DUE.set(sum(count for count, _ in self._known.values()))
        metrics.TIMER_OLDEST_DUE.set(max(late_s, default=0.0))
