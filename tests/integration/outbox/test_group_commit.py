"""From a decided batch to its acknowledgement, on a real shard: nothing lost, nothing counted twice, nothing said too early."""

import asyncio
from contextlib import suppress

import pytest
from builders import Told, a_taken, an_entry
from outbox_bench import EVEN, ODD, SOURCE, Link, batch, end, flush_of, until

from notify_streams.errors import StoreUnavailable
from notify_streams.stores.shards import NOTIFICATIONS


async def test_a_batch_is_acknowledged_when_it_is_stored_and_published(bench, running):
    await bench.open()
    commit, told = bench.commit(), Told()
    running(commit.run())
    await commit.submit(batch("a", "b", told=told))
    await until(lambda: told.acknowledged)
    assert bench.broker.ids() == ["a", "b"] == await bench.trigger_ids()
    assert await bench.position() == 2 and await bench.closes()


async def test_nothing_is_acknowledged_before_it_is_published(bench, running):
    await bench.open()
    commit, told, gate = bench.commit(), Told(), asyncio.Event()
    bench.broker.before = lambda *_: gate.wait()
    running(commit.run())
    await commit.submit(batch("a", told=told))
    await until(bench.rows)
    await until(lambda: commit.flush_ids())
    assert not told.acknowledged and not bench.broker.taken
    gate.set()
    await until(lambda: told.acknowledged)


async def test_a_publication_that_fails_is_tried_again_and_nothing_is_acknowledged_before(bench, running):
    await bench.open()
    commit, told, failures = bench.commit(), Told(), []

    async def refuse(topic, partition):
        if len(failures) < 3:
            failures.append(told.acknowledged)
            raise ConnectionError("the broker is away")

    bench.broker.before = refuse
    running(commit.run())
    await commit.submit(batch("a", told=told))
    await until(lambda: told.acknowledged)
    assert failures == [0, 0, 0]
    assert bench.broker.ids() == ["a"] and await bench.trigger_ids() == ["a"]


async def test_a_publication_that_hangs_is_given_up_and_tried_again(bench, running):
    await bench.open()
    commit, told, hung = bench.commit(publish_timeout_s=0.1), Told(), []

    async def hang(topic, partition):
        if not hung:
            hung.append(True)
            await asyncio.Event().wait()

    bench.broker.before = hang
    running(commit.run())
    await commit.submit(batch("a", told=told))
    await until(lambda: told.acknowledged)
    assert bench.broker.ids() == ["a"]


async def test_while_one_flush_is_under_way_everything_else_gathers(bench, running):
    await bench.open(SOURCE, ("triggers.security", EVEN))
    commit, gate = bench.commit(), asyncio.Event()
    bench.broker.before = lambda *_: gate.wait()
    running(commit.run())
    told = [Told() for _ in range(9)]
    await commit.submit(batch("0", told=told[0]))
    await until(bench.rows)
    for number in range(1, 5):
        await commit.submit(batch(str(number), start=number, told=told[number]))
        entry = an_entry(f"s{number}", bucket=EVEN)
        await commit.submit(
            a_taken(entry, topic="triggers.security", partition=EVEN, start=number - 1, told=told[number + 4])
        )
    gate.set()
    await until(lambda: all(one.acknowledged for one in told))
    assert bench.broker.ids(partition=EVEN)[0] == "0" and len(bench.broker.taken) == 2
    assert [one for one in bench.broker.ids() if one.isdigit()] == ["0", "1", "2", "3", "4"]
    assert await bench.closes()


async def test_published_rows_are_deleted_though_nothing_follows(bench, running):
    await bench.open()
    commit, told = bench.commit(), Told()
    running(commit.run())
    await commit.submit(batch("a", told=told))
    await until(lambda: told.acknowledged)
    assert commit.flush_ids()
    await until(lambda: not commit.flush_ids())
    assert await bench.rows() == []


async def test_published_rows_go_with_the_next_transaction(bench, running):
    await bench.open()
    commit, told = bench.commit(), Told()
    running(commit.run())
    for start in range(5):
        await commit.submit(batch(str(start), start=start, told=told))
        await until(lambda wanted=start + 1: told.acknowledged == wanted)
        assert len(await bench.rows()) <= 2
    await until(lambda: not commit.flush_ids())
    assert await bench.rows() == [] and len(bench.broker.taken) == 5


async def test_a_clean_end_leaves_nothing_to_publish_twice(bench):
    await bench.open()
    way_out = bench.way_out()
    await way_out.start()
    told = Told()
    await way_out.submit(batch("a", told=told))
    await until(lambda: told.acknowledged)
    await way_out.stop()
    assert await bench.rows() == []


async def test_a_repeat_is_a_duplicate_however_late_it_comes(bench, running):
    await bench.open(SOURCE, ("triggers.security", EVEN))
    told = Told()
    early = bench.commit()
    running(early.run())
    await early.submit(batch("a", "a", told=told))
    await until(lambda: told.acknowledged == 1)
    await early.submit(batch("a", start=2, told=told))  # remembered
    await until(lambda: told.acknowledged == 2)
    late = bench.commit()  # another worker, which remembers nothing
    running(late.run())
    await late.submit(batch("b", "a", "c", start=3, told=told))
    entry = an_entry("a", bucket=EVEN)
    await late.submit(a_taken(entry, topic="triggers.security", partition=EVEN, told=told))
    await until(lambda: told.acknowledged == 4)
    assert await bench.trigger_ids() == ["a", "b", "c"] == bench.broker.ids()
    ledgers = await bench.ledgers()
    assert sum(one["duplicate"] for one in ledgers.values()) == 4 and await bench.closes()


async def test_the_same_id_with_other_content_becomes_a_dead_letter(bench, running):
    await bench.open()
    told, late = Told(), bench.commit()
    await bench.store().write(flush_of(batch("a")), [])
    running(late.run())
    await late.submit(batch(an_entry("a", bucket=EVEN, title="other"), "b", start=1, told=told))
    await until(lambda: told.acknowledged)
    ((topic, partition, _),) = [taken for taken in bench.broker.taken if taken[0] == "dead_letters"]
    assert (topic, partition) == ("dead_letters", EVEN)
    ledger = (await bench.ledgers())[f"standard:triggers.payments:{EVEN}"]
    assert (ledger["dead"], ledger["dead_reasons"], ledger["notified"]) == (1, {"id_conflict": 1}, 2)
    assert await bench.closes() and await bench.trigger_ids() == ["a", "b"]


async def test_a_ledger_that_nobody_began_is_begun_where_the_first_batch_begins(bench, running):
    commit, told, second = bench.commit(), Told(), Told()
    await commit.submit(batch("a", start=40, told=told))
    await commit.submit(batch("b", start=41, told=second))
    running(commit.run())
    await until(lambda: told.acknowledged and second.acknowledged)
    assert not told.refused and not second.refused, "two batches of a new partition in one flush are as good as one"
    ledger = (await bench.ledgers())[f"standard:triggers.payments:{EVEN}"]
    assert (ledger["first_offset"], ledger["next_offset"]) == (40, 42) and await bench.closes()


@pytest.mark.parametrize("start", [3, 9], ids=["from before", "a gap"])
async def test_a_batch_that_begins_elsewhere_is_handed_back_and_the_others_go_on(bench, running, start):
    other = ("triggers.security", EVEN)
    await bench.open(SOURCE, at=5)
    await bench.open(other)
    commit, told, good = bench.commit(), Told(), Told()
    await commit.submit(batch("a", start=start, told=told))
    await commit.submit(batch("b", start=start + 1, told=told))
    await commit.submit(a_taken(an_entry("c", bucket=EVEN), topic=other[0], partition=EVEN, told=good))
    running(commit.run())
    await until(lambda: told.refused and good.acknowledged)
    assert told.refused == [5] and not told.acknowledged and not good.refused
    assert await bench.trigger_ids() == ["c"] == bench.broker.ids()
    assert await bench.position() == 5 and await bench.closes()


async def test_what_waits_behind_a_refused_batch_is_forgotten_with_it(bench, running):
    await bench.open(at=5)
    commit, told = bench.commit(flush_records=1), Told()
    for start in (9, 10, 11):
        await commit.submit(batch(str(start), start=start, told=told))
    running(commit.run())
    await until(lambda: told.refused)
    await commit.submit(batch("a", start=5, told=told))
    await until(lambda: told.acknowledged)
    assert told.refused == [5] and await bench.trigger_ids() == ["a"]


async def test_the_same_records_decided_twice_are_counted_once(bench, running):
    """A batch decided before a rebalance can come to wait beside the same records, read again after it."""
    await bench.open()
    commit, stale, fresh = bench.commit(), Told(), Told()
    await commit.submit(batch("a", "b", told=stale))
    await commit.submit(batch("a", "b", told=fresh))
    await commit.submit(batch("c", start=2, told=fresh))
    running(commit.run())
    await until(lambda: fresh.refused)
    assert fresh.refused == [2] and stale.acknowledged == 1
    await commit.submit(batch("c", start=2, told=fresh))
    await until(lambda: fresh.acknowledged)
    assert bench.broker.ids() == ["a", "b", "c"] and await bench.closes()


async def test_what_another_worker_left_is_published_before_anything_behind_it(bench, running):
    """The old owner commits after this one began, and dies before it has published: order per user must hold all the same."""
    await bench.open()
    commit, told = bench.commit(), Told()
    await bench.store().write(flush_of(batch("left behind")), [])
    running(commit.run())
    await commit.submit(batch("stale", told=told))
    await until(lambda: told.refused)
    await commit.submit(batch("next", start=told.refused[0], told=told))
    await until(lambda: told.acknowledged)
    assert bench.broker.ids() == ["left behind", "next"]
    await until(lambda: not commit.flush_ids())
    assert await bench.rows() == []


async def test_forgotten_batches_are_not_written(bench, running):
    await bench.open(SOURCE, ("triggers.payments", 4))
    commit, kept, gone = bench.commit(), Told(), Told()
    await commit.submit(batch("gone", told=gone))
    await commit.submit(batch("kept", bucket=4, told=kept))
    await commit.forget([SOURCE])
    running(commit.run())
    await until(lambda: kept.acknowledged)
    assert await bench.trigger_ids() == ["kept"] and not gone.acknowledged
    await commit.submit(batch("gone too", bucket=4, start=1, told=gone))
    await commit.forget(None)
    assert not gone.acknowledged


@pytest.mark.parametrize("what", ["commitTransaction", "fingerprint", "next_offset"])
async def test_a_cut_connection_neither_loses_nor_doubles(bench, mongo_shards, running, what):
    await bench.open()
    async with Link(mongo_shards[0]) as link, bench.over(link) as cut_off:
        commit, told = cut_off.commit(store=cut_off.store(timeout_s=1.0)), Told()
        link.cut_after = lambda chunk: what.encode() in chunk and link.cuts < 4
        running(commit.run())
        for start in range(3):
            await commit.submit(batch(str(start), start=start, told=told))
            await until(lambda wanted=start + 1: told.acknowledged == wanted, 25)
        assert link.cuts == 4
        assert cut_off.broker.ids() == ["0", "1", "2"] == await bench.trigger_ids()
        assert not told.refused and await bench.closes()
        await until(lambda: not commit.flush_ids())
        assert await bench.rows() == []


async def test_a_lost_answer_to_a_commit_that_held_while_another_worker_went_on_elsewhere(bench):
    """Partition 2 of another topic was taken over meanwhile: what was committed for this one is still published here, at once."""
    other = ("triggers.security", EVEN)
    await bench.open(SOURCE, other)
    real = bench.store()

    class LosesTheAnswer:
        def __init__(self):
            self.lost = 0

        async def write(self, flush, published):
            await real.write(flush, published)
            if not self.lost:
                self.lost += 1
                entry = an_entry("new owner", bucket=EVEN)
                await real.write(flush_of(a_taken(entry, topic=other[0], partition=EVEN, start=1)), [])
                raise StoreUnavailable("the answer is lost")

        def __getattr__(self, name):
            return getattr(real, name)

    commit, told = bench.commit(store=LosesTheAnswer()), Told()
    await commit.submit(a_taken(an_entry("other", bucket=EVEN), topic=other[0], partition=EVEN, told=told))
    await commit.submit(batch("mine", told=told))
    task = asyncio.create_task(commit.run())
    await until(lambda: told.acknowledged == 2)
    await end(task)
    assert not told.refused and bench.broker.ids() == ["other", "mine"]
    assert await bench.closes()


async def test_a_commit_that_lands_only_while_it_is_tried_again(bench, running):
    """The shard was still at it when it was asked: the second try finds the ledger moved, by the first."""
    await bench.open()
    real = bench.store()

    class LandsLate:
        def __init__(self):
            self.tries = 0

        async def write(self, flush, published):
            self.tries += 1
            if self.tries == 1:
                raise StoreUnavailable("no answer yet")
            if self.tries == 2:
                await real.write(flush, published)
            await real.write(flush, published)

        def __getattr__(self, name):
            return getattr(real, name)

    commit, told = bench.commit(store=LandsLate()), Told()
    running(commit.run())
    await commit.submit(batch("a", told=told))
    await until(lambda: told.acknowledged or told.refused)
    assert told.acknowledged == 1 and not told.refused
    assert bench.broker.ids() == ["a"] and await bench.closes()


async def test_an_error_that_nobody_foresaw_does_not_end_the_flushes(bench, running):
    await bench.open()
    commit, told = bench.commit(), Told()
    real = told.acknowledge
    broken = batch("a", told=told)
    broken.acknowledge = lambda: (_ for _ in ()).throw(ZeroDivisionError("a defect"))
    running(commit.run())
    await commit.submit(broken)
    await until(lambda: told.refused)
    assert told.refused == [0]
    await commit.submit(batch("a", told=told))  # read again from where it was told
    await until(lambda: told.refused == [0, 1])
    await commit.submit(batch("b", start=1, told=told))
    await until(lambda: told.acknowledged)
    assert real and bench.broker.ids() == ["a", "b"] and await bench.closes()


@pytest.mark.parametrize("seed", range(12))
async def test_stopped_at_any_moment_nothing_is_lost_and_nothing_written_twice(bench_of, seed):
    """The next owner does what the first left, as a worker that takes over does."""
    bench = await bench_of()
    await bench.open()
    first = bench.way_out(sweep_every_s=0.05)
    await first.start()
    wanted = [str(number) for number in range(6)]

    async def work(way_out, start):
        for number in range(start, 6):
            await way_out.submit(batch(str(number), start=number, told=told))

    told = Told()
    working = asyncio.create_task(work(first, 0))
    with suppress(TimeoutError):
        async with asyncio.timeout(0.004 * seed):
            await until(lambda: told.acknowledged == 6)
    tasks, first._tasks = first._tasks, []
    await end(working, *tasks)  # as a crash would: nothing is tidied up

    second = bench.way_out()
    told = Told()
    positions = await second.take_over([SOURCE])
    assert await bench.rows() == []
    await second.start()
    await work(second, positions[SOURCE])
    await until(lambda: told.acknowledged == 6 - positions[SOURCE])
    await second.stop()
    assert await bench.trigger_ids() == wanted and await bench.closes()
    published = bench.broker.ids()
    assert list(dict.fromkeys(published)) == wanted, "order of the first publications"
    assert await bench.rows() == []


async def test_the_shards_do_not_wait_for_each_other(bench, mongo_shards):
    await bench.open(SOURCE, ("triggers.payments", ODD))
    async with Link(mongo_shards[0]) as link, bench.over(link) as cut_off:
        way_out = cut_off.way_out(transaction_timeout_s=0.5)
        await way_out.start()
        link.answers.clear()
        slow, fast = Told(), Told()
        await way_out.submit(batch("slow", told=slow))
        await way_out.submit(batch("fast", bucket=ODD, told=fast))
        await until(lambda: fast.acknowledged)
        assert not slow.acknowledged
        link.cut()
        link.answers.set()
        await until(lambda: slow.acknowledged, 25)
        await way_out.stop()
    assert await bench.closes()


async def test_a_shard_that_is_away_slows_the_reading_down_and_fills_no_memory(bench, mongo_shards):
    await bench.open()
    async with Link(mongo_shards[0]) as link, bench.over(link) as cut_off:
        way_out = cut_off.way_out(transaction_timeout_s=0.3, waiting_records=20, flush_records=5)
        await way_out.start()
        link.answers.clear()
        submitted, told = [], Told()

        async def read():
            for start in range(100):
                await way_out.submit(batch(str(start), start=start, told=told))
                submitted.append(start)

        reading = asyncio.create_task(read())
        await asyncio.sleep(0.2)
        assert 10 <= len(submitted) <= 16, "10 wait (each counts one more), and some may be in a flush"
        link.cut()
        link.answers.set()
        await until(lambda: told.acknowledged == 100, 25)
        await reading
        await way_out.stop()
    assert cut_off.broker.ids() == [str(start) for start in range(100)]
    assert await bench.shards.database(0)[NOTIFICATIONS].count_documents({}) == 100


@pytest.mark.parametrize("after_ms", range(0, 12, 2))
async def test_a_stop_ends_whenever_it_comes(bench, after_ms):
    """The driver can lose a cancellation; a worker that is told to stop must stop all the same."""
    await bench.open()
    way_out = bench.way_out(sweep_every_s=0.05)
    await way_out.start()
    await way_out.submit(batch("a"))
    await asyncio.sleep(after_ms / 1000)
    await asyncio.wait_for(way_out.stop(), 15)
