"""A bucket moves with all its rows, under load, even if the mover is killed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from pymongo.errors import WriteError

from notify_streams.admin.audit.database import read_database, unmoved_buckets
from notify_streams.admin.audit.parts import Parts
from notify_streams.admin.audit.snapshot import RegionSnapshot
from notify_streams.admin.shards import check_shards
from notify_streams.delivery.attempts import fold
from notify_streams.errors import Refused, StoreUnavailable
from notify_streams.routing.outcome_records import repartitioned
from notify_streams.stores.mongo import ATTEMPTS, CONSENTS, LEDGER, NOTIFICATIONS, OUTBOX, PREFERENCES, TIMERS, Document
from tests.builders import ABatch, AckRecorder, ARecord, an_outcome
from tests.integration.delivery.delivery_fixtures import Provider, running_engine
from tests.integration.outbox.conftest import OpenBench
from tests.integration.outbox.move_fixtures import LEASE_S, NO_WAITS, TOPIC, Killed, Worker, initialised, move, rows_on
from tests.integration.outbox.outbox_fixtures import EVEN, ODD, Bench, batch, flush_of
from tests.waiting import until

#: Of a move that is not interrupted.
STEPS = 9
SOURCE = 0
TARGET = 1

StartWorker = Callable[..., Awaitable[Worker]]


async def fill(bench: Bench, bucket: int) -> dict[str, list[Document]]:
    """Put rows into every collection; returns them."""
    shard = bench.shards.of(bucket)
    await bench.open((TOPIC, bucket))
    await bench.store(shard).write(flush_of(batch(f"{bucket}a", f"{bucket}b", bucket=bucket)), [])
    for name in (PREFERENCES, CONSENTS, TIMERS, ATTEMPTS):
        await bench.shards.database(shard)[name].insert_one({"_id": f"{name}-{bucket}", "bucket": bucket, "row": b"x"})
    return await rows_on(bench, shard, bucket)


def count(rows: dict[str, list[Document]]) -> int:
    return sum(map(len, rows.values()))


async def writable_on(bench: Bench, bucket: int) -> list[int]:
    """The shards that allow a write to this bucket now."""
    writable = []
    for shard in range(len(bench.shards)):
        collection = bench.shards.client(shard)[bench.settings.database][TIMERS]
        try:
            await collection.insert_one({"_id": "probe", "bucket": bucket})
        except WriteError:
            continue
        await collection.delete_one({"_id": "probe"})
        writable.append(shard)
    return writable


async def test_a_move_takes_all_rows_and_leaves_none(bench: Bench) -> None:
    await initialised(bench)
    before, other = await fill(bench, EVEN), await fill(bench, EVEN + 2)
    assert len(await move(bench, EVEN, TARGET, waits=NO_WAITS)) == STEPS
    assert (await rows_on(bench, TARGET, EVEN), count(await rows_on(bench, SOURCE, EVEN))) == (before, 0)
    assert await rows_on(bench, SOURCE, EVEN + 2) == other
    await bench.shards.refresh_directory()
    assert (bench.shards.of(EVEN), bench.shards.of(EVEN + 2)) == (TARGET, SOURCE)
    assert all(finding.holds for finding in await check_shards(bench.settings, bench.shards))


async def test_an_audit_sees_that_a_bucket_has_moved_while_it_read(bench: Bench, tmp_path: Path) -> None:
    """Its rows would be missing: the shard that it moved to was read before, and those on the old one are deleted."""
    await initialised(bench)
    await bench.open((TOPIC, EVEN))
    snapshot = RegionSnapshot("us")
    with pytest.raises(StoreUnavailable, match=f"bucket {EVEN} was moved from shard 0 to 1 while the audit read them"):
        async with unmoved_buckets(bench.shards):
            await move(bench, EVEN, TARGET, waits=NO_WAITS)
            await read_database(bench.shards, snapshot, Parts(tmp_path, 1))
    assert not snapshot.ledgers
    async with unmoved_buckets(bench.shards):
        await read_database(bench.shards, snapshot, Parts(tmp_path, 1))
    assert [one["bucket"] for one in snapshot.ledgers] == [EVEN]


@pytest.mark.parametrize("step", range(STEPS))
async def test_a_move_that_was_killed_at_any_step_can_be_completed_or_undone(bench: Bench, step: int) -> None:
    await initialised(bench)
    before = await fill(bench, EVEN)
    for to in (TARGET, SOURCE):
        with pytest.raises(Killed):
            await move(bench, EVEN, TARGET, dies_at=step, waits=NO_WAITS)
        places = await writable_on(bench, EVEN)
        assert len(places) <= 1 or step == 0, "two shards must never allow writes"
        assert before in [await rows_on(bench, shard, EVEN) for shard in (SOURCE, TARGET)], "one shard has all rows"
        await move(bench, EVEN, to, waits=NO_WAITS)
        await bench.shards.refresh_directory()
        assert bench.shards.of(EVEN) == to and await writable_on(bench, EVEN) == [to]
        assert (await rows_on(bench, to, EVEN), count(await rows_on(bench, 1 - to, EVEN))) == (before, 0)
        await move(bench, EVEN, SOURCE, waits=NO_WAITS)


async def test_moves_under_load_lose_and_double_nothing(bench_of: OpenBench, start_worker: StartWorker) -> None:
    plain = await initialised(await bench_of())
    worker = await start_worker(EVEN, ODD)
    await until(lambda: min(worker.done.values()) > 10)
    for to in (TARGET, SOURCE):
        for step in (2, 5):
            with pytest.raises(Killed):
                await move(plain, EVEN, to, dies_at=step)
        before, others = worker.done[EVEN], worker.done[ODD]
        await move(plain, EVEN, to)
        await until(partial(is_past, worker, before + 20))
        assert worker.done[ODD] > others + 20, "buckets of the other shard are not delayed"
    await worker.finish()
    await plain.shards.refresh_directory()
    assert await plain.trigger_ids() == worker.acknowledged()
    assert await plain.ledgers_add_up() and await plain.rows() == []
    for bucket in worker.done:
        published = worker.bench.broker.ids(partition=bucket)
        assert published == [trigger_id for trigger_id in worker.acknowledged() if trigger_id.startswith(f"{bucket}-")]
    assert count(await rows_on(plain, TARGET, EVEN)) == 0 < count(await rows_on(plain, SOURCE, EVEN))


def is_past(worker: Worker, position: int) -> bool:
    return worker.done[EVEN] > position


async def polling_bench(bench_of: OpenBench) -> Bench:
    return await bench_of(shards_options={"follows": True, "lease_s": LEASE_S})


@pytest.fixture
async def start_worker(bench_of: OpenBench) -> AsyncIterator[StartWorker]:
    """Starts workers; those that still run at the end are crashed."""
    workers = []

    async def start(*buckets: int) -> Worker:
        workers.append(Worker(await polling_bench(bench_of), buckets))
        await workers[-1].start()
        return workers[-1]

    yield start
    for worker in workers:
        await worker.crash()


async def test_after_a_crash_during_a_move_the_next_owner_publishes_what_was_left(
    bench_of: OpenBench, start_worker: StartWorker
) -> None:
    plain = await initialised(await bench_of())
    first = await start_worker(EVEN)
    await until(lambda: first.done[EVEN] > 10)
    moving = await until_blocked(plain)
    await first.crash()
    second = await start_worker(EVEN)
    await moving
    await until(lambda: second.done[EVEN] > first.done[EVEN] + 10)
    await second.finish()
    await plain.shards.refresh_directory()
    assert await plain.trigger_ids() == second.acknowledged() and await plain.ledgers_add_up()
    ids = first.bench.broker.ids() + second.bench.broker.ids()
    # In order and complete; rows that the second worker relayed from the old shard may be relayed again from the copy.
    assert list(dict.fromkeys(ids)) == second.acknowledged()


async def until_blocked(bench: Bench) -> asyncio.Task[list[str]]:
    """A move in progress that has blocked all writes to its bucket."""
    blocked = asyncio.Event()

    def on_step(step: str) -> None:
        if step.startswith("comparing"):
            blocked.set()

    moving = asyncio.create_task(move(bench, EVEN, TARGET, on_step=on_step))
    await blocked.wait()
    return moving


async def test_a_delivery_that_ends_during_a_move_is_stored_on_the_new_shard(bench_of: OpenBench) -> None:
    plain = await initialised(await bench_of())
    await fill(plain, EVEN)
    value = an_outcome("2a", bucket=EVEN).outputs[0][3]
    a_batch = ABatch([ARecord(value)], topic="push", partition=EVEN, start=0, end=1)
    shards = (await polling_bench(bench_of)).shards
    async with running_engine(shards, Provider()) as engine:

        async def is_owned() -> bool:
            with suppress(StoreUnavailable):  # on a busy machine the directory was read too long ago
                return await engine.own(EVEN) == 0
            return False

        await until(is_owned)
        moving = await until_blocked(plain)
        event = await engine.begin(a_batch)
        await moving
        await until(lambda: event.refused or event.acknowledged, within_s=30)
        if event.refused:  # the ledger is on the new shard: read again
            await engine.deliver(a_batch)
        marks = [call.possible_duplicate for call in engine.provider.calls]
    assert marks in ([False], [False, True])
    rows = await rows_on(plain, TARGET, EVEN)
    assert [one.state for one in fold(row for row in rows[ATTEMPTS] if isinstance(row["_id"], bytes)).values()] == [
        "sent"
    ]
    (ledger,) = [one for one in rows[LEDGER] if one["role"] == "push"]
    assert (ledger["next_offset"], ledger["sent"]) == (1, 1)


async def test_a_shard_is_not_used_after_its_directory_lease(bench_of: OpenBench) -> None:
    await initialised(await bench_of())
    bench = await polling_bench(bench_of)
    bench.shards.database(SOURCE)
    await bench.shards.directory.stop_polling()
    await until(lambda: is_refused(bench))


async def test_a_worker_that_missed_the_move_stops_before_the_new_shard_allows_writes(bench_of: OpenBench) -> None:
    """The worker stops polling at the moment when the new shard is recorded."""
    plain = await initialised(await bench_of())
    stale = await polling_bench(bench_of)
    refused = {}
    stops = []

    def on_step(step: str) -> None:
        if step.startswith("recording"):
            stops.append(asyncio.create_task(stale.shards.directory.stop_polling()))
        refused[step.split()[0]] = is_refused(stale)

    await move(plain, EVEN, TARGET, on_step=on_step)
    assert stops and not refused["recording"] and refused["allowing"], refused


def is_refused(bench: Bench) -> bool:
    try:
        bench.shards.database(SOURCE)
    except StoreUnavailable:
        return True
    return False


@pytest.mark.parametrize("collection", [LEDGER, NOTIFICATIONS, OUTBOX, PREFERENCES])
async def test_wrong_settings_lose_no_row(bench_of: OpenBench, collection: str) -> None:
    """`bucket_shards` was changed by hand before a move: neither direction may delete the rows as leftovers."""
    bench = await initialised(await bench_of())
    row = {"_id": "x", "bucket": EVEN}
    await bench.shards.database(SOURCE)[collection].insert_one(row)
    wrong = await bench_of(bucket_shards={EVEN: TARGET})
    for to in (SOURCE, TARGET):
        with pytest.raises(Refused, match="bucket_shards"):
            await move(wrong, EVEN, to)
    assert await bench.shards.database(SOURCE)[collection].find_one({"_id": "x"}) == row


async def test_of_two_moves_one_is_refused(bench_of: OpenBench) -> None:
    bench = await initialised(await bench_of())
    results = await asyncio.gather(move(bench, EVEN, TARGET), move(bench, EVEN, TARGET), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Refused", "list"]


@pytest.mark.parametrize(("bucket", "to"), [(-1, 0), (8, 0), (0, 2), (0, -1)])
async def test_an_unknown_bucket_or_shard_is_refused(bench: Bench, bucket: int, to: int) -> None:
    with pytest.raises(Refused, match="buckets 0 to 7"):
        await move(bench, bucket, to)


async def test_a_record_for_a_bucket_that_was_moved_away_and_back_holds_up_nothing(bench: Bench) -> None:
    """The shard of the record's source refuses every write to the bucket that the record belongs to."""
    await initialised(bench)
    for to in (SOURCE, TARGET):
        await move(bench, ODD, to, waits=NO_WAITS)
    await bench.shards.refresh_directory()
    acks = AckRecorder()
    outbox = bench.outbox()
    await bench.open((TOPIC, EVEN))
    await outbox.start()
    misplaced = repartitioned(ARecord(b"misplaced"), TOPIC, EVEN, ODD, "u")
    await outbox.submit(batch(misplaced, "after", bucket=EVEN, acks=acks))
    await until(lambda: acks.acknowledged == 1)
    await outbox.stop()
    assert (TOPIC, ODD, [b"misplaced"]) in bench.broker.sent and bench.broker.ids() == ["after"]
    assert await bench.rows() == [] and await bench.ledgers_add_up()


async def test_the_owner_of_the_source_relays_a_record_of_another_shards_bucket(bench: Bench) -> None:
    await initialised(bench)
    await bench.open((TOPIC, EVEN))
    await bench.store().write(flush_of(batch(repartitioned(ARecord(b"left"), TOPIC, EVEN, ODD, "u"), bucket=EVEN)), [])
    assert await bench.relay.drain([ODD]) == 0
    assert await bench.relay.drain([EVEN]) == 1
    assert bench.broker.sent == [(TOPIC, ODD, [b"left"])]
