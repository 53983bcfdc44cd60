"""What exists already, and what the ledger refuses: counted once, written once, and published before what follows."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.builders import AckRecorder, a_decided_batch, an_entry
from tests.integration.outbox.outbox_fixtures import EVEN, SOURCE, Bench, batch, flush_of
from tests.waiting import until


async def test_a_repeat_is_a_duplicate_however_late_it_comes(
    bench: Bench, running: Callable[[Any], asyncio.Task[None]]
) -> None:
    await bench.open(SOURCE, ("triggers.security", EVEN))
    acks = AckRecorder()
    early = bench.commit()
    running(early.run())
    await early.submit(batch("a", "a", acks=acks))
    await until(lambda: acks.acknowledged == 1)
    await early.submit(batch("a", start=2, acks=acks))  # remembered
    await until(lambda: acks.acknowledged == 2)
    late = bench.commit()  # another worker, which remembers nothing
    running(late.run())
    await late.submit(batch("b", "a", "c", start=3, acks=acks))
    entry = an_entry("a", bucket=EVEN)
    await late.submit(a_decided_batch(entry, topic="triggers.security", partition=EVEN, acks=acks))
    await until(lambda: acks.acknowledged == 4)
    assert await bench.trigger_ids() == ["a", "b", "c"] == bench.broker.ids()
    ledgers = await bench.ledgers()
    assert sum(one["duplicate"] for one in ledgers.values()) == 4 and await bench.closes()


async def test_the_same_id_with_other_content_becomes_a_dead_letter(
    bench: Bench, running: Callable[[Any], asyncio.Task[None]]
) -> None:
    await bench.open()
    acks, late = AckRecorder(), bench.commit()
    await bench.store().write(flush_of(batch("a")), [])
    running(late.run())
    await late.submit(batch(an_entry("a", bucket=EVEN, title="other"), "b", start=1, acks=acks))
    await until(lambda: acks.acknowledged)
    ((topic, partition, _),) = [taken for taken in bench.broker.taken if taken[0] == "dead_letters"]
    assert (topic, partition) == ("dead_letters", EVEN)
    ledger = (await bench.ledgers())[f"standard:triggers.payments:{EVEN}"]
    assert (ledger["dead"], ledger["dead_reasons"], ledger["notified"]) == (1, {"id_conflict": 1}, 2)
    assert await bench.closes() and await bench.trigger_ids() == ["a", "b"]


async def test_a_ledger_that_nobody_began_is_begun_where_the_first_batch_begins(
    bench: Bench, running: Callable[[Any], asyncio.Task[None]]
) -> None:
    commit, acks, second = bench.commit(), AckRecorder(), AckRecorder()
    await commit.submit(batch("a", start=40, acks=acks))
    await commit.submit(batch("b", start=41, acks=second))
    running(commit.run())
    await until(lambda: acks.acknowledged and second.acknowledged)
    assert not acks.refused and not second.refused, "two batches of a new partition in one flush are as good as one"
    ledger = (await bench.ledgers())[f"standard:triggers.payments:{EVEN}"]
    assert (ledger["first_offset"], ledger["next_offset"]) == (40, 42) and await bench.closes()


@pytest.mark.parametrize("start", [3, 9], ids=["from before", "a gap"])
async def test_a_batch_that_begins_elsewhere_is_handed_back_and_the_others_go_on(
    bench: Bench, running: Callable[[Any], asyncio.Task[None]], start: int
) -> None:
    other = ("triggers.security", EVEN)
    await bench.open(SOURCE, at=5)
    await bench.open(other)
    commit, acks, good = bench.commit(), AckRecorder(), AckRecorder()
    await commit.submit(batch("a", start=start, acks=acks))
    await commit.submit(batch("b", start=start + 1, acks=acks))
    await commit.submit(a_decided_batch(an_entry("c", bucket=EVEN), topic=other[0], partition=EVEN, acks=good))
    running(commit.run())
    await until(lambda: acks.refused and good.acknowledged)
    assert acks.refused == [5] and not acks.acknowledged and not good.refused
    assert await bench.trigger_ids() == ["c"] == bench.broker.ids()
    assert await bench.position() == 5 and await bench.closes()


async def test_what_waits_behind_a_refused_batch_is_forgotten_with_it(
    bench: Bench, running: Callable[[Any], asyncio.Task[None]]
) -> None:
    await bench.open(at=5)
    commit, acks = bench.commit(flush_records=1), AckRecorder()
    for start in (9, 10, 11):
        await commit.submit(batch(str(start), start=start, acks=acks))
    running(commit.run())
    await until(lambda: acks.refused)
    await commit.submit(batch("a", start=5, acks=acks))
    await until(lambda: acks.acknowledged)
    assert acks.refused == [5] and await bench.trigger_ids() == ["a"]


async def test_the_same_records_decided_twice_are_counted_once(
    bench: Bench, running: Callable[[Any], asyncio.Task[None]]
) -> None:
    """A batch decided before a rebalance can come to wait beside the same records, read again after it."""
    await bench.open()
    commit, stale, fresh = bench.commit(), AckRecorder(), AckRecorder()
    await commit.submit(batch("a", "b", acks=stale))
    await commit.submit(batch("a", "b", acks=fresh))
    await commit.submit(batch("c", start=2, acks=fresh))
    running(commit.run())
    await until(lambda: fresh.refused)
    assert fresh.refused == [2] and stale.acknowledged == 1
    await commit.submit(batch("c", start=2, acks=fresh))
    await until(lambda: fresh.acknowledged)
    assert bench.broker.ids() == ["a", "b", "c"] and await bench.closes()


async def test_what_another_worker_left_is_published_before_anything_behind_it(
    bench: Bench, running: Callable[[Any], asyncio.Task[None]]
) -> None:
    """The old owner commits after this one began, and dies before it has published: order per user must hold all the same."""
    await bench.open()
    commit, acks = bench.commit(), AckRecorder()
    await bench.store().write(flush_of(batch("left behind")), [])
    running(commit.run())
    await commit.submit(batch("stale", acks=acks))
    await until(lambda: acks.refused)
    await commit.submit(batch("next", start=acks.refused[0], acks=acks))
    await until(lambda: acks.acknowledged)
    assert bench.broker.ids() == ["left behind", "next"]
    await until(lambda: not commit.flush_ids())
    assert await bench.rows() == []
