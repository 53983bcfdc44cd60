"""Renews the lease that says "the deltas in Redis are complete".

Any worker may renew it. The one that did so last does it again, a few times a second; another one stands by, the others look now and then
who does. A renewal reads Redis's time, copies the changes of the preference records since the last renewal into the deltas, and lets the
lease end `lease_s` after that time (`staleness_bound` has the proof). After a flush, a restart or a failover of Redis its epoch is gone or
names another server. Then all changes of the last `delta_ttl_s` are copied before Redis is trusted again; so they are when Redis's clock was
set ahead, which ends deltas early, and when `delta_ttl_s` became longer. A Redis that may evict keys gets no lease.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from bson import Timestamp

from notify_streams.errors import RetryLater, StoreUnavailable
from notify_streams.preferences.lease_scripts import BEGIN, RENEW
from notify_streams.retry import RetryPolicy
from notify_streams.stores.redis import redis_call

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from notify_streams.preferences.deltas import Deltas
    from notify_streams.preferences.repository import PreferenceRepository
    from notify_streams.preferences.staleness_bound import StalenessBound

log: Final = logging.getLogger(__name__)
#: A change gets its logical time a moment before it can be read. Each renewal reads again what changed in this last part.
_OVERLAP_S: Final = 1
#: How far MongoDB's clocks may differ when the changes of the last `delta_ttl_s` are read, and how far Redis's clock may go ahead of them
#: before deltas are missed: less than what lies between `young_s` and `delta_ttl_s` for it.
_CLOCK_SKEW_S: Final = 10
#: The lease is renewed when less than this part of it is left.
_RENEW_BELOW: Final = 0.6
#: The worker that renewed it last looks again when this part of it is left.
_LOOK_AT: Final = 0.58
#: The one that stands by looks when a part between these is left: by then it was renewed, if the other one is there.
_TAKE_OVER_AT: Final = (0.3, 0.45)
#: How long a worker stands by after a look, as a part of the lease.
_STANDBY: Final = 2.0
#: Between two looks of all others, as parts of the lease.
_NOW_AND_THEN: Final = (3.0, 5.0)
#: The shortest time between two looks, as parts of the lease.
_PAUSE: Final = (0.15, 0.25)
#: Returned by the script `RENEW`.
_MAY_EVICT: Final = -1


class LeaseRenewal:
    """Renews the lease of one Redis. Any number of processes may do so at the same time."""

    def __init__(
        self, redis: Redis, deltas: Deltas, repository: PreferenceRepository, bound: StalenessBound, prefix: str = "p"
    ) -> None:
        self._redis = redis
        self._deltas = deltas
        self._repository = repository
        self._bound = bound
        self._ttl_ms = int(bound.delta_ttl_s * 1000)
        #: Of Redis: the lease, and what it depends on.
        self.keys = [f"{prefix}!lease", f"{prefix}!epoch", f"{prefix}!busy", f"{prefix}!standby"]
        self._name = uuid4().hex
        self._begin_script = redis.register_script(BEGIN)
        self._renew_script = redis.register_script(RENEW)
        #: Rows that this process wrote in the last renewal, by shard; only valid for `_epoch`.
        self._copied: list[dict[str, bytes]] = []
        self._epoch = b""
        #: Of the last look: how long the lease lasts (s), and whether this process stands by.
        self._lasts_s, self._stands_by = 0.0, True
        #: Whether Redis answered the last renewal and can be trusted.
        self.works = False

    async def run(self) -> None:
        """Keep the lease renewed until cancelled."""
        retry_s = 0.25 * self._bound.lease_s
        attempts = RetryPolicy("preferences.lease", first_s=retry_s, max_s=retry_s).attempts()
        while True:
            try:
                renewed = await self.renew()
            except Exception as error:  # without a lease every check reads the durable records, so any error is retried
                if not isinstance(error, RetryLater):
                    log.exception("the lease was not renewed, will be retried", extra={"action": "lease.error"})
                self.works = False
                await attempts.failed(error)
                continue
            self.works = True
            attempts.succeeded()
            await asyncio.sleep(self._pause_s(renewed))

    def _pause_s(self, renewed: bool) -> float:
        lease_s = self._bound.lease_s
        if not self._stands_by:
            return random.uniform(*_NOW_AND_THEN) * lease_s
        look_at = _LOOK_AT if renewed else random.uniform(*_TAKE_OVER_AT)
        return max(self._lasts_s - look_at * lease_s, random.uniform(*_PAUSE) * lease_s)

    async def renew(self) -> bool:
        """Renew the lease if it is due and no other process is doing it; True if this call renewed it.

        Raises:
            StoreUnavailable: Redis or MongoDB did not answer, or Redis may evict keys.
        """
        lease_ms = int(self._bound.lease_s * 1000)
        with redis_call(self._redis):
            begun = await self._begin_script(
                keys=self.keys,
                args=[int(lease_ms * _RENEW_BELOW), lease_ms, uuid4().hex, self._name, int(lease_ms * _STANDBY)],
            )
        if len(begun) == 2:
            self._lasts_s, self._stands_by = begun[0] / 1000, bool(begun[1])
            return False
        self._stands_by = True
        now_ms, epoch, covered, least_ahead, ttl_ms = begun
        since = _decode_covered(covered, self._repository.shard_count)
        if int(ttl_ms) < self._ttl_ms:
            since = None
        reached = await self._copy(epoch, since)
        ahead_ms = now_ms - 1000 * max(moment.time for moment in reached)
        if since is not None and least_ahead:
            if ahead_ms - int(least_ahead) > _CLOCK_SKEW_S * 1000:
                reached = await self._copy(epoch, None)
            else:
                ahead_ms = min(ahead_ms, int(least_ahead))
        with redis_call(self._redis):
            renewed = await self._renew_script(
                keys=self.keys,
                args=[epoch, now_ms + lease_ms, _encode_covered(reached), self._name, ahead_ms, self._ttl_ms],
            )
        if renewed == _MAY_EVICT:
            raise StoreUnavailable("Redis may evict deltas: set its maxmemory-policy to noeviction")
        self._lasts_s = renewed / 1000
        return bool(renewed)

    async def _copy(self, epoch: bytes, covered: list[Timestamp] | None) -> list[Timestamp]:
        """Write the deltas that this epoch of Redis lacks. Returns each shard's logical time up to which it has them."""
        shards = range(self._repository.shard_count)
        if covered is None:
            log.info(
                "all recent deltas are copied: Redis is new, was flushed or failed over, its clock was set ahead, or they must live longer",
                extra={"action": "deltas.rebuild"},
            )
        if covered is None or epoch != self._epoch:
            self._copied = [{} for _ in shards]
            self._epoch = epoch
        return await asyncio.gather(*(self._copy_shard(shard, covered[shard] if covered else None) for shard in shards))

    async def _copy_shard(self, shard: int, covered: Timestamp | None) -> Timestamp:
        since = None if covered is None else Timestamp(max(0, covered.time - _OVERLAP_S), covered.inc)
        reached, rows = await self._repository.changed_since(shard, since, self._bound.delta_ttl_s + _CLOCK_SKEW_S)
        copied = self._copied[shard]
        await self._deltas.write({user_id: row for user_id, row in rows.items() if copied.get(user_id) != row})
        self._copied[shard] = rows
        return reached


def _encode_covered(reached: list[Timestamp]) -> str:
    return " ".join(f"{moment.time}.{moment.inc}" for moment in reached)


def _decode_covered(text: bytes, shard_count: int) -> list[Timestamp] | None:
    """None if nothing is covered, or for another number of shards."""
    parts = text.decode().split()
    if len(parts) != shard_count:
        return None
    return [Timestamp(*map(int, part.split("."))) for part in parts]
