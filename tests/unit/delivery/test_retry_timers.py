"""Due timers are looked for when the next one is due, whatever happens during a look."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from notify_streams.delivery.retry_timers import RetryTimers
from notify_streams.errors import StoreUnavailable
from notify_streams.records.channel_message import SharedPart, encode_for, encode_shared
from notify_streams.tasks import stop
from tests.waiting import until


class Timers:
    """No timer is due; the answer to the first look for the next one waits for `answer`."""

    def __init__(self) -> None:
        self.looks = 0
        self.answer = asyncio.Event()

    async def due(self, *_: Any) -> Sequence[Any]:
        self.looks += 1
        return []

    async def next_due(self, *_: Any) -> datetime | None:
        await self.answer.wait()
        return None


MESSAGE = encode_for(
    encode_shared(SharedPart("n", "t", "u", "marketing", datetime(2026, 1, 1, tzinfo=UTC))), "n.push", "push", "token"
)


@dataclass(frozen=True)
class Timer:
    key: bytes
    bucket: int
    record: bytes = MESSAGE
    due_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    may_have_arrived: bool = False


class Clocks:
    async def read(self, shard: int, age_s: float) -> None:
        return

    def earliest(self, shard: int) -> datetime:
        return datetime.now(UTC)


class Admission:
    def calls(self, now: float) -> int:
        return 1


def owned() -> Mapping[int, Mapping[int, Any]]:
    return {0: {}}


async def test_a_timer_that_is_armed_during_a_look_is_not_slept_over() -> None:
    timers: Any = Timers()
    clocks: Any = Clocks()
    admission: Any = Admission()
    loop: Any = None
    retries = RetryTimers(timers, clocks, admission, [loop], lambda partition, deliveries: None, set(), None)
    running = asyncio.create_task(retries.run(owned))
    await until(lambda: timers.looks == 1)
    retries.armed(0, int(time.time() * 1000) + 500)
    timers.answer.set()
    await until(lambda: timers.looks == 2, "the look may have come before the timer was written", within_s=10.0)
    await stop([running])


async def test_a_shard_that_does_not_answer_holds_up_no_other() -> None:
    class OneSilent(Clocks):
        async def read(self, shard: int, age_s: float) -> None:
            if shard == 0:
                raise StoreUnavailable("shard 0 does not answer")

    timers: Any = Timers()
    clocks: Any = OneSilent()
    admission: Any = Admission()
    loop: Any = None
    timers.answer.set()
    retries = RetryTimers(timers, clocks, admission, [loop, loop], lambda partition, deliveries: None, set(), None)
    running = asyncio.create_task(retries.run(lambda: {0: {}, 1: {}}))
    await until(lambda: timers.looks == 1)
    retries.look_now()
    await until(lambda: timers.looks == 2)
    await stop([running])


def retries_of(timers: Any, admission: Any, loop: Any, buckets: int) -> asyncio.Task[None]:
    """Runs for partitions of one shard, which has this settle loop; what it begins is dropped."""
    clocks: Any = Clocks()
    retries = RetryTimers(timers, clocks, admission, [loop], lambda partition, deliveries: None, set(), None)
    partitions: Any = {bucket: SimpleNamespace(number=bucket, shard=0, active=True) for bucket in range(buckets)}
    return asyncio.create_task(retries.run(lambda: {0: partitions}))


async def test_timers_of_many_buckets_are_claimed_in_one_flush() -> None:
    """Which a loop would otherwise make for each bucket in turn."""
    asked: list[int] = []
    answered = asyncio.Event()

    class Due(Timers):
        async def due(self, *_: Any) -> Sequence[Any]:
            return [] if asked else [Timer(bytes([bucket]), bucket) for bucket in range(5)]

    class Loop:
        async def claim_timers(self, partition: Any, timers: Sequence[Any]) -> bool:
            asked.append(partition.number)
            await answered.wait()
            return False

    class Places(Admission):
        def take_retries(self, want: int, shard: int) -> int:
            return want

        def release(self, *_: Any, **__: Any) -> None: ...

    running = retries_of(Due(), Places(), Loop(), buckets=5)
    await until(lambda: sorted(asked) == [0, 1, 2, 3, 4])
    answered.set()
    await stop([running])


async def test_a_timer_whose_message_cannot_be_read_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """Such as one of a later release, with a push provider that this one does not have."""
    skipped: list[set[bytes]] = []
    claimed: list[bytes] = []
    places: list[int] = []
    later = MESSAGE.replace(b'"channel":"push"', b'"channel":"fax"')

    class Due(Timers):
        async def due(self, *given: Any) -> Sequence[Any]:
            skipped.append(set(given[-1]))
            due = [Timer(b"1", 0, later), Timer(b"2", 0), Timer(b"3", 1, b"\xff"), Timer(b"4", 1)]
            return [one for one in due if one.key not in given[-1]] if len(skipped) == 1 else []

    class Loop:
        async def claim_timers(self, partition: Any, timers: Sequence[Any]) -> bool:
            claimed.extend(one.key for one in timers)
            return False

    class Places(Admission):
        def take_retries(self, want: int, shard: int) -> int:
            places.append(want)
            return want

        def release(self, count: int = 1, **_: Any) -> None:
            places.append(-count)

    running = retries_of(Due(), Places(), Loop(), buckets=2)
    await until(lambda: len(skipped) == 2)
    assert not running.done()
    assert sorted(claimed) == [b"2", b"4"] and skipped == [set(), {b"1", b"3"}] and sum(places) == 0
    lines = [vars(one) for one in caplog.records if vars(one).get("action") == "timer.unreadable"]
    assert [one["timer"] for one in lines] == [b"1".hex(), b"3".hex()] and "token" not in str(lines)
    await stop([running])
