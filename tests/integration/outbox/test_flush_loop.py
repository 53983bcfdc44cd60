"""From decided batch to acknowledgement: nothing lost, doubled or early."""

import asyncio
from functools import partial

import pytest

from devtools.fakes.tcp_proxy import FaultProxy
from notify_streams.stores.mongo import NOTIFICATIONS
from tests.builders import AckRecorder, a_decided_batch, an_outcome
from tests.integration.outbox.conftest import Run
from tests.integration.outbox.outbox_fixtures import EVEN, ODD, SOURCE, Bench, batch
from tests.waiting import until


def acknowledged(acks: AckRecorder, batches: int) -> bool:
    return acks.acknowledged == batches


async def test_a_batch_is_acknowledged_when_it_is_stored_and_published(bench: Bench, running: Run) -> None:
    await bench.open()
    loop, acks = bench.flush_loop(), AckRecorder()
    running(loop.run())
    await loop.submit(batch("a", "b", acks=acks))
    await until(lambda: acks.acknowledged)
    assert bench.broker.ids() == ["a", "b"] == await bench.trigger_ids()
    assert await bench.position() == 2 and await bench.ledgers_add_up()


async def test_nothing_is_acknowledged_before_it_is_published(bench: Bench, running: Run) -> None:
    await bench.open()
    loop, acks, gate = bench.flush_loop(), AckRecorder(), asyncio.Event()
    bench.broker.before = lambda *_: gate.wait()
    running(loop.run())
    await loop.submit(batch("a", acks=acks))
    await until(bench.rows)
    await until(lambda: loop.flush_ids())
    assert not acks.acknowledged and not bench.broker.sent
    gate.set()
    await until(lambda: acks.acknowledged)


async def test_a_failed_publication_is_retried_before_anything_is_acknowledged(bench: Bench, running: Run) -> None:
    await bench.open()
    loop, acks = bench.flush_loop(), AckRecorder()
    failures: list[int] = []

    async def refuse(topic: str, partition: int) -> None:
        if len(failures) < 3:
            failures.append(acks.acknowledged)
            raise ConnectionError("the broker is away")

    bench.broker.before = refuse
    running(loop.run())
    await loop.submit(batch("a", acks=acks))
    await until(lambda: acks.acknowledged)
    assert failures == [0, 0, 0]
    assert bench.broker.ids() == ["a"] and await bench.trigger_ids() == ["a"]


async def test_a_publication_that_hangs_times_out_and_is_retried(bench: Bench, running: Run) -> None:
    await bench.open()
    loop, acks = bench.flush_loop(publish_timeout_s=0.1), AckRecorder()
    hung: list[bool] = []

    async def hang(topic: str, partition: int) -> None:
        if not hung:
            hung.append(True)
            await asyncio.Event().wait()

    bench.broker.before = hang
    running(loop.run())
    await loop.submit(batch("a", acks=acks))
    await until(lambda: acks.acknowledged)
    assert bench.broker.ids() == ["a"]


async def test_batches_queue_up_while_a_flush_is_in_progress(bench: Bench, running: Run) -> None:
    await bench.open(SOURCE, ("triggers.security", EVEN))
    loop, gate = bench.flush_loop(), asyncio.Event()
    bench.broker.before = lambda *_: gate.wait()
    running(loop.run())
    acks = [AckRecorder() for _ in range(9)]
    await loop.submit(batch("0", acks=acks[0]))
    await until(bench.rows)
    for number in range(1, 5):
        await loop.submit(batch(str(number), start=number, acks=acks[number]))
        entry = an_outcome(f"s{number}", bucket=EVEN)
        await loop.submit(
            a_decided_batch(entry, topic="triggers.security", partition=EVEN, start=number - 1, acks=acks[number + 4])
        )
    gate.set()
    await until(lambda: all(one.acknowledged for one in acks))
    assert bench.broker.ids(partition=EVEN)[0] == "0" and len(bench.broker.sent) == 2
    assert [one for one in bench.broker.ids() if one.isdigit()] == ["0", "1", "2", "3", "4"]
    assert await bench.ledgers_add_up()


async def test_published_rows_are_deleted_without_another_flush(bench: Bench, running: Run) -> None:
    await bench.open()
    loop, acks = bench.flush_loop(), AckRecorder()
    running(loop.run())
    await loop.submit(batch("a", acks=acks))
    await until(lambda: acks.acknowledged)
    assert loop.flush_ids()
    await until(lambda: not loop.flush_ids())
    assert await bench.rows() == []


async def test_under_load_published_rows_are_deleted_by_later_flushes(bench: Bench, running: Run) -> None:
    await bench.open()
    loop, acks, most = bench.flush_loop(), AckRecorder(), 0
    running(loop.run())
    for start in range(30):
        await loop.submit(batch(str(start), start=start, acks=acks))
        await until(partial(acknowledged, acks, start + 1))
        most = max(most, len(await bench.rows()))
    assert most <= 9  # eight pending deletes, and the flush that deletes them
    await until(lambda: not loop.flush_ids())
    assert await bench.rows() == [] and len(bench.broker.sent) == 30


async def test_a_stop_leaves_no_rows(bench: Bench) -> None:
    await bench.open()
    outbox = bench.outbox()
    await outbox.start()
    acks = AckRecorder()
    await outbox.submit(batch("a", acks=acks))
    await until(lambda: acks.acknowledged)
    await outbox.stop()
    assert await bench.rows() == []


async def test_discarded_batches_are_not_written(bench: Bench, running: Run) -> None:
    await bench.open(SOURCE, ("triggers.payments", 4))
    loop, kept, gone = bench.flush_loop(), AckRecorder(), AckRecorder()
    await loop.submit(batch("gone", acks=gone))
    await loop.submit(batch("kept", bucket=4, acks=kept))
    await loop.discard([SOURCE])
    running(loop.run())
    await until(lambda: kept.acknowledged)
    assert await bench.trigger_ids() == ["kept"] and not gone.acknowledged
    await loop.submit(batch("gone too", bucket=4, start=1, acks=gone))
    await loop.discard(None)
    assert not gone.acknowledged


class Broken(AckRecorder):
    def ack(self) -> None:
        raise ZeroDivisionError("a defect")


async def test_an_unknown_error_does_not_end_the_loop(bench: Bench, running: Run) -> None:
    await bench.open()
    loop, broken, acks = bench.flush_loop(), Broken(), AckRecorder()
    running(loop.run())
    await loop.submit(batch("a", acks=broken))
    await until(lambda: broken.refused)
    assert broken.refused == [0]
    await loop.submit(batch("a", acks=acks))  # read again from the refused position
    await until(lambda: acks.refused == [1])
    await loop.submit(batch("b", start=1, acks=acks))
    await until(lambda: acks.acknowledged)
    assert bench.broker.ids() == ["a", "b"] and await bench.ledgers_add_up()


async def test_an_unavailable_shard_does_not_delay_the_others(bench: Bench, mongo_shards: list[str]) -> None:
    await bench.open(SOURCE, ("triggers.payments", ODD))
    async with FaultProxy(mongo_shards[0]) as proxy, bench.through(proxy) as cut_off:
        outbox = cut_off.outbox(transaction_timeout_s=0.5)
        await outbox.start()
        proxy.replies.clear()
        slow, fast = AckRecorder(), AckRecorder()
        await outbox.submit(batch("slow", acks=slow))
        await outbox.submit(batch("fast", bucket=ODD, acks=fast))
        await until(lambda: fast.acknowledged)
        assert not slow.acknowledged
        proxy.cut()
        proxy.replies.set()
        await until(lambda: slow.acknowledged, within_s=25)
        await outbox.stop()
    assert await bench.ledgers_add_up()


async def test_an_unavailable_shard_slows_reading_down_and_fills_no_memory(
    bench: Bench, mongo_shards: list[str]
) -> None:
    await bench.open()
    async with FaultProxy(mongo_shards[0]) as proxy, bench.through(proxy) as cut_off:
        outbox = cut_off.outbox(transaction_timeout_s=0.3, waiting_records=20, flush_records=5)
        await outbox.start()
        proxy.replies.clear()
        submitted: list[int] = []
        acks = AckRecorder()

        async def read() -> None:
            for start in range(100):
                await outbox.submit(batch(str(start), start=start, acks=acks))
                submitted.append(start)

        reading = asyncio.create_task(read())
        await until(lambda: len(submitted) >= 10)
        await asyncio.sleep(0.2)  # time for more, if the limit did not hold
        assert len(submitted) <= 16, "10 are queued (each counts one more), and some may be in a flush"
        proxy.cut()
        proxy.replies.set()
        await until(lambda: acks.acknowledged == 100, within_s=25)
        await reading
        await outbox.stop()
    assert cut_off.broker.ids() == [str(start) for start in range(100)]
    assert await bench.shards.database(0)[NOTIFICATIONS].count_documents({}) == 100


@pytest.mark.parametrize("after_ms", range(0, 12, 2))
async def test_a_stop_ends_at_any_moment(bench: Bench, after_ms: int) -> None:
    """The driver can lose a cancellation; a worker must stop all the same."""
    await bench.open()
    outbox = bench.outbox(sweep_every_s=0.05)
    await outbox.start()
    await outbox.submit(batch("a"))
    await asyncio.sleep(after_ms / 1000)
    await asyncio.wait_for(outbox.stop(), 15)
