"""Unknown commit results: a lost reply, a late commit, a worker stopped."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from devtools.fakes.tcp_proxy import FaultProxy
from notify_streams import tasks
from notify_streams.errors import StoreUnavailable
from notify_streams.outbox.flush_plan import Flush
from notify_streams.outbox.outbox import Outbox
from notify_streams.outbox.transaction import FlushStore
from tests.builders import AckRecorder, a_decided_batch, an_outcome
from tests.integration.outbox.conftest import OpenBench, Run
from tests.integration.outbox.outbox_fixtures import EVEN, SOURCE, Bench, batch, flush_of
from tests.waiting import until

Published = Sequence[Mapping[str, Any]]


def acknowledged(acks: AckRecorder, batches: int) -> bool:
    return acks.acknowledged == batches


@pytest.mark.parametrize("what", ["commitTransaction", "fingerprint", "next_offset"])
async def test_a_cut_connection_neither_loses_nor_doubles(
    bench: Bench, mongo_shards: list[str], running: Run, what: str
) -> None:
    await bench.open()
    async with FaultProxy(mongo_shards[0]) as proxy, bench.through(proxy) as cut_off:
        loop, acks = cut_off.flush_loop(store=cut_off.store(timeout_s=1.0)), AckRecorder()
        proxy.cut_after = lambda chunk: what.encode() in chunk and proxy.cuts < 4
        running(loop.run())
        for start in range(3):
            await loop.submit(batch(str(start), start=start, acks=acks))
            await until(partial(acknowledged, acks, start + 1), within_s=25)
        assert proxy.cuts == 4
        assert cut_off.broker.ids() == ["0", "1", "2"] == await bench.trigger_ids()
        assert not acks.refused and await bench.ledgers_add_up()
        await until(lambda: not loop.flush_ids())
        assert await bench.rows() == []


async def test_a_commit_with_a_lost_reply_is_published_although_another_partition_advanced(
    bench: Bench, running: Run
) -> None:
    """Another worker has advanced the other topic's partition since: the committed rows are still published here."""
    other = ("triggers.security", EVEN)
    await bench.open(SOURCE, other)

    class LosesTheFirstReply(FlushStore):
        lost = False

        async def write(self, flush: Flush, published: Published) -> None:
            await super().write(flush, published)
            if not self.lost:
                self.lost = True
                entry = an_outcome("new owner", bucket=EVEN)
                await super().write(flush_of(a_decided_batch(entry, topic=other[0], partition=EVEN, start=1)), [])
                raise StoreUnavailable("the reply is lost")

    loop, acks = bench.flush_loop(store=bench.store(kind=LosesTheFirstReply)), AckRecorder()
    await loop.submit(a_decided_batch(an_outcome("other", bucket=EVEN), topic=other[0], partition=EVEN, acks=acks))
    await loop.submit(batch("mine", acks=acks))
    running(loop.run())
    await until(lambda: acks.acknowledged == 2)
    assert not acks.refused and bench.broker.ids() == ["other", "mine"]
    assert await bench.ledgers_add_up()


async def test_a_commit_that_completes_during_its_retry_is_found(bench: Bench, running: Run) -> None:
    """The shard was still committing when `is_committed` was asked: the second attempt finds the ledger advanced by the first."""
    await bench.open()

    class CommitsLate(FlushStore):
        writes = 0

        async def write(self, flush: Flush, published: Published) -> None:
            self.writes += 1
            if self.writes == 1:
                raise StoreUnavailable("no reply yet")
            if self.writes == 2:
                await super().write(flush, published)
            await super().write(flush, published)

    loop, acks = bench.flush_loop(store=bench.store(kind=CommitsLate)), AckRecorder()
    running(loop.run())
    await loop.submit(batch("a", acks=acks))
    await until(lambda: acks.acknowledged or acks.refused)
    assert acks.acknowledged == 1 and not acks.refused
    assert bench.broker.ids() == ["a"] and await bench.ledgers_add_up()


@pytest.mark.parametrize("seed", range(12))
async def test_a_crash_at_any_moment_loses_and_doubles_nothing(bench_of: OpenBench, seed: int) -> None:
    """The next owner completes what the first one left."""
    bench = await bench_of()
    await bench.open()
    first = bench.outbox(sweep_every_s=0.05)
    await first.start()
    wanted = [str(number) for number in range(6)]

    async def work(outbox: Outbox, start: int) -> None:
        for number in range(start, 6):
            await outbox.submit(batch(str(number), start=number, acks=acks))

    acks = AckRecorder()
    working = asyncio.create_task(work(first, 0))
    with suppress(TimeoutError):
        async with asyncio.timeout(0.004 * seed):
            await until(lambda: acks.acknowledged == 6)
    await first.cancel()  # as a crash does
    await tasks.stop([working])

    second = bench.outbox()
    acks = AckRecorder()
    positions = await second.acquire([SOURCE])
    assert await bench.rows() == []
    await second.start()
    await work(second, positions[SOURCE])
    await until(lambda: acks.acknowledged == 6 - positions[SOURCE])
    await second.stop()
    assert await bench.trigger_ids() == wanted and await bench.ledgers_add_up()
    published = bench.broker.ids()
    assert list(dict.fromkeys(published)) == wanted, "order of the first publications"
    assert await bench.rows() == []
