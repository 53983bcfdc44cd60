"""A batch whose partition is read again while it was still on its way: it changes nothing, and above all refuses nothing."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from tests.builders import AckRecorder
from tests.integration.outbox.outbox_fixtures import Bench, batch
from tests.waiting import until


async def test_a_batch_that_is_overtaken_while_it_is_flushed_throws_nothing_away(
    bench: Bench, running: Callable[[Any], asyncio.Task[None]]
) -> None:
    """The ledger refuses it; what was read since waits behind it, and would be read for a third time."""
    await bench.open(at=5)
    commit, overtaken, good = bench.commit(flush_records=1), AckRecorder(), AckRecorder()
    stale = batch("stale", start=9, acks=overtaken)
    asked = itertools.count()
    overtaken.current = lambda: next(asked) < 2  # when it is queued, and when the flush takes it
    await commit.submit(stale)
    await commit.submit(batch("good", start=5, acks=good))
    running(commit.run())
    await until(lambda: good.acknowledged)
    assert overtaken.refused == [] and not overtaken.acknowledged
    assert await bench.trigger_ids() == ["good"] == bench.broker.ids()
    assert await bench.position() == 6 and await bench.closes()


async def test_a_batch_that_was_overtaken_before_its_flush_is_not_written_though_the_ledger_would_take_it(
    bench: Bench, running: Callable[[Any], asyncio.Task[None]]
) -> None:
    """Written, it would make the ledger refuse the same records, which were read again."""
    await bench.open()
    commit, overtaken, good = bench.commit(), AckRecorder(), AckRecorder()
    stale = batch("stale", acks=overtaken)
    await commit.submit(stale)
    overtaken.overtaken = True
    await commit.submit(batch("good", acks=good))
    running(commit.run())
    await until(lambda: good.acknowledged)
    assert await bench.trigger_ids() == ["good"] and not overtaken.refused and not overtaken.acknowledged


async def test_published_rows_are_deleted_though_what_followed_was_overtaken(
    bench: Bench, running: Callable[[Any], asyncio.Task[None]]
) -> None:
    """A bucket that moves away leaves its old shard's commit like this: the last batch is read again elsewhere, and no other comes."""
    await bench.open()
    commit, acks, overtaken = bench.commit(), AckRecorder(), AckRecorder()
    asked = itertools.count()
    overtaken.current = lambda: next(asked) < 1  # when it is queued, and no longer when the flush would take it
    running(commit.run())
    await commit.submit(batch("a", acks=acks))
    await until(lambda: acks.acknowledged)
    await commit.submit(batch("b", start=1, acks=overtaken))
    await until(lambda: not commit.flush_ids())
    assert await bench.rows() == [] and bench.broker.ids() == ["a"]
