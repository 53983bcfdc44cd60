"""The queue before the flush: bounded, in order, and each flush a run without gaps."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.outbox.flush_queue import FlushQueue
from notify_streams.settings import OutboxSettings
from tests.builders import AckRecorder, a_decided_batch, an_entry

HEAVY = an_entry(data={"x": "y" * 1_000})


def a_queue(**but: Any) -> FlushQueue:
    usual = {"flush_records": 4, "waiting_records": 100, "flush_bytes": 10**9, "waiting_bytes": 10**9}
    return FlushQueue(0, OutboxSettings(**(usual | but)))


def some(count: int, start: int = 0, **but: Any) -> Any:
    return a_decided_batch(*[an_entry(str(start + place)) for place in range(count)], start=start, **but)


async def filled(queue: FlushQueue, *batches: Any) -> FlushQueue:
    for batch in batches:
        await queue.put(batch)
    return queue


async def test_a_flush_takes_what_waits_up_to_its_bound() -> None:
    queue = await filled(a_queue(), some(2), some(2, 2), some(1, 4))
    assert [batch.start for batch in await queue.next_flush()] == [0, 2]
    assert [batch.start for batch in await queue.next_flush()] == [4]


async def test_a_batch_larger_than_a_flush_goes_alone() -> None:
    queue = await filled(a_queue(), some(9), some(1, 9))
    assert [batch.start for batch in await queue.next_flush()] == [0]


async def test_a_flush_has_a_bound_in_bytes() -> None:
    """4,000 triggers of 256 KB would be a transaction that cannot end within its timeout, tried again for ever."""
    each = a_decided_batch(HEAVY).size_bytes
    queue = a_queue(flush_bytes=2 * each)
    for start in range(3):
        await queue.put(a_decided_batch(HEAVY, start=start))
    assert [batch.start for batch in await queue.next_flush()] == [0, 1]


@pytest.mark.parametrize(
    "bound",
    [{"waiting_records": 3}, {"waiting_bytes": 2 * a_decided_batch(HEAVY).size_bytes}],
    ids=["records", "bytes"],
)
async def test_whoever_puts_waits_while_too_much_waits(bound: Any) -> None:
    queue = await filled(a_queue(flush_records=1, **bound), a_decided_batch(HEAVY), a_decided_batch(HEAVY, start=1))
    blocked = asyncio.create_task(queue.put(a_decided_batch(HEAVY, start=2)))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not blocked.done()
    await queue.next_flush()
    await asyncio.wait_for(blocked, 1)


async def test_batches_of_the_other_lane_alone_fill_the_queue_too() -> None:
    queue = a_queue(waiting_records=3)
    await filled(queue, *[a_decided_batch(other_lane=5, start=5 * place) for place in range(3)])
    blocked = asyncio.create_task(queue.put(a_decided_batch(other_lane=5, start=15)))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not blocked.done()
    blocked.cancel()


async def test_a_batch_that_waits_for_room_is_forgotten_with_the_rest() -> None:
    """It was decided before a rebalance; behind the same records, read again, it would be counted twice."""
    queue = await filled(a_queue(waiting_records=2), some(5))
    blocked = asyncio.create_task(queue.put(some(5, 5)))
    for _ in range(5):
        await asyncio.sleep(0)
    await queue.discard(None)
    await asyncio.wait_for(blocked, 1)
    assert not queue


@pytest.mark.parametrize(
    ("second", "why"), [(some(2, 0), "the same again"), (some(2, 5), "a gap"), (some(2, 1), "an overlap")]
)
async def test_batches_that_do_not_follow_on_each_other_are_not_flushed_together(second: Any, why: str) -> None:
    queue = await filled(a_queue(flush_records=100), some(2, 0), second)
    assert [len(await queue.next_flush()) for _ in range(2)] == [1, 1], why


async def test_sources_do_not_disturb_each_other() -> None:
    queue = await filled(a_queue(flush_records=100), some(1, 0), some(1, 50, topic="triggers.b"), some(1, 1))
    assert len(await queue.next_flush()) == 3


async def test_forgetting_one_source_keeps_the_others_and_makes_room() -> None:
    queue = await filled(a_queue(waiting_records=4), some(1, 0), some(1, 0, topic="triggers.b"))
    blocked = asyncio.create_task(queue.put(some(1, 1)))
    for _ in range(5):
        await asyncio.sleep(0)
    await queue.discard([("triggers.payments", 3)])
    await asyncio.wait_for(blocked, 1)
    assert [batch.topic for batch in await queue.next_flush()] == ["triggers.b", "triggers.payments"]


async def test_where_nothing_waits_any_more_nothing_is_taken_and_nobody_waits_for_the_next() -> None:
    queue = await filled(a_queue(), some(1, acks=(acks := AckRecorder())))
    acks.overtaken = True
    assert await asyncio.wait_for(queue.next_flush(), 1) == []
    assert await asyncio.wait_for(queue.next_flush(), 1) == []


async def test_who_asks_whether_something_comes_is_told() -> None:
    queue = a_queue()
    assert not await queue.wait(within_s=0.01)
    asked = asyncio.create_task(queue.wait(within_s=5))
    await asyncio.sleep(0)
    await queue.put(some(1))
    assert await asyncio.wait_for(asked, 1)


steps = st.lists(
    st.tuples(st.sampled_from(["put", "take", "forget", "forget all"]), st.integers(0, 4), st.sampled_from("ab")),
    max_size=30,
)


@given(steps=steps)
async def test_nothing_is_lost_doubled_or_reordered(steps: Any) -> None:
    queue = a_queue(waiting_records=10**6)
    expected: list = []
    ends = {"a": 0, "b": 0}
    for what, count, topic in steps:
        if what == "put":
            batch = some(count, ends[topic], topic=topic)
            ends[topic] = batch.end
            expected.append(batch)
            await queue.put(batch)
        elif what == "take" and expected:
            taken = await queue.next_flush()
            assert taken == expected[: len(taken)]
            assert len(taken) == 1 or sum(len(batch.entries) for batch in taken) <= 4
            del expected[: len(taken)]
        elif what == "forget":
            await queue.discard([(topic, 3)])
            expected = [batch for batch in expected if batch.topic != topic]
        elif what == "forget all":
            await queue.discard(None)
            expected = []
        assert bool(queue) == bool(expected)
        assert queue._records == sum(len(batch.entries) + 1 for batch in expected)
        assert queue._bytes == sum(batch.size_bytes for batch in expected)


async def test_what_is_read_again_by_now_is_dropped_wherever_it_waits() -> None:
    """At full load every partition has a batch that waits for room: flushed after its partition was sought back, it would be refused."""
    overtaken, good = some(2), some(2, partition=5)
    queue = await filled(a_queue(waiting_records=3), overtaken)
    blocked = some(2, 2)
    putting = asyncio.create_task(queue.put(blocked))
    for batch in (overtaken, blocked):
        batch.ack_handle.overtaken = True
    assert await queue.next_flush() == []
    await putting
    await queue.put(good)
    assert await queue.next_flush() == [good]
    assert not queue
