"""Whether workers of this region run that have learnt who serves whom: a counter in the region's Redis that they keep moving.

Seeing it move is the proof; its value proves nothing, since the last beat of a region that was killed stays behind. Redis away or
empty means "nobody", which costs a start a question to another region, never safety.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisError

if TYPE_CHECKING:
    from redis.asyncio import Redis

_KEY: Final = "control:presence"
#: Workers beat twice a second; this is long enough to see one, short enough not to be felt at a start.
_WATCH_S: Final = 1.5
_EXPIRE_S: Final = 60


class RedisHeartbeat:
    """See `learning.Presence`."""

    def __init__(self, redis: Redis, region: str, watch_s: float = _WATCH_S) -> None:
        self._redis = redis
        self._key = f"{_KEY}:{region}"
        self._watch_s = watch_s

    async def beat(self) -> None:
        """Move the counter; a Redis that is away is passed over."""
        try:
            async with self._redis.pipeline(transaction=False) as both:
                both.incr(self._key)
                both.expire(self._key, _EXPIRE_S)
                await both.execute()
        except (RedisError, OSError, TimeoutError):
            return

    async def others_run(self) -> bool:
        """Whether the counter moves while we look; this worker itself does not beat yet."""
        try:
            before = await self._redis.get(self._key)
            if before is None:
                return False
            await asyncio.sleep(self._watch_s)
            return bool(await self._redis.get(self._key) not in (None, before))
        except (RedisError, OSError, TimeoutError):
            return False
