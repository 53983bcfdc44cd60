"""A bucket goes to another shard with everything it has, under load, and however often the mover is killed on its way."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo.errors import WriteError

from notify_streams.admin.shards import check_shards
from notify_streams.delivery.claims import Claims, DeliveryEnd, new_token
from notify_streams.errors import Refused, StoreUnavailable
from notify_streams.records.ids import notification_id
from notify_streams.records.outcomes import DeliveryState
from notify_streams.retry import STORE
from notify_streams.stores.mongo import LEDGER, NOTIFICATIONS, OUTBOX, PREFERENCES, TIMERS
from tests.integration.outbox.conftest import OpenBench
from tests.integration.outbox.moving import LEASE_S, NO_WAITS, TOPIC, Killed, Worker, move, ready, rows_on
from tests.integration.outbox.outbox_fixtures import EVEN, ODD, Bench, batch, flush_of
from tests.waiting import until

#: What `say` hears of a move that nothing interrupts.
STEPS = 9
SOURCE = 0
TARGET = 1


async def fill(bench: Any, bucket: Any, ids: Any = ("a", "b")) -> Any:
    """Something in every collection."""
    shard = bench.shards.of(bucket)
    await bench.open((TOPIC, bucket))
    await bench.store(shard).write(flush_of(batch(*(f"{bucket}{one}" for one in ids), bucket=bucket)), [])
    for name in (PREFERENCES, TIMERS):
        await bench.shards.database(shard)[name].insert_one({"_id": f"{name}-{bucket}", "bucket": bucket, "row": b"x"})
    return await rows_on(bench, shard, bucket)


def count(rows: Any) -> Any:
    return sum(map(len, rows.values()))


async def accepting(bench: Any, bucket: Any) -> Any:
    """The shards that would take a write of this bucket now."""
    taken = []
    for shard in range(len(bench.shards)):
        collection = bench.shards.client(shard)[bench.settings.database][TIMERS]
        try:
            await collection.insert_one({"_id": "probe", "bucket": bucket})
        except WriteError:
            continue
        await collection.delete_one({"_id": "probe"})
        taken.append(shard)
    return taken


async def test_a_bucket_goes_with_all_its_rows_and_leaves_none(bench: Bench) -> None:
    await ready(bench)
    before, other = await fill(bench, EVEN), await fill(bench, EVEN + 2)
    assert len(await move(bench, EVEN, TARGET, waits=NO_WAITS)) == STEPS
    assert (await rows_on(bench, TARGET, EVEN), count(await rows_on(bench, SOURCE, EVEN))) == (before, 0)
    assert await rows_on(bench, SOURCE, EVEN + 2) == other
    await bench.shards.refresh_directory()
    assert (bench.shards.of(EVEN), bench.shards.of(EVEN + 2)) == (TARGET, SOURCE)
    assert [one for one in await check_shards(bench.settings, bench.shards) if not one.holds] == []


@pytest.mark.parametrize("step", range(STEPS))
async def test_a_mover_that_is_killed_at_any_step_leaves_a_bucket_that_can_be_moved_on_or_back(
    bench: Bench, step: Any
) -> None:
    await ready(bench)
    before = await fill(bench, EVEN)
    for to in (TARGET, SOURCE):
        with pytest.raises(Killed):
            await move(bench, EVEN, TARGET, dies_at=step, waits=NO_WAITS)
        places = await accepting(bench, EVEN)
        assert len(places) <= 1 or step == 0, "never do two shards take writes"
        assert before in [await rows_on(bench, shard, EVEN) for shard in (SOURCE, TARGET)], "one has everything"
        await move(bench, EVEN, to, waits=NO_WAITS)
        await bench.shards.refresh_directory()
        assert bench.shards.of(EVEN) == to and await accepting(bench, EVEN) == [to]
        assert (await rows_on(bench, to, EVEN), count(await rows_on(bench, 1 - to, EVEN))) == (before, 0)
        await move(bench, EVEN, SOURCE, waits=NO_WAITS)


async def test_nothing_is_lost_or_doubled_by_moves_under_load_however_often_the_mover_dies(
    bench_of: OpenBench, at_work: Any
) -> None:
    plain = await ready(await bench_of())
    worker = await at_work(EVEN, ODD)
    await until(lambda: min(worker.done.values()) > 10)
    for to in (TARGET, SOURCE):
        for step in (2, 5):
            with pytest.raises(Killed):
                await move(plain, EVEN, to, dies_at=step)
        held, others = worker.done[EVEN], worker.done[ODD]
        await move(plain, EVEN, to)
        await until(lambda held=held: worker.done[EVEN] > held + 20)
        assert worker.done[ODD] > others + 20, "the other shard's buckets went on"
    await worker.finish()
    await plain.shards.refresh_directory()
    assert await plain.trigger_ids() == worker.promised()
    assert await plain.closes() and await plain.rows() == []
    for bucket in worker.done:
        published = worker.bench.broker.ids(partition=bucket)
        assert published == [one for one in worker.promised() if one.startswith(f"{bucket}-")]
    assert count(await rows_on(plain, TARGET, EVEN)) == 0 < count(await rows_on(plain, SOURCE, EVEN))


async def bench_of_following(bench_of: Any) -> Any:
    return await bench_of(of_shards={"follows": True, "lease_s": LEASE_S})


@pytest.fixture
async def at_work(bench_of: OpenBench) -> AsyncIterator[Any]:
    """Starts workers; those that still work at the end are crashed."""
    workers = []

    async def start(*buckets: Any) -> Any:
        workers.append(Worker(await bench_of_following(bench_of), buckets))
        await workers[-1].start()
        return workers[-1]

    yield start
    for worker in workers:
        await worker.crash()


async def test_a_worker_that_dies_in_the_middle_of_a_move_leaves_what_the_next_one_publishes(
    bench_of: OpenBench, at_work: Any
) -> None:
    plain = await ready(await bench_of())
    first = await at_work(EVEN)
    await until(lambda: first.done[EVEN] > 10)
    moving = await until_held(plain)
    await first.crash()
    second = await at_work(EVEN)
    await moving
    await until(lambda: second.done[EVEN] > first.done[EVEN] + 10)
    await second.finish()
    await plain.shards.refresh_directory()
    assert await plain.trigger_ids() == second.promised() and await plain.closes()
    ids = first.bench.broker.ids() + second.bench.broker.ids()
    # In order and complete; what the second one found at the old place and what was copied of it may come twice.
    assert list(dict.fromkeys(ids)) == second.promised()


async def until_held(bench: Any) -> Any:
    """A move under way whose bucket takes no writes any more."""
    held = asyncio.Event()
    moving = asyncio.create_task(
        move(bench, EVEN, TARGET, seen=lambda step: step == "comparing the copies" and held.set())
    )
    await held.wait()
    return moving


async def test_a_claim_that_ends_while_its_bucket_moves_ends_where_the_bucket_is(bench_of: OpenBench) -> None:
    plain = await ready(await bench_of())
    await fill(plain, EVEN)
    claims = Claims((await bench_of_following(bench_of)).shards, "push", 1.0)
    identity, token, now = notification_id("2a", "u-42"), new_token(), datetime.now(UTC)
    assert identity in (await claims.claim(EVEN, [identity], token, now)).mine
    moving = await until_held(plain)
    ended = DeliveryEnd(identity, token, DeliveryState.SENT, 1, provider_id="p-1")
    with pytest.raises(StoreUnavailable):
        await claims.end(EVEN, [ended], now)
    await STORE.call(claims.end, EVEN, [ended], now)
    await moving
    (found,) = [one for one in (await rows_on(plain, TARGET, EVEN))[NOTIFICATIONS] if one["_id"] == identity]
    assert found["deliveries"]["push"]["state"] == "sent"


async def test_who_has_not_heard_of_a_shard_for_a_lease_uses_nothing_of_it(bench_of: OpenBench) -> None:
    await ready(await bench_of())
    bench = await bench_of_following(bench_of)
    bench.shards.database(SOURCE)
    for task in bench.shards._following:
        task.cancel()
    await until(lambda: is_refused(bench))


async def test_before_the_new_place_takes_writes_nobody_reads_the_old_one(bench_of: OpenBench) -> None:
    """A worker hears nothing any more at the moment when the shards say where the bucket is now."""
    plain = await ready(await bench_of())
    stale = await bench_of_following(bench_of)
    refused = {}

    def seen(step: Any) -> None:
        if step.startswith("saying"):
            for task in stale.shards._following:
                task.cancel()
        refused[step.split()[0]] = is_refused(stale)

    await move(plain, EVEN, TARGET, seen=seen)
    assert not refused["saying"] and refused["accepting"], refused


def is_refused(bench: Any) -> Any:
    try:
        bench.shards.database(SOURCE)
    except StoreUnavailable:
        return True
    return False


@pytest.mark.parametrize("there", [LEDGER, NOTIFICATIONS, OUTBOX, PREFERENCES])
async def test_settings_that_are_wrong_about_a_bucket_cost_no_row(bench_of: OpenBench, there: Any) -> None:
    """Somebody changed `bucket_shards` by hand and then moves: neither direction may take the rows for leftovers."""
    bench = await ready(await bench_of())
    row = {"_id": "x", "bucket": EVEN}
    await bench.shards.database(SOURCE)[there].insert_one(row)
    wrong = await bench_of(bucket_shards={EVEN: TARGET})
    for to in (SOURCE, TARGET):
        with pytest.raises(Refused, match="bucket_shards"):
            await move(wrong, EVEN, to)
    assert await bench.shards.database(SOURCE)[there].find_one({"_id": "x"}) == row


async def test_of_two_movers_one_is_refused(bench_of: OpenBench) -> None:
    bench = await ready(await bench_of())
    ends = await asyncio.gather(move(bench, EVEN, TARGET), move(bench, EVEN, TARGET), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["Refused", "list"]


@pytest.mark.parametrize(("bucket", "to"), [(-1, 0), (8, 0), (0, 2), (0, -1)])
async def test_what_there_is_not_cannot_be_moved(bench: Bench, bucket: int, to: int) -> None:
    with pytest.raises(Refused, match="buckets 0 to 7"):
        await move(bench, bucket, to)
