"""A batch whose partition is read again before its flush changes nothing."""

from tests.builders import AckRecorder
from tests.integration.outbox.conftest import Run
from tests.integration.outbox.outbox_fixtures import Bench, batch
from tests.waiting import until


async def test_a_batch_overtaken_during_its_flush_discards_nothing(bench: Bench, running: Run) -> None:
    """The ledger refuses it. The batches queued behind it were read since and must not be discarded with it."""
    await bench.open(at=5)
    overtaken = AckRecorder(current_calls=2)  # true when it is queued, and when it is taken for the flush
    loop, good = bench.flush_loop(flush_records=1), AckRecorder()
    stale = batch("stale", start=9, acks=overtaken)
    await loop.submit(stale)
    await loop.submit(batch("good", start=5, acks=good))
    running(loop.run())
    await until(lambda: good.acknowledged)
    assert overtaken.refused == [] and not overtaken.acknowledged
    assert await bench.trigger_ids() == ["good"] == bench.broker.ids()
    assert await bench.position() == 6 and await bench.ledgers_add_up()


async def test_a_batch_overtaken_before_its_flush_is_not_written(bench: Bench, running: Run) -> None:
    """The ledger would allow it, and then refuse the same records when they are read again."""
    await bench.open()
    loop, overtaken, good = bench.flush_loop(), AckRecorder(), AckRecorder()
    stale = batch("stale", acks=overtaken)
    await loop.submit(stale)
    overtaken.overtaken = True
    await loop.submit(batch("good", acks=good))
    running(loop.run())
    await until(lambda: good.acknowledged)
    assert await bench.trigger_ids() == ["good"] and not overtaken.refused and not overtaken.acknowledged


async def test_published_rows_are_deleted_when_the_next_batch_was_overtaken(bench: Bench, running: Run) -> None:
    """After a bucket move the old shard's loop is in this state: its last batch is read again for the other shard, and no other comes."""
    await bench.open()
    overtaken = AckRecorder(current_calls=1)  # true when it is queued, no longer when it is taken for the flush
    loop, acks = bench.flush_loop(), AckRecorder()
    running(loop.run())
    await loop.submit(batch("a", acks=acks))
    await until(lambda: acks.acknowledged)
    await loop.submit(batch("b", start=1, acks=overtaken))
    await until(lambda: not loop.flush_ids())
    assert await bench.rows() == [] and bench.broker.ids() == ["a"]
