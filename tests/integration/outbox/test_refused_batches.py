"""Duplicates, and batches that the ledger refuses, are written and counted once."""

import bson
import pytest
from bson.raw_bson import RawBSONDocument

from tests.builders import AckRecorder, a_decided_batch, an_outcome
from tests.integration.outbox.conftest import Run
from tests.integration.outbox.outbox_fixtures import EVEN, SOURCE, Bench, batch, flush_of
from tests.waiting import until


async def test_a_repeated_id_is_a_duplicate_with_and_without_the_cache(bench: Bench, running: Run) -> None:
    await bench.open(SOURCE, ("triggers.security", EVEN))
    acks = AckRecorder()
    early = bench.flush_loop()
    running(early.run())
    await early.submit(batch("a", "a", acks=acks))
    await until(lambda: acks.acknowledged == 1)
    await early.submit(batch("a", start=2, acks=acks))  # found in the cache
    await until(lambda: acks.acknowledged == 2)
    late = bench.flush_loop()  # another worker with an empty cache
    running(late.run())
    await late.submit(batch("b", "a", "c", start=3, acks=acks))
    entry = an_outcome("a", bucket=EVEN)
    await late.submit(a_decided_batch(entry, topic="triggers.security", partition=EVEN, acks=acks))
    await until(lambda: acks.acknowledged == 4)
    assert await bench.trigger_ids() == ["a", "b", "c"] == bench.broker.ids()
    ledgers = await bench.ledgers()
    assert sum(one["duplicate"] for one in ledgers.values()) == 4 and await bench.ledgers_add_up()


async def test_the_same_id_with_other_content_becomes_a_dead_letter(bench: Bench, running: Run) -> None:
    await bench.open()
    acks, late = AckRecorder(), bench.flush_loop()
    await bench.store().write(flush_of(batch("a")), [])
    running(late.run())
    await late.submit(batch(an_outcome("a", bucket=EVEN, title="other"), "b", start=1, acks=acks))
    await until(lambda: acks.acknowledged)
    ((topic, partition, _),) = [sent for sent in bench.broker.sent if sent[0] == "dead_letters"]
    assert (topic, partition) == ("dead_letters", EVEN)
    ledger = (await bench.ledgers())[f"standard:triggers.payments:{EVEN}"]
    assert (ledger["dead"], ledger["dead_reasons"], ledger["notified"]) == (1, {"id_conflict": 1}, 2)
    assert await bench.ledgers_add_up() and await bench.trigger_ids() == ["a", "b"]


async def test_a_missing_ledger_is_created_at_the_start_of_the_first_batch(bench: Bench, running: Run) -> None:
    loop, acks, second = bench.flush_loop(), AckRecorder(), AckRecorder()
    await loop.submit(batch("a", start=40, acks=acks))
    await loop.submit(batch("b", start=41, acks=second))
    running(loop.run())
    await until(lambda: acks.acknowledged and second.acknowledged)
    assert not acks.refused and not second.refused, "two batches of a new partition may be in one flush"
    ledger = (await bench.ledgers())[f"standard:triggers.payments:{EVEN}"]
    assert (ledger["first_offset"], ledger["next_offset"]) == (40, 42) and await bench.ledgers_add_up()


@pytest.mark.parametrize("start", [3, 9], ids=["before", "gap"])
async def test_a_batch_at_another_position_is_refused_and_the_others_are_flushed(
    bench: Bench, running: Run, start: int
) -> None:
    other = ("triggers.security", EVEN)
    await bench.open(SOURCE, at=5)
    await bench.open(other)
    loop, acks, good = bench.flush_loop(), AckRecorder(), AckRecorder()
    await loop.submit(batch("a", start=start, acks=acks))
    await loop.submit(batch("b", start=start + 1, acks=acks))
    await loop.submit(a_decided_batch(an_outcome("c", bucket=EVEN), topic=other[0], partition=EVEN, acks=good))
    running(loop.run())
    await until(lambda: acks.refused and good.acknowledged)
    assert acks.refused == [5] and not acks.acknowledged and not good.refused
    assert await bench.trigger_ids() == ["c"] == bench.broker.ids()
    assert await bench.position() == 5 and await bench.ledgers_add_up()


async def test_batches_queued_behind_a_refused_batch_are_discarded(bench: Bench, running: Run) -> None:
    await bench.open(at=5)
    loop, acks = bench.flush_loop(flush_records=1), AckRecorder()
    for start in (9, 10, 11):
        await loop.submit(batch(str(start), start=start, acks=acks))
    running(loop.run())
    await until(lambda: acks.refused)
    await loop.submit(batch("a", start=5, acks=acks))
    await until(lambda: acks.acknowledged)
    assert acks.refused == [5] and await bench.trigger_ids() == ["a"]


async def test_the_same_records_decided_twice_are_counted_once(bench: Bench, running: Run) -> None:
    """A batch decided before a rebalance may be queued together with the same records, read again after it."""
    await bench.open()
    loop, stale, fresh = bench.flush_loop(), AckRecorder(), AckRecorder()
    await loop.submit(batch("a", "b", acks=stale))
    await loop.submit(batch("a", "b", acks=fresh))
    await loop.submit(batch("c", start=2, acks=fresh))
    running(loop.run())
    await until(lambda: fresh.refused)
    assert fresh.refused == [2] and stale.acknowledged == 1
    await loop.submit(batch("c", start=2, acks=fresh))
    await until(lambda: fresh.acknowledged)
    assert bench.broker.ids() == ["a", "b", "c"] and await bench.ledgers_add_up()


async def test_rows_that_another_worker_left_are_published_before_later_batches(bench: Bench, running: Run) -> None:
    """The old owner commits after this one started, and dies before it has published: the order per user must hold."""
    await bench.open()
    loop, acks = bench.flush_loop(), AckRecorder()
    await bench.store().write(flush_of(batch("left behind")), [])
    running(loop.run())
    await loop.submit(batch("stale", acks=acks))
    await until(lambda: acks.refused)
    await loop.submit(batch("next", start=acks.refused[0], acks=acks))
    await until(lambda: acks.acknowledged)
    assert bench.broker.ids() == ["left behind", "next"]
    await until(lambda: not loop.flush_ids())
    assert await bench.rows() == []


async def test_a_document_that_mongodb_refuses_becomes_a_dead_letter(bench: Bench, running: Run) -> None:
    await bench.open()
    acks, loop = AckRecorder(), bench.flush_loop()
    bad = an_outcome("bad", bucket=EVEN)
    bad.document = RawBSONDocument(bson.encode({"_id": ["an array"], "bucket": EVEN}))
    await loop.submit(batch("a", bad, "b", acks=acks))
    running(loop.run())
    await until(lambda: acks.acknowledged)
    ledger = (await bench.ledgers())[f"standard:triggers.payments:{EVEN}"]
    assert (ledger["dead"], ledger["dead_reasons"], ledger["notified"]) == (1, {"bad_record": 1}, 2)
    assert await bench.trigger_ids() == ["a", "b"] == sorted(bench.broker.ids())
    assert [topic for topic, *_ in bench.broker.sent].count("dead_letters") == 1
