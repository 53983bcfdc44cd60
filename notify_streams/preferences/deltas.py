"""The Redis delta: for `delta_ttl_s` after a change, the changed person's compiled row under one key.

Redis is trusted only while the lease is there (`preferences.keeper`): without it a key that is missing says nothing. A Redis that fails is
left alone for a moment, so that a hanging one costs `redis_timeout_s` once and not at every batch.
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

if TYPE_CHECKING:
    from asyncio import Future, Task
    from collections.abc import Mapping, Sequence

    from redis.asyncio import Redis

    #: User ids, and where their deltas go.
    _Question = tuple[Sequence[str], Future[list[bytes | None] | None]]

_KEYS_A_CALL: Final = 500
#: An MGET holds Redis up while it runs: as soon as one has so many keys, what else waits takes the next.
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
        self._waiting: list[_Question] = []
        self._reading: Task[None] | None = None
        #: How often a read found Redis not to be trusted.
        self.redis_unavailable = 0

    async def read(self, user_ids: Sequence[str]) -> list[bytes | None] | None:
        """The deltas in the order of `user_ids`; None if Redis cannot be trusted now. Never raises.

        What is asked for while an MGET is under way shares the next one: a region's partitions often have one trigger each. An answer
        comes from an MGET that began after it was asked for.
        """
        answer: Future[list[bytes | None] | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((user_ids, answer))
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_waiting())
        return await answer

    async def _read_waiting(self) -> None:
        asked: list[_Question] = []
        try:
            while self._waiting:
                asked = self._next()
                found = await self._mget([user_id for user_ids, _ in asked for user_id in user_ids])
                at = 0
                for user_ids, answer in asked:
                    end = at + len(user_ids)
                    self._answer(answer, None if found is None else found[at:end])
                    at = end
        finally:
            self._reading = None
            # Whatever ended this: nobody waits for ever, and nobody trusts what was not read.
            for _, answer in (*asked, *self._waiting):
                if not answer.done():
                    self._answer(answer, None)
            self._waiting = []

    def _next(self) -> list[_Question]:
        count = taken = 0
        while taken < len(self._waiting) and (not taken or count < _READ_AT_ONCE):
            count += len(self._waiting[taken][0])
            taken += 1
        asked, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return asked

    def _answer(self, answer: Future[list[bytes | None] | None], found: list[bytes | None] | None) -> None:
        if found is None:
            self.redis_unavailable += 1
            REDIS_UNAVAILABLE.inc()
        if not answer.done():
            answer.set_result(found)

    async def _mget(self, user_ids: Sequence[str]) -> list[bytes | None] | None:
        if time.monotonic() < self._alone_until:
            return None
        keys = [self.lease_key]
        keys += [self._user + user_id for user_id in user_ids]
        try:
            found = cast("list[bytes | None]", await self._redis.mget(keys))
        except (RedisError, OSError):
            self._alone_until = time.monotonic() + _LEFT_ALONE_S
            return None
        return None if found[0] is None else found[1:]

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
