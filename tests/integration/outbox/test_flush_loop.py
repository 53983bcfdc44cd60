"""From a decided batch to its acknowledgement, on a real shard: nothing lost, nothing counted twice, nothing said too early."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from notify_streams.stores.mongo import NOTIFICATIONS
from tests.builders import AckRecorder, a_decided_batch, an_entry
from tests.integration.outbox.outbox_fixtures import EVEN, ODD, SOURCE, Bench, Link, batch
from tests.waiting import until


async def test_a_batch_is_acknowledged_when_it_is_stored_and_published(
    bench: Bench, running: Callable[[Any], asyncio.Task[None]]
) -> None:
    await bench.open()
    commit, acks = bench.commit(), AckRecorder()
    running(commit.run())
    await commit.submit(batch("a", "b", acks=acks))
    await until(lambda: acks.acknowledged)
    assert bench.broker.ids() == ["a", "b"] == await bench.trigger_ids()
    assert await bench.position() == 2 and await bench.closes()


async def test_nothing_is_acknowledged_before_it_is_published(
    bench: Bench, running: Callable[[Any], asyncio.Task[None]]
) -> None:
    await bench.open()
    commit, acks, gate = bench.commit(), AckRecorder(), asyncio.Event()
    bench.broker.before = lambda *_: gate.wait()
    running(commit.run())
    await commit.submit(batch("a", acks=acks))
    await until(bench.rows)
    await until(lambda: commit.flush_ids())
    assert not acks.acknowledged and not bench.broker.taken
    gate.set()
    await until(lambda: acks.acknowledged)


async def test_a_publication_that_fails_is_tried_again_and_nothing_is_acknowledged_before(
    bench: Bench, running: Callable[[Any], asyncio.Task[None]]
) -> None:
    await bench.open()
    commit, acks, failures = bench.commit(), AckRecorder(), []

    async def refuse(topic: Any, partition: Any) -> None:
        if len(failures) < 3:
            failures.append(acks.acknowledged)
            raise ConnectionError("the broker is away")

    bench.broker.before = refuse
    running(commit.run())
    await commit.submit(batch("a", acks=acks))
    await until(lambda: acks.acknowledged)
    assert failures == [0, 0, 0]
    assert bench.broker.ids() == ["a"] and await bench.trigger_ids() == ["a"]


async def test_a_publication_that_hangs_is_given_up_and_tried_again(
    bench: Bench, running: Callable[[Any], asyncio.Task[None]]
) -> None:
    await bench.open()
    commit, acks, hung = bench.commit(publish_timeout_s=0.1), AckRecorder(), []

    async def hang(topic: Any, partition: Any) -> None:
        if not hung:
            hung.append(True)
            await asyncio.Event().wait()

    bench.broker.before = hang
    running(commit.run())
    await commit.submit(batch("a", acks=acks))
    await until(lambda: acks.acknowledged)
    assert bench.broker.ids() == ["a"]


async def test_while_one_flush_is_under_way_everything_else_gathers(
    bench: Bench, running: Callable[[Any], asyncio.Task[None]]
) -> None:
    await bench.open(SOURCE, ("triggers.security", EVEN))
    commit, gate = bench.commit(), asyncio.Event()
    bench.broker.before = lambda *_: gate.wait()
    running(commit.run())
    acks = [AckRecorder() for _ in range(9)]
    await commit.submit(batch("0", acks=acks[0]))
    await until(bench.rows)
    for number in range(1, 5):
        await commit.submit(batch(str(number), start=number, acks=acks[number]))
        entry = an_entry(f"s{number}", bucket=EVEN)
        await commit.submit(
            a_decided_batch(entry, topic="triggers.security", partition=EVEN, start=number - 1, acks=acks[number + 4])
        )
    gate.set()
    await until(lambda: all(one.acknowledged for one in acks))
    assert bench.broker.ids(partition=EVEN)[0] == "0" and len(bench.broker.taken) == 2
    assert [one for one in bench.broker.ids() if one.isdigit()] == ["0", "1", "2", "3", "4"]
    assert await bench.closes()


async def test_published_rows_are_deleted_though_nothing_follows(
    bench: Bench, running: Callable[[Any], asyncio.Task[None]]
) -> None:
    await bench.open()
    commit, acks = bench.commit(), AckRecorder()
    running(commit.run())
    await commit.submit(batch("a", acks=acks))
    await until(lambda: acks.acknowledged)
    assert commit.flush_ids()
    await until(lambda: not commit.flush_ids())
    assert await bench.rows() == []


async def test_a_busy_workers_published_rows_go_with_its_transactions(
    bench: Bench, running: Callable[[Any], asyncio.Task[None]]
) -> None:
    await bench.open()
    commit, acks, most = bench.commit(), AckRecorder(), 0
    running(commit.run())
    for start in range(30):
        await commit.submit(batch(str(start), start=start, acks=acks))
        await until(lambda wanted=start + 1: acks.acknowledged == wanted)
        most = max(most, len(await bench.rows()))
    assert most <= 9  # eight that wait, and the one whose transaction deletes them
    await until(lambda: not commit.flush_ids())
    assert await bench.rows() == [] and len(bench.broker.taken) == 30


async def test_a_clean_end_leaves_nothing_to_publish_twice(bench: Bench) -> None:
    await bench.open()
    outbox = bench.outbox()
    await outbox.start()
    acks = AckRecorder()
    await outbox.submit(batch("a", acks=acks))
    await until(lambda: acks.acknowledged)
    await outbox.stop()
    assert await bench.rows() == []


async def test_forgotten_batches_are_not_written(bench: Bench, running: Callable[[Any], asyncio.Task[None]]) -> None:
    await bench.open(SOURCE, ("triggers.payments", 4))
    commit, kept, gone = bench.commit(), AckRecorder(), AckRecorder()
    await commit.submit(batch("gone", acks=gone))
    await commit.submit(batch("kept", bucket=4, acks=kept))
    await commit.discard([SOURCE])
    running(commit.run())
    await until(lambda: kept.acknowledged)
    assert await bench.trigger_ids() == ["kept"] and not gone.acknowledged
    await commit.submit(batch("gone too", bucket=4, start=1, acks=gone))
    await commit.discard(None)
    assert not gone.acknowledged


class Broken(AckRecorder):
    def ack(self) -> None:
        raise ZeroDivisionError("a defect")


async def test_an_error_that_nobody_foresaw_does_not_end_the_flushes(
    bench: Bench, running: Callable[[Any], asyncio.Task[None]]
) -> None:
    await bench.open()
    commit, broken, acks = bench.commit(), Broken(), AckRecorder()
    running(commit.run())
    await commit.submit(batch("a", acks=broken))
    await until(lambda: broken.refused)
    assert broken.refused == [0]
    await commit.submit(batch("a", acks=acks))  # read again from the refused position
    await until(lambda: acks.refused == [1])
    await commit.submit(batch("b", start=1, acks=acks))
    await until(lambda: acks.acknowledged)
    assert bench.broker.ids() == ["a", "b"] and await bench.closes()


async def test_the_shards_do_not_wait_for_each_other(bench: Bench, mongo_shards: list[str]) -> None:
    await bench.open(SOURCE, ("triggers.payments", ODD))
    async with Link(mongo_shards[0]) as link, bench.over(link) as cut_off:
        outbox = cut_off.outbox(transaction_timeout_s=0.5)
        await outbox.start()
        link.answers.clear()
        slow, fast = AckRecorder(), AckRecorder()
        await outbox.submit(batch("slow", acks=slow))
        await outbox.submit(batch("fast", bucket=ODD, acks=fast))
        await until(lambda: fast.acknowledged)
        assert not slow.acknowledged
        link.cut()
        link.answers.set()
        await until(lambda: slow.acknowledged, within_s=25)
        await outbox.stop()
    assert await bench.closes()


async def test_a_shard_that_is_away_slows_the_reading_down_and_fills_no_memory(
    bench: Bench, mongo_shards: list[str]
) -> None:
    await bench.open()
    async with Link(mongo_shards[0]) as link, bench.over(link) as cut_off:
        outbox = cut_off.outbox(transaction_timeout_s=0.3, waiting_records=20, flush_records=5)
        await outbox.start()
        link.answers.clear()
        submitted, acks = [], AckRecorder()

        async def read() -> None:
            for start in range(100):
                await outbox.submit(batch(str(start), start=start, acks=acks))
                submitted.append(start)

        reading = asyncio.create_task(read())
        await asyncio.sleep(0.2)
        assert 10 <= len(submitted) <= 16, "10 wait (each counts one more), and some may be in a flush"
        link.cut()
        link.answers.set()
        await until(lambda: acks.acknowledged == 100, within_s=25)
        await reading
        await outbox.stop()
    assert cut_off.broker.ids() == [str(start) for start in range(100)]
    assert await bench.shards.database(0)[NOTIFICATIONS].count_documents({}) == 100


@pytest.mark.parametrize("after_ms", range(0, 12, 2))
async def test_a_stop_ends_whenever_it_comes(bench: Bench, after_ms: Any) -> None:
    """The driver can lose a cancellation; a worker must stop all the same."""
    await bench.open()
    outbox = bench.outbox(sweep_every_s=0.05)
    await outbox.start()
    await outbox.submit(batch("a"))
    await asyncio.sleep(after_ms / 1000)
    await asyncio.wait_for(outbox.stop(), 15)
