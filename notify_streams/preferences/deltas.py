"""The Redis delta: for `delta_ttl_s` after a change, the changed person's compiled row under one key.

Redis is trusted only while the lease is there (`preferences.keeper`): without it a key that is missing says nothing. A Redis that fails is
left alone for a moment, so that a hanging one costs `redis_timeout_s` once and not at every batch.
"""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Final, cast

from redis.exceptions import RedisError

from notify_streams.errors import StoreUnavailable
from notify_streams.metrics import REDIS_UNAVAILABLE
from notify_streams.preferences.lease_scripts import WRITE_DELTAS
from notify_streams.stores.request_batcher import RequestBatcher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis.asyncio import Redis

_KEYS_A_CALL: Final = 500
#: An MGET holds Redis up while it runs: one has so many keys at most, unless a single question has more.
_READ_AT_ONCE: Final = 2_000
_LEFT_ALONE_S: Final = 0.5


class Deltas:
    """Reads and writes deltas. `prefix` keeps several applications, or tests, apart."""

    def __init__(self, redis: Redis, delta_ttl_s: float, prefix: str = "p") -> None:
        self._redis = redis
        self._ttl_ms = int(delta_ttl_s * 1000)
        self._user = f"{prefix}:"
        self.lease_key = f"{prefix}!lease"
        self._write_deltas = redis.register_script(WRITE_DELTAS)
        self._alone_until = 0.0
        self._reads = RequestBatcher(self._read, _READ_AT_ONCE)
        #: How often a read found Redis not to be trusted.
        self.redis_unavailable = 0

    async def read(self, user_ids: Sequence[str]) -> list[bytes | None] | None:
        """The deltas in the order of `user_ids`; None if Redis cannot be trusted now. No failure of Redis is raised.

        What is asked for while an MGET is under way shares the next one: a region's partitions often have one trigger each.
        """
        found = await self._reads.call(user_ids, len(user_ids))
        if found is None:
            self.redis_unavailable += 1
            REDIS_UNAVAILABLE.inc()
        return found

    async def _read(self, asked: Sequence[Sequence[str]]) -> Sequence[list[bytes | None] | None]:
        if time.monotonic() < self._alone_until:
            return [None] * len(asked)
        keys = [self.lease_key]
        keys += [self._user + user_id for user_ids in asked for user_id in user_ids]
        try:
            lease, *found = cast("list[bytes | None]", await self._redis.mget(keys))
        except (RedisError, OSError):
            self._alone_until = time.monotonic() + _LEFT_ALONE_S
            return [None] * len(asked)
        if lease is None:
            return [None] * len(asked)
        deltas = iter(found)
        return [list(islice(deltas, len(user_ids))) for user_ids in asked]

    async def write(self, rows: Mapping[str, bytes]) -> None:
        """Set deltas, each only if it is newer than what is there.

        Raises:
            StoreUnavailable: Redis refused or did not answer; some may have been set.
        """
        waiting = iter(rows.items())
        while chunk := list(islice(waiting, _KEYS_A_CALL)):
            try:
                await self._write_deltas(
                    keys=[self._user + user_id for user_id, _ in chunk],
                    args=[self._ttl_ms, *(row for _, row in chunk)],
                )
            except (RedisError, OSError) as error:
                raise StoreUnavailable(f"Redis: {type(error).__name__}") from error
