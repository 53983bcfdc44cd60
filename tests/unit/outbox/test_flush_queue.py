"""The flush queue: bounded, in order, and each flush without gaps."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.outbox import flush_queue
from notify_streams.outbox.decided_batch import DecidedBatch
from notify_streams.outbox.flush_queue import FlushQueue
from notify_streams.settings import OutboxSettings
from tests.builders import AckRecorder, a_decided_batch, an_outcome

HEAVY = an_outcome(data={"x": "y" * 1_000})


def a_queue(**but: Any) -> FlushQueue:
    usual = {"flush_records": 4, "waiting_records": 100, "flush_bytes": 10**9, "waiting_bytes": 10**9}
    return FlushQueue(0, OutboxSettings(**(usual | but)))


def some(count: int, start: int = 0, **but: Any) -> DecidedBatch:
    return a_decided_batch(*[an_outcome(str(start + place)) for place in range(count)], start=start, **but)


async def filled(queue: FlushQueue, *batches: DecidedBatch) -> FlushQueue:
    for batch in batches:
        await queue.put(batch)
    return queue


async def test_a_flush_takes_queued_batches_up_to_its_limit() -> None:
    queue = await filled(a_queue(), some(2), some(2, 2), some(1, 4))
    assert [batch.start for batch in await queue.next_flush()] == [0, 2]
    assert [batch.start for batch in await queue.next_flush()] == [4]


async def test_a_batch_larger_than_the_limit_is_flushed_alone() -> None:
    queue = await filled(a_queue(), some(9), some(1, 9))
    assert [batch.start for batch in await queue.next_flush()] == [0]


async def test_a_flush_is_limited_in_bytes() -> None:
    """A transaction of 4,000 triggers of 256 KB would never commit within its time-out."""
    each = a_decided_batch(HEAVY).size_bytes
    queue = a_queue(flush_bytes=2 * each)
    for start in range(3):
        await queue.put(a_decided_batch(HEAVY, start=start))
    assert [batch.start for batch in await queue.next_flush()] == [0, 1]


@pytest.mark.parametrize(
    "limit",
    [{"waiting_records": 3}, {"waiting_bytes": 2 * a_decided_batch(HEAVY).size_bytes}],
    ids=["records", "bytes"],
)
async def test_put_waits_while_the_queue_is_full(limit: dict[str, int]) -> None:
    queue = await filled(a_queue(flush_records=1, **limit), a_decided_batch(HEAVY), a_decided_batch(HEAVY, start=1))
    blocked = asyncio.create_task(queue.put(a_decided_batch(HEAVY, start=2)))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not blocked.done()
    await queue.next_flush()
    await asyncio.wait_for(blocked, 1)


async def test_batches_without_records_of_this_lane_fill_the_queue_too() -> None:
    queue = a_queue(waiting_records=3)
    await filled(queue, *[a_decided_batch(other_lane=5, start=5 * place) for place in range(3)])
    blocked = asyncio.create_task(queue.put(a_decided_batch(other_lane=5, start=15)))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not blocked.done()
    blocked.cancel()


async def test_a_batch_that_waits_for_space_is_discarded_with_the_queue() -> None:
    """It was decided before a rebalance; queued behind the same records, read again, it would be counted twice."""
    queue = await filled(a_queue(waiting_records=2), some(5))
    blocked = asyncio.create_task(queue.put(some(5, 5)))
    for _ in range(5):
        await asyncio.sleep(0)
    await queue.discard(None)
    await asyncio.wait_for(blocked, 1)
    assert not queue


@pytest.mark.parametrize(("second", "why"), [(some(2, 0), "repeated"), (some(2, 5), "gap"), (some(2, 1), "overlap")])
async def test_batches_that_do_not_follow_each_other_are_flushed_separately(second: DecidedBatch, why: str) -> None:
    queue = await filled(a_queue(flush_records=100), some(2, 0), second)
    assert [len(await queue.next_flush()) for _ in range(2)] == [1, 1], why


async def test_sources_do_not_affect_each_other() -> None:
    queue = await filled(a_queue(flush_records=100), some(1, 0), some(1, 50, topic="triggers.b"), some(1, 1))
    assert len(await queue.next_flush()) == 3


async def test_discarding_one_source_keeps_the_others_and_frees_space() -> None:
    queue = await filled(a_queue(waiting_records=4), some(1, 0), some(1, 0, topic="triggers.b"))
    blocked = asyncio.create_task(queue.put(some(1, 1)))
    for _ in range(5):
        await asyncio.sleep(0)
    await queue.discard([("triggers.payments", 3)])
    await asyncio.wait_for(blocked, 1)
    assert [batch.topic for batch in await queue.next_flush()] == ["triggers.b", "triggers.payments"]


async def test_a_flush_is_empty_if_every_batch_was_overtaken() -> None:
    queue = await filled(a_queue(), some(1, acks=(acks := AckRecorder())))
    acks.overtaken = True
    assert await asyncio.wait_for(queue.next_flush(), 1) == []
    assert await asyncio.wait_for(queue.next_flush(), 1) == []


async def test_wait_returns_whether_a_flush_is_due() -> None:
    queue = a_queue()
    assert not await queue.wait(within_s=0.01)
    waiting = asyncio.create_task(queue.wait(within_s=5))
    await asyncio.sleep(0)
    await queue.put(some(1))
    assert await asyncio.wait_for(waiting, 1)


def others(count: int, start: int = 0, **but: Any) -> DecidedBatch:
    """A batch of triggers of the other lane."""
    return a_decided_batch(start=start, end=start + count, other_lane=count, **but)


async def test_positions_without_a_trigger_are_flushed_with_the_next_one() -> None:
    queue = await filled(a_queue(), others(2), others(3, 2), others(1, partition=5))
    assert not await queue.wait(within_s=0.01)
    await queue.put(some(1, 5))
    assert await queue.wait(within_s=0.01)
    assert [batch.start for batch in await queue.next_flush()] == [0, 2, 0, 5]
    assert not await queue.wait(within_s=0.01)


async def test_positions_without_a_trigger_wait_only_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flush_queue, "_LATER_S", 0.01)
    queue = await filled(a_queue(), others(2))
    assert await asyncio.wait_for(queue.wait(), 1)
    assert [batch.end for batch in await queue.next_flush()] == [2]


async def test_many_positions_without_a_trigger_do_not_wait() -> None:
    """The transport delivers nothing more of a partition of which too much is not acknowledged."""
    queue = await filled(a_queue(), others(999))
    assert not await queue.wait(within_s=0.01)
    await queue.put(others(1, partition=5))
    assert await queue.wait(within_s=0.01)


async def test_a_full_queue_does_not_wait_for_a_trigger() -> None:
    queue = await filled(a_queue(waiting_records=2), others(1), others(1, 1))
    assert await queue.wait(within_s=0.01)


async def test_what_does_not_fit_into_a_flush_is_due_at_once() -> None:
    queue = await filled(a_queue(), some(4), some(4, 4))
    for start in (0, 4):
        assert await queue.wait(within_s=0.01)
        assert [batch.start for batch in await queue.next_flush()] == [start]
    assert not await queue.wait(within_s=0.01)


steps = st.lists(
    st.tuples(st.sampled_from(["put", "flush", "discard", "discard all"]), st.integers(0, 4), st.sampled_from("ab")),
    max_size=30,
)


@given(steps=steps)
async def test_nothing_is_lost_doubled_or_reordered(steps: list[tuple[str, int, str]]) -> None:
    queue = a_queue(waiting_records=10**6)
    expected: list[DecidedBatch] = []
    ends = {"a": 0, "b": 0}
    for action, count, topic in steps:
        if action == "put":
            batch = some(count, ends[topic], topic=topic)
            ends[topic] = batch.end
            expected.append(batch)
            await queue.put(batch)
        elif action == "flush" and expected:
            flush = await queue.next_flush()
            assert flush == expected[: len(flush)]
            assert len(flush) == 1 or sum(len(batch.entries) for batch in flush) <= 4
            del expected[: len(flush)]
        elif action == "discard":
            await queue.discard([(topic, 3)])
            expected = [batch for batch in expected if batch.topic != topic]
        elif action == "discard all":
            await queue.discard(None)
            expected = []
        assert bool(queue) == bool(expected)
        assert queue.records == sum(len(batch.entries) + 1 for batch in expected)
        assert queue.size_bytes == sum(batch.size_bytes for batch in expected)


async def test_overtaken_batches_are_dropped_queued_or_waiting_for_space() -> None:
    """At full load every partition has a batch that waits for space: flushed after a seek of its partition, it would be refused."""
    acks = AckRecorder()
    overtaken, good = some(2, acks=acks), some(2, partition=5)
    queue = await filled(a_queue(waiting_records=3), overtaken)
    blocked = some(2, 2, acks=acks)
    putting = asyncio.create_task(queue.put(blocked))
    acks.overtaken = True
    assert await queue.next_flush() == []
    await putting
    await queue.put(good)
    assert await queue.next_flush() == [good]
    assert not queue
