"""Triggers that waited are published when they are due, a few megabytes at a time."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from notify_streams.records.batch import OutboxRecord
from notify_streams.routing.waiting_triggers import WaitingTriggers, waiting
from notify_streams.stores.mongo import TIMERS
from tests.builders import ARecord
from tests.integration.outbox.outbox_fixtures import EVEN, ODD, Bench
from tests.waiting import until

MB = 1024 * 1024


class Published:
    """The values of each publication."""

    def __init__(self) -> None:
        self.calls: list[list[bytes]] = []
        #: Raised by the next calls.
        self.errors: list[Exception] = []

    async def __call__(self, outputs: Sequence[OutboxRecord]) -> None:
        if self.errors:
            raise self.errors.pop()
        self.calls.append([value for _, _, _, value, _ in outputs])

    @property
    def count(self) -> int:
        return sum(map(len, self.calls))


async def add_timers(bench: Bench, values: Sequence[bytes], bucket: int, due_in_s: float, first: int = 0) -> None:
    due_at = datetime.now(UTC) + timedelta(seconds=due_in_s)
    entries = [
        waiting(ARecord(value, offset=at), "standard", "triggers.payments", bucket, due_at)
        for at, value in enumerate(values, first)
    ]
    timers = [dict(entry.timer) for entry in entries if entry.timer is not None]
    await bench.shards.collection(TIMERS, bucket).insert_many(timers)


def waiting_triggers(bench: Bench, published: Published) -> WaitingTriggers:
    return WaitingTriggers(bench.shards, "standard", published, lambda: {EVEN, ODD}, 5.0)


async def test_many_large_triggers_are_published_some_megabytes_at_a_time(bench: Bench) -> None:
    await add_timers(bench, [b"." * (MB // 4)] * 48, EVEN, due_in_s=-1)
    await add_timers(bench, [b"odd"], ODD, due_in_s=-1)
    await add_timers(bench, [b"later"], EVEN, due_in_s=3600, first=48)
    published = Published()
    triggers = waiting_triggers(bench, published)
    await triggers.start()
    try:
        await until(lambda: published.count >= 49)
    finally:
        await triggers.stop()
    assert max(sum(map(len, values)) for values in published.calls) <= 4.5 * MB
    values = [value for call in published.calls for value in call]
    assert (values.count(b"odd"), values.count(b"later")) == (1, 0)


async def test_a_trigger_is_published_when_it_is_due(bench: Bench) -> None:
    async def is_deleted() -> bool:
        return not await bench.all_of(TIMERS)

    await add_timers(bench, [b"soon"], EVEN, due_in_s=0.5)
    published = Published()
    triggers = waiting_triggers(bench, published)
    await triggers.start()
    try:
        await until(is_deleted)
    finally:
        await triggers.stop()
    assert published.calls == [[b"soon"]]


async def test_an_unknown_error_ends_no_waiting(bench: Bench) -> None:
    """As aiokafka's for a partition that a topic does not have."""
    await add_timers(bench, [b"due"], EVEN, due_in_s=-1)
    published = Published()
    published.errors = [AssertionError("Unrecognized partition")]
    triggers = waiting_triggers(bench, published)
    await triggers.start()
    try:
        await until(lambda: published.calls == [[b"due"]])
    finally:
        await triggers.stop()


async def test_a_partition_that_takes_nothing_delays_the_triggers_of_no_other(bench: Bench) -> None:
    led = asyncio.Event()

    class OneWithoutALeader(Published):
        async def __call__(self, outputs: Sequence[OutboxRecord]) -> None:
            if any(partition == EVEN for _, partition, *_ in outputs):
                await led.wait()
            await super().__call__(outputs)

    other = EVEN + 2
    published = OneWithoutALeader()
    triggers = WaitingTriggers(bench.shards, "standard", published, lambda: {EVEN, other}, 5.0)
    await add_timers(bench, [b"stuck"], EVEN, due_in_s=-1)
    await add_timers(bench, [b"first"], other, due_in_s=-1)
    await triggers.start()
    try:
        await until(lambda: published.count == 1)
        await add_timers(bench, [b"second"], other, due_in_s=-1, first=1)
        triggers.wake()
        await until(lambda: published.count == 2)
        led.set()
        await until(lambda: published.count == 3)
    finally:
        await triggers.stop()
    assert [value for call in published.calls for value in call] == [b"first", b"second", b"stuck"]
