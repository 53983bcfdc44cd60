"""Counts the region's running workers that have loaded a placement (Redis).

Only a moving counter proves a running worker; its value stays behind when a region is killed. If Redis is away or empty the answer
is "no worker runs", which costs a starting worker reads of other regions' logs, never safety.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisError

if TYPE_CHECKING:
    from redis.asyncio import Redis

_KEY: Final = "control:presence"
#: Workers beat twice a second: long enough to see a beat, short enough not to delay a start.
_WATCH_S: Final = 1.5
_EXPIRE_S: Final = 60


class RedisHeartbeat:
    """See `placement_follower.Heartbeat`."""

    def __init__(self, redis: Redis, region: str, watch_s: float = _WATCH_S) -> None:
        self._redis = redis
        self._key = f"{_KEY}:{region}"
        self._watch_s = watch_s

    async def beat(self) -> None:
        """Increment the counter; does nothing if Redis does not answer."""
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.incr(self._key)
                pipeline.expire(self._key, _EXPIRE_S)
                await pipeline.execute()
        except (RedisError, OSError, TimeoutError):
            return

    async def others_run(self) -> bool:
        """Whether the counter moves during `watch_s`; this worker itself does not beat yet."""
        try:
            before = await self._redis.get(self._key)
            if before is None:
                return False
            await asyncio.sleep(self._watch_s)
            return bool(await self._redis.get(self._key) not in (None, before))
        except (RedisError, OSError, TimeoutError):
            return False
