"""Nobody knows whether a commit held: an answer is lost, it lands late, or its worker is stopped at any moment."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from notify_streams.errors import StoreUnavailable
from tests.builders import AckRecorder, a_decided_batch, an_entry
from tests.integration.outbox.conftest import OpenBench
from tests.integration.outbox.outbox_fixtures import EVEN, SOURCE, Bench, Link, batch, end, flush_of
from tests.waiting import until


@pytest.mark.parametrize("what", ["commitTransaction", "fingerprint", "next_offset"])
async def test_a_cut_connection_neither_loses_nor_doubles(
    bench: Bench, mongo_shards: list[str], running: Callable[[Any], asyncio.Task[None]], what: str
) -> None:
    await bench.open()
    async with Link(mongo_shards[0]) as link, bench.over(link) as cut_off:
        commit, acks = cut_off.commit(store=cut_off.store(timeout_s=1.0)), AckRecorder()
        link.cut_after = lambda chunk: what.encode() in chunk and link.cuts < 4
        running(commit.run())
        for start in range(3):
            await commit.submit(batch(str(start), start=start, acks=acks))
            await until(lambda wanted=start + 1: acks.acknowledged == wanted, within_s=25)
        assert link.cuts == 4
        assert cut_off.broker.ids() == ["0", "1", "2"] == await bench.trigger_ids()
        assert not acks.refused and await bench.closes()
        await until(lambda: not commit.flush_ids())
        assert await bench.rows() == []


async def test_a_lost_answer_to_a_commit_that_held_while_another_worker_went_on_elsewhere(bench: Bench) -> None:
    """Partition 2 of another topic was taken over meanwhile: what was committed for this one is still published here, at once."""
    other = ("triggers.security", EVEN)
    await bench.open(SOURCE, other)
    real = bench.store()

    class LosesTheAnswer:
        def __init__(self) -> None:
            self.lost = 0

        async def write(self, flush: Any, published: Any) -> None:
            await real.write(flush, published)
            if not self.lost:
                self.lost += 1
                entry = an_entry("new owner", bucket=EVEN)
                await real.write(flush_of(a_decided_batch(entry, topic=other[0], partition=EVEN, start=1)), [])
                raise StoreUnavailable("the answer is lost")

        def __getattr__(self, name: Any) -> Any:
            return getattr(real, name)

    commit, acks = bench.commit(store=LosesTheAnswer()), AckRecorder()
    await commit.submit(a_decided_batch(an_entry("other", bucket=EVEN), topic=other[0], partition=EVEN, acks=acks))
    await commit.submit(batch("mine", acks=acks))
    task = asyncio.create_task(commit.run())
    await until(lambda: acks.acknowledged == 2)
    await end(task)
    assert not acks.refused and bench.broker.ids() == ["other", "mine"]
    assert await bench.closes()


async def test_a_commit_that_lands_only_while_it_is_tried_again(
    bench: Bench, running: Callable[[Any], asyncio.Task[None]]
) -> None:
    """The shard was still at it when it was asked: the second try finds the ledger moved, by the first."""
    await bench.open()
    real = bench.store()

    class LandsLate:
        def __init__(self) -> None:
            self.tries = 0

        async def write(self, flush: Any, published: Any) -> None:
            self.tries += 1
            if self.tries == 1:
                raise StoreUnavailable("no answer yet")
            if self.tries == 2:
                await real.write(flush, published)
            await real.write(flush, published)

        def __getattr__(self, name: Any) -> Any:
            return getattr(real, name)

    commit, acks = bench.commit(store=LandsLate()), AckRecorder()
    running(commit.run())
    await commit.submit(batch("a", acks=acks))
    await until(lambda: acks.acknowledged or acks.refused)
    assert acks.acknowledged == 1 and not acks.refused
    assert bench.broker.ids() == ["a"] and await bench.closes()


@pytest.mark.parametrize("seed", range(12))
async def test_stopped_at_any_moment_nothing_is_lost_and_nothing_written_twice(bench_of: OpenBench, seed: Any) -> None:
    """The next owner does what the first left, as a worker that takes over does."""
    bench = await bench_of()
    await bench.open()
    first = bench.outbox(sweep_every_s=0.05)
    await first.start()
    wanted = [str(number) for number in range(6)]

    async def work(outbox: Any, start: Any) -> None:
        for number in range(start, 6):
            await outbox.submit(batch(str(number), start=number, acks=acks))

    acks = AckRecorder()
    working = asyncio.create_task(work(first, 0))
    with suppress(TimeoutError):
        async with asyncio.timeout(0.004 * seed):
            await until(lambda: acks.acknowledged == 6)
    await first.cancel()  # as a crash does
    await end(working)

    second = bench.outbox()
    acks = AckRecorder()
    positions = await second.on_assigned([SOURCE])
    assert await bench.rows() == []
    await second.start()
    await work(second, positions[SOURCE])
    await until(lambda: acks.acknowledged == 6 - positions[SOURCE])
    await second.stop()
    assert await bench.trigger_ids() == wanted and await bench.closes()
    published = bench.broker.ids()
    assert list(dict.fromkeys(published)) == wanted, "order of the first publications"
    assert await bench.rows() == []
