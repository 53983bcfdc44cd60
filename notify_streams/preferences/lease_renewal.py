"""The lease that says "the deltas in Redis are complete": renewed a few times a second by whichever worker comes first.

One renewal: ask Redis for its time, copy what changed in the durable record since the last renewal, and let the lease end `lease_s` after
that time (see `preferences.bound` for why this keeps the promise). After a flush, a restart or a failover the epoch is gone or names another
server: then everything of the last `delta_ttl_s` is copied before anybody trusts Redis again. A Redis that may evict keys gets no lease.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from bson import Timestamp
from redis.exceptions import RedisError

from notify_streams.errors import RetryLater, StoreUnavailable
from notify_streams.preferences.lease_scripts import BEGIN, RENEW

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from notify_streams.preferences.deltas import Deltas
    from notify_streams.preferences.repository import PreferenceRepository
    from notify_streams.preferences.staleness_bound import StalenessBound

_log: Final = logging.getLogger(__name__)
#: A change gets its logical time a moment before others can see it; the next look goes back by more than that moment.
_OVERLAP_S: Final = 1
#: Two clocks of the durable record may differ by this when "the last `delta_ttl_s`" is meant.
_SLACK_S: Final = 10
_RENEW_BELOW: Final = 0.6

_EVICTS: Final = -1


class LeaseRenewal:
    """Keeps the lease of one Redis. Any number may run; what one does is safe whatever the others do."""

    def __init__(
        self, redis: Redis, deltas: Deltas, durable: PreferenceRepository, bound: StalenessBound, prefix: str = "p"
    ) -> None:
        self._deltas = deltas
        self._durable = durable
        self._bound = bound
        self._keys = [f"{prefix}!lease", f"{prefix}!epoch", f"{prefix}!busy"]
        self._name = uuid4().hex
        self._begin = redis.register_script(BEGIN)
        self._renew = redis.register_script(RENEW)
        self._epoch = b""
        self._copied: list[dict[str, bytes]] = []
        self.renewals = 0
        self.repairs = 0
        self.failures = 0

    async def run(self) -> None:
        """Keep the lease until cancelled."""
        silent = False
        task = asyncio.current_task()
        # Python 3.11's wait_for, which both drivers use, can swallow a cancellation; the request for it stays visible.
        while task is None or not task.cancelling():
            try:
                await self.tick()
                silent = False
            except RetryLater as error:
                self.failures += 1
                if not silent:
                    _log.warning("the lease on deltas is not renewed: %s", error, extra={"action": "lease_not_renewed"})
                silent = True
            await asyncio.sleep(self._bound.lease_s * random.uniform(0.15, 0.25))

    async def tick(self) -> bool:
        """Renew the lease if it is due and nobody else is at it; True if this call renewed it.

        Raises:
            StoreUnavailable: Redis or the durable record did not answer, or Redis may not be trusted at all.
        """
        renew_below_ms = int(self._bound.lease_s * _RENEW_BELOW * 1000)
        try:
            begun = await self._begin(
                keys=self._keys, args=[renew_below_ms, int(self._bound.lease_s * 1000), uuid4().hex, self._name]
            )
            if not begun:
                return False
            now_ms, epoch, covered = begun
            reached = await self._copy(epoch, _read_covered(covered, len(self._durable)))
            until_ms = now_ms + int(self._bound.lease_s * 1000)
            answer = await self._renew(keys=self._keys, args=[epoch, until_ms, _write_covered(reached), self._name])
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"Redis: {type(error).__name__}") from error
        if answer == _EVICTS:
            raise StoreUnavailable("Redis may evict deltas: set its maxmemory-policy to noeviction")
        self.renewals += answer
        return bool(answer)

    async def _copy(self, epoch: bytes, covered: list[Timestamp] | None) -> list[Timestamp]:
        """Write the deltas that this epoch lacks; returns up to which logical time of each shard it has them."""
        if covered is None:
            self.repairs += 1
        if covered is None or epoch != self._epoch:
            self._copied = [{} for _ in range(len(self._durable))]
            self._epoch = epoch
        return await asyncio.gather(
            *(self._copy_shard(shard, covered[shard] if covered else None) for shard in range(len(self._durable)))
        )

    async def _copy_shard(self, shard: int, covered: Timestamp | None) -> Timestamp:
        since = None if covered is None else Timestamp(max(0, covered.time - _OVERLAP_S), covered.inc)
        reached, rows = await self._durable.changed_since(shard, since, self._bound.delta_ttl_s + _SLACK_S)
        copied = self._copied[shard]
        await self._deltas.write({user_id: row for user_id, row in rows.items() if copied.get(user_id) != row})
        self._copied[shard] = rows
        return reached


def _write_covered(reached: list[Timestamp]) -> str:
    return " ".join(f"{moment.time}.{moment.inc}" for moment in reached)


def _read_covered(text: bytes, shards: int) -> list[Timestamp] | None:
    """None if nothing is covered, or what is covered was written for another number of shards."""
    parts = text.decode().split()
    if len(parts) != shards:
        return None
    return [Timestamp(*map(int, part.split("."))) for part in parts]
