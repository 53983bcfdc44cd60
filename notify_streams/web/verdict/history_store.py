"""Keeps problems and charts of the last hour in Redis.

So a worker of the role views that is restarted still tells them, and several agree. ``control:problems:<region>`` is a hash: worker → the
episodes that it knows, merged by each reader. ``control:charts:<region>`` is a hash: slot → values; the first worker to write a slot decides
it. Without Redis each worker goes on with what it knows, and writes it when Redis is back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from notify_streams.field_errors import DECODE_ERRORS
from notify_streams.stores.redis import redis_call
from notify_streams.web.verdict.history import KEPT_S, Episode, ProblemHistory
from notify_streams.web.verdict.series import SLOTS, Slot, is_valid, slot_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis.asyncio import Redis

    from notify_streams.web.verdict.problem import Verdict

_MAX_EPISODES: Final = 200
_MAX_BYTES: Final = 512 * 1024
#: Slots that are read each time; older ones are known.
_LATEST: Final = 3
_MAX_WRITTEN: Final = 50
#: What was found longer ago may have ended.
_FRESH_S: Final = 20.0


class _Known(msgspec.Struct, frozen=True):
    """The episodes that one worker knows."""

    observed: float
    episodes: list[Episode]


_pack: Final = msgspec.msgpack.Encoder().encode
_unpack_known: Final = msgspec.msgpack.Decoder(_Known).decode
_unpack_slot: Final = msgspec.msgpack.Decoder(Slot).decode


class HistoryStore:
    """The history of one region, as all its workers of the role views know it."""

    def __init__(self, redis: Redis, region: str, worker_id: str) -> None:
        self._redis = redis
        self._problems = f"control:problems:{region}"
        self._charts = f"control:charts:{region}"
        self._worker = worker_id.encode()
        #: Whether all slots of Redis were read.
        self._has_read = False

    async def exchange(self, history: ProblemHistory, slots: dict[int, Slot], now: float) -> None:
        """Write what this worker knows, and add what others know.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        await self._read(history, slots, now)
        expires_s = int(2 * KEPT_S)
        with redis_call(self._redis):
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.hset(self._problems, self._worker, _pack(_Known(history.observed, history.episodes())))
                pipeline.expire(self._problems, expires_s)
                pipeline.hdel(self._charts, *_ended_slots(now))
                pipeline.hlen(self._charts)
                *_, stored = await pipeline.execute()
            missing = sorted(slots)[-_LATEST:] if stored >= len(slots) - 1 else sorted(slots)[-SLOTS:]
            if missing:
                await self._write_slots({number: slots[number] for number in missing}, expires_s)
                await self._adopt(slots, missing[-_LATEST:], now)

    async def current(self, now: float) -> Verdict | None:
        """What the workers of the role views have found, for one that does not observe; None: none of them runs.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        history = ProblemHistory()
        await self._read(history, {}, now)
        return history.verdict(history.observed) if now - history.observed <= _FRESH_S else None

    async def _read(self, history: ProblemHistory, slots: dict[int, Slot], now: float) -> None:
        with redis_call(self._redis):
            problems: Mapping[Any, Any] = await self._redis.hgetall(self._problems)
            charts: Mapping[Any, Any] = {} if self._has_read else await self._redis.hgetall(self._charts)
        old = []
        for worker, value in problems.items():
            known = _decoded(_unpack_known, value)
            if known is None or now - known.observed > KEPT_S:
                old.append(worker)
            elif worker != self._worker or not self._has_read:
                history.merge(_not_ahead(known, now), min(known.observed, now))
        self._has_read = True
        gone = [name for name, value in charts.items() if not _add(slots, name, value, now)]
        with redis_call(self._redis):
            if old:
                await self._redis.hdel(self._problems, *old)
            if gone:
                await self._redis.hdel(self._charts, *gone)

    async def _write_slots(self, slots: Mapping[int, Slot], expires_s: int) -> None:
        numbers = list(slots)
        for start in range(0, len(numbers), _MAX_WRITTEN):
            async with self._redis.pipeline(transaction=False) as pipeline:
                for number in numbers[start : start + _MAX_WRITTEN]:
                    pipeline.hsetnx(self._charts, str(number), _pack(slots[number]))
                pipeline.expire(self._charts, expires_s)
                await pipeline.execute()

    async def _adopt(self, slots: dict[int, Slot], numbers: list[int], now: float) -> None:
        """Take the slots as the first writer wrote them."""
        names = [str(number).encode() for number in numbers]
        values: list[Any] = await self._redis.hmget(self._charts, names)
        for name, value in zip(names, values, strict=True):
            if value is not None:
                _add(slots, name, value, now)


def _not_ahead(known: _Known, now: float) -> list[Episode]:
    """Its episodes, by this machine's clock if the other one is ahead: what it has seen would be seen until that time is here."""
    ahead_s, found = max(0.0, known.observed - now), known.episodes[-_MAX_EPISODES:]
    if not ahead_s:
        return found
    return [msgspec.structs.replace(one, since=one.since - ahead_s, seen=one.seen - ahead_s) for one in found]


def _ended_slots(now: float) -> list[str]:
    """Those that have just left the last hour; older ones were removed then, or are when a worker starts."""
    last = slot_of(now) - SLOTS
    return [str(number) for number in range(last - _LATEST, last + 1)]


def _add(slots: dict[int, Slot], name: bytes, value: bytes, now: float) -> bool:
    """Whether it is a slot of the last hour."""
    slot = _decoded(_unpack_slot, value)
    if slot is None or not name.isdigit() or len(name) > 15 or not is_valid(int(name), slot, now):
        return False
    slots[int(name)] = slot
    return True


def _decoded(unpack: Any, value: bytes) -> Any:
    try:
        return unpack(value) if len(value) <= _MAX_BYTES else None
    except (*DECODE_ERRORS, ValueError):
        return None
