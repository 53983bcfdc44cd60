"""Deltas in Redis: after a change, the user's row under one key for `delta_ttl_s`.

Redis is trusted only while the lease exists (`lease_renewal`): without it a missing key means nothing. Nor does it while the deltas live
shorter than the settings of this process say, because workers with other settings still run. After an error reads skip Redis for
a moment (circuit breaker): a Redis that does not answer then costs one `redis_timeout_s`, not one for each batch.
"""

from __future__ import annotations

import asyncio
import time
from itertools import islice
from typing import TYPE_CHECKING, Final, cast

from redis.exceptions import RedisError

from notify_streams.errors import StoreUnavailable
from notify_streams.metrics import REDIS_UNAVAILABLE
from notify_streams.preferences.lease_scripts import WRITE_DELTAS
from notify_streams.stores.redis import note_refusal, redis_call
from notify_streams.stores.request_batcher import RequestBatcher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis.asyncio import Redis

    from notify_streams.preferences.staleness_bound import StalenessBound

_KEYS_PER_WRITE: Final = 500
#: Redis serves no one else during an MGET. A single request may have more keys than this.
_KEYS_PER_READ: Final = 2_000
_BREAKER_S: Final = 0.5
#: The value of a lease that a worker of an earlier checkout renewed; any other one is the life of the deltas in ms.
_UNKNOWN_TTL: Final = b"1"


class Deltas:
    """Reads and writes deltas. Processes with the same `prefix` share them."""

    def __init__(self, redis: Redis, delta_ttl_s: float, prefix: str = "p") -> None:
        self._redis = redis
        self._ttl_ms = int(delta_ttl_s * 1000)
        self._key_prefix = f"{prefix}:"
        #: A pattern for the keys of all deltas.
        self.keys = f"{prefix}:*"
        self.lease_key = f"{prefix}!lease"
        self._write_deltas = redis.register_script(WRITE_DELTAS)
        self._breaker_open_until = 0.0
        self._reads = RequestBatcher(self._read, _KEYS_PER_READ)

    async def read(self, user_ids: Sequence[str]) -> list[bytes | None] | None:
        """The deltas in the order of `user_ids`; None if Redis cannot be trusted now. Errors of Redis are not raised.

        Reads that come during an MGET share the next one.
        """
        deltas = await self._reads.call(user_ids, len(user_ids))
        if deltas is None:
            REDIS_UNAVAILABLE.inc()
        return deltas

    async def _read(self, requests: Sequence[Sequence[str]]) -> Sequence[list[bytes | None] | None]:
        not_trusted = [None] * len(requests)
        if time.monotonic() < self._breaker_open_until:
            return not_trusted
        keys = [self.lease_key]
        keys += [self._key_prefix + user_id for user_ids in requests for user_id in user_ids]
        try:
            lease, *values = cast("list[bytes | None]", await self._redis.mget(keys))
        except (RedisError, OSError) as error:
            note_refusal(self._redis, error)
            self._breaker_open_until = time.monotonic() + _BREAKER_S
            return not_trusted
        if lease != _UNKNOWN_TTL and not (lease and lease.isdigit() and int(lease) >= self._ttl_ms):
            return not_trusted
        deltas = iter(values)
        return [list(islice(deltas, len(user_ids))) for user_ids in requests]

    async def write(self, rows: Mapping[str, bytes]) -> None:
        """Set deltas, each only if it is newer than the stored one.

        Raises:
            StoreUnavailable: Redis refused or did not answer; some may have been set.
        """
        remaining = iter(rows.items())
        while chunk := list(islice(remaining, _KEYS_PER_WRITE)):
            with redis_call(self._redis):
                await self._write_deltas(
                    keys=[self._key_prefix + user_id for user_id, _ in chunk],
                    args=[self._ttl_ms, *(row for _, row in chunk)],
                )

    async def delete(self, user_id: str) -> None:
        """Delete a user's delta.

        Raises:
            StoreUnavailable: Redis refused or did not answer.
        """
        with redis_call(self._redis):
            await self._redis.delete(self._key_prefix + user_id)


async def make_visible(deltas: Deltas, bound: StalenessBound, rows: Mapping[str, bytes]) -> None:
    """Return when every check that begins from now on sees these rows, which are durable: without Redis, when no lease can hide them."""
    try:
        await deltas.write(rows)
    except StoreUnavailable:
        await asyncio.sleep(bound.lease_s)
