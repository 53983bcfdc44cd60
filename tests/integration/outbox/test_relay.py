"""The relay publishes the rows that a crashed worker left, and only those."""

import asyncio
import time
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any

import msgspec
import pytest

from notify_streams.errors import RetryLater, StoreUnavailable
from notify_streams.outbox.flush_plan import Flush
from notify_streams.outbox.relay import Relay
from notify_streams.records.outcomes import DeadReason
from notify_streams.routing.outcome_records import dead_letter
from notify_streams.settings import OutboxSettings
from notify_streams.stores.mongo import OUTBOX
from tests.builders import AckRecorder, ARecord, an_outcome
from tests.integration.outbox.conftest import OpenBench
from tests.integration.outbox.outbox_fixtures import EVEN, ODD, ROLE, SOURCE, Bench, batch, flush_of
from tests.waiting import until

#: Old enough for every sweep.
OLD = f"{10**18:016x}00000000"


async def leave_rows(
    bench: Bench, *ids: str, start: int = 0, bucket: int = EVEN, role: str = ROLE, flush_id: str | None = None
) -> Flush:
    """The rows of a worker that died between commit and publication."""
    await bench.ledger_of(role).open({("triggers.payments", bucket): 0})
    flush = flush_of(batch(*ids, start=start, bucket=bucket), role=role, flush_id=flush_id)
    await bench.store(bench.shards.of(bucket)).write(flush, [])
    return flush


async def test_rows_are_published_in_order_and_deleted(bench: Bench) -> None:
    for start in range(11):
        await leave_rows(bench, f"{start:02}", start=start)
    assert await bench.relay.drain([EVEN]) == 11
    assert bench.broker.ids() == [f"{start:02}" for start in range(11)]
    assert await bench.rows() == [] and await bench.relay.drain([EVEN]) == 0


async def test_the_published_record_is_the_decided_one(bench: Bench) -> None:
    await bench.open()
    record = ARecord(None, b"\xff", (("x", None), ("y", b"\xff")), offset=0)
    flush = flush_of(batch(dead_letter(record, "triggers.payments", EVEN, DeadReason.NOT_JSON, "why")))
    await bench.store().write(flush, [])
    seen = []

    class RecordingProducer:
        async def send_batch(self, topic: str, partition: int, records: Sequence[Any]) -> None:
            seen.append(
                (topic, partition, [(key, value, [tuple(header) for header in h]) for key, value, h in records])
            )

    await bench.relay_of(producer=RecordingProducer()).drain([EVEN])
    (row,) = flush.rows
    assert seen == [(row.topic, row.partition, [(key, value, list(h)) for key, value, h in row.records])]


async def test_a_role_publishes_only_its_own_rows(bench: Bench) -> None:
    await leave_rows(bench, "standard")
    await leave_rows(bench, "critical", role="critical")
    assert await bench.relay.drain([EVEN]) == 1
    assert bench.broker.ids() == ["standard"] and len(await bench.rows()) == 1
    assert await bench.relay_of("critical").drain([EVEN]) == 1
    assert await bench.rows() == []


async def test_rows_of_other_buckets_stay(bench: Bench) -> None:
    await leave_rows(bench, "even")
    await leave_rows(bench, "odd", bucket=ODD)
    assert await bench.relay.drain([ODD, ODD]) == 1
    assert bench.broker.ids() == ["odd"]
    rows, oldest_s = await bench.relay.waiting([EVEN, ODD])
    assert rows == 1 and oldest_s < 30


async def test_young_rows_and_excluded_flushes_stay(bench: Bench) -> None:
    old = await leave_rows(bench, "old", flush_id=OLD)
    mine = await leave_rows(bench, "mine", start=1, flush_id=f"{10**18 + 1:016x}00000000")
    await leave_rows(bench, "young", start=2)
    assert await bench.relay.drain([EVEN], older_than_ms=60_000, exclude=frozenset({mine.id})) == 1
    assert bench.broker.ids() == ["old"]
    left = {row["_id"].split(":")[2] for row in await bench.rows()}
    assert mine.id in left and old.id not in left and len(left) == 2


async def test_a_worker_whose_clock_was_ahead_leaves_no_row_for_later(bench: Bench) -> None:
    """The next owner publishes it before anything new, and no message waits for the difference of the clocks."""
    ahead_ns = time.time_ns() + 3600 * 10**9
    await leave_rows(bench, "ahead", flush_id=f"{ahead_ns:016x}00000000")
    assert await bench.relay.drain([EVEN]) == 1
    await leave_rows(bench, "again", start=1, flush_id=f"{ahead_ns:016x}00000001")
    assert await bench.relay.drain([EVEN], older_than_ms=10_000) == 1
    assert bench.broker.ids() == ["ahead", "again"]


async def test_excluded_rows_that_fill_a_read_hide_no_others(bench: Bench) -> None:
    flushes = [await leave_rows(bench, str(start), start=start) for start in range(12)]
    excluded = frozenset(flush.id for flush in flushes[:9])
    assert await bench.relay.drain([EVEN], exclude=excluded) == 3
    assert bench.broker.ids() == ["9", "10", "11"]


async def test_rows_stay_while_the_broker_is_unavailable(bench: Bench) -> None:
    await leave_rows(bench, "a")

    async def refuse(topic: str, partition: int) -> None:
        raise ConnectionError("the broker is unavailable")

    bench.broker.before = refuse
    with pytest.raises(RetryLater):
        await bench.relay.drain([EVEN])
    assert len(await bench.rows()) == 1
    bench.broker.before = None
    assert await bench.relay.drain([EVEN]) == 1


async def test_waiting_rows_are_counted_with_the_age_of_the_oldest(bench: Bench) -> None:
    assert await bench.relay.waiting([EVEN, ODD]) == (0, 0.0)
    await leave_rows(bench, "a", flush_id=OLD)
    await leave_rows(bench, "b", start=1)
    rows, oldest_s = await bench.relay.waiting([EVEN, ODD])
    assert rows == 2 and oldest_s > 3600


async def test_a_copy_of_a_published_row_is_only_deleted(bench: Bench) -> None:
    """A move may have copied a row just before its worker deleted it."""
    old = await leave_rows(bench, "old")
    await leave_rows(bench, "new", start=1)
    assert await bench.relay.drain([EVEN], published=frozenset({old.id})) == 1
    assert bench.broker.ids() == ["new"] and await bench.rows() == []


async def test_a_new_owner_relays_left_rows_and_gets_its_positions(bench: Bench) -> None:
    await leave_rows(bench, "a", "b")
    outbox = bench.outbox()
    assert await outbox.acquire([SOURCE, ("triggers.security", EVEN)]) == {SOURCE: 2}
    assert bench.broker.ids() == ["a", "b"] and await bench.rows() == []


async def test_a_bucket_whose_rows_no_partition_takes_waits_and_the_others_start(bench: Bench) -> None:
    await leave_rows(bench, "old")
    await bench.open(("triggers.payments", 4))
    led = asyncio.Event()

    async def until_led(topic: str, partition: int) -> None:
        if partition == EVEN:
            await led.wait()

    bench.broker.before = until_led
    outbox, late, acks = bench.outbox(), AckRecorder(), AckRecorder()
    await outbox.start()
    other = ("triggers.payments", 4)
    assert await outbox.acquire([SOURCE, other]) == {SOURCE: 1, other: 0}
    waiting = asyncio.create_task(outbox.submit(batch("new", start=1, acks=late)))
    await outbox.submit(batch("other", bucket=4, acks=acks))
    await until(lambda: acks.acknowledged)
    assert bench.broker.ids() == ["other"] and not late.acknowledged
    led.set()
    await waiting
    await until(lambda: late.acknowledged)
    await outbox.stop()
    assert bench.broker.ids(partition=EVEN) == ["old", "new"] and await bench.rows() == []


def refuse_push(bench: Bench) -> list[str]:
    """The topics to which something was sent, or was to be."""
    asked: list[str] = []

    async def refuse(topic: str, partition: int) -> None:
        asked.append(topic)
        if topic == "push":
            raise ConnectionError("no leader")

    bench.broker.before = refuse
    return asked


async def test_what_is_published_is_not_published_again_because_another_topic_takes_nothing(bench: Bench) -> None:
    await bench.open()
    entries = [
        an_outcome("a", bucket=EVEN),
        dead_letter(ARecord(b"b", offset=1), "triggers.payments", EVEN, DeadReason.NOT_JSON, "why"),
    ]
    await bench.store().write(flush_of(batch(*entries)), [])
    refuse_push(bench)
    for _ in range(3):
        with pytest.raises(RetryLater):
            await bench.relay.drain([EVEN])
    assert [topic for topic, _, _ in bench.broker.sent] == ["dead_letters"]
    bench.broker.before = None
    assert await bench.relay.drain([EVEN]) == 1
    assert bench.broker.ids() == ["a"] and await bench.rows() == []


async def leave_dead_letter(bench: Bench, offset: int) -> None:
    entry = dead_letter(ARecord(b"b", offset=offset), "triggers.payments", EVEN, DeadReason.NOT_JSON, "why")
    await bench.store().write(flush_of(batch(entry, start=offset)), [])


async def test_many_rows_for_a_partition_that_takes_nothing_hold_up_no_row_behind_them(bench: Bench) -> None:
    for start in range(9):
        await leave_rows(bench, str(start), start=start)
    await leave_dead_letter(bench, 9)
    asked = refuse_push(bench)
    with pytest.raises(RetryLater):
        await bench.relay.drain([EVEN])
    assert [topic for topic, _, _ in bench.broker.sent] == ["dead_letters"] and len(await bench.rows()) == 9
    assert asked == ["push", "dead_letters"], "what takes nothing is not asked for each read"
    bench.broker.before = None
    assert await bench.relay.drain([EVEN]) == 9
    assert bench.broker.ids() == [str(start) for start in range(9)] and await bench.rows() == []


async def test_rows_in_parts_are_published_but_for_the_partition_that_takes_nothing(bench: Bench) -> None:
    for start in range(5):
        await leave_rows(bench, str(start), start=start)
    rows = bench.shards.collection(OUTBOX, EVEN)
    row = await rows.find_one({}, sort=[("_id", -1)])
    assert row is not None
    of_push = {name: row.pop(name) for name in ("topic", "partition", "records")}
    of_both = row | {"_id": f"{row['_id'][:-1]}8", "parts": [of_push, of_push | {"topic": "events"}]}
    await rows.insert_many([of_both, row | {"_id": f"{row['_id'][:-1]}9", "parts": [of_push]}])
    refuse_push(bench)
    with pytest.raises(RetryLater):
        await bench.relay.drain([EVEN])
    assert [topic for topic, _, _ in bench.broker.sent] == ["events"]
    bench.broker.before = None
    assert await bench.relay.drain([EVEN]) == 7
    assert bench.broker.ids() == ["0", "1", "2", "3", "4", "4", "4"] and len(bench.broker.sent) == 8


async def test_a_broker_that_takes_nothing_is_asked_a_few_times_only(bench: Bench) -> None:
    await leave_rows(bench, "0")
    rows = bench.shards.collection(OUTBOX, EVEN)
    row = await rows.find_one({})
    assert row is not None
    await rows.insert_many([row | {"_id": f"{row['_id']}{at}", "topic": f"topic-{at:03}"} for at in range(100)])
    asked: list[str] = []

    async def refuse(topic: str, partition: int) -> None:
        asked.append(topic)
        raise ConnectionError("no leader")

    bench.broker.before = refuse
    with pytest.raises(RetryLater):
        await bench.relay.drain([EVEN])
    assert len(asked) == 12 and len(set(asked)) == 12


async def test_a_commit_during_an_assignment_is_relayed(bench: Bench) -> None:
    """The old owner commits after the ledger is read: its rows are relayed, and the ledger will refuse the new owner once."""
    await bench.open()

    class LateCommit(Relay):
        async def with_rows(self, buckets: Iterable[int]) -> list[int]:
            await leave_rows(bench, "late")
            return await super().with_rows(buckets)

    outbox = bench.outbox()
    outbox.relay = bench.relay_of(kind=LateCommit)
    assert await outbox.acquire([SOURCE]) == {SOURCE: 0}
    assert bench.broker.ids() == ["late"]


async def test_a_sweep_publishes_left_rows(bench: Bench) -> None:
    await leave_rows(bench, "old", flush_id=OLD)
    outbox = bench.outbox(sweep_every_s=0.02)
    outbox.buckets = frozenset({EVEN})
    await outbox.start()
    await until(lambda: bench.broker.sent)
    await outbox.stop()
    assert bench.broker.ids() == ["old"]


async def test_sweeps_go_on_while_the_broker_is_unavailable(bench: Bench) -> None:
    await leave_rows(bench, "old", flush_id=OLD)
    refused: list[str] = []

    async def refuse(topic: str, partition: int) -> None:
        if len(refused) < 3:
            refused.append(topic)
            raise ConnectionError("the broker is unavailable")

    bench.broker.before = refuse
    outbox = bench.outbox(sweep_every_s=0.02)
    outbox.buckets = frozenset({EVEN})
    await outbox.start()
    await until(lambda: bench.broker.sent)
    await outbox.stop()
    assert len(refused) == 3 and outbox.failed is None


async def test_a_sweep_excludes_what_this_worker_is_publishing(bench: Bench) -> None:
    await bench.open()
    gate = asyncio.Event()
    bench.broker.before = lambda *_: gate.wait()
    sweeps = []

    class CountedSweeps(Relay):
        async def waiting(self, buckets: Iterable[int]) -> tuple[int, float]:
            sweeps.append(1)
            return await super().waiting(buckets)

    outbox, acks = bench.outbox(sweep_every_s=0.01), AckRecorder()
    outbox.relay = bench.relay_of(kind=CountedSweeps)
    outbox.buckets = frozenset({EVEN})
    await outbox.start()
    await outbox.submit(batch("a", acks=acks))
    await until(bench.rows)
    seen = len(sweeps)
    await until(lambda: len(sweeps) >= seen + 5)  # rows are older than two sweeps now
    gate.set()
    await until(lambda: acks.acknowledged)
    await outbox.stop()
    assert bench.broker.ids() == ["a"]


async def test_rows_of_revoked_partitions_are_not_swept(bench: Bench) -> None:
    outbox = bench.outbox()
    await outbox.on_assigned([SOURCE])
    await leave_rows(bench, "a")
    assert (await outbox.waiting())[0] == 1
    outbox.on_revoked()
    assert await outbox.waiting() == (0, 0.0)


async def test_an_unavailable_shard_raises_store_unavailable(bench_of: OpenBench) -> None:
    bench = await bench_of()
    unavailable = ("mongodb://127.0.0.1:1/?directConnection=true",)
    outbox = OutboxSettings(transaction_timeout_s=0.2)
    async with Bench(msgspec.structs.replace(bench.settings, shards=unavailable, outbox=outbox)) as gone:
        calls: list[Awaitable[object]] = [
            gone.relay.drain([0]),
            gone.relay.waiting([0]),
            gone.ledger.positions([SOURCE]),
            gone.ledger.open({SOURCE: 0}),
        ]
        for call in calls:
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(call, 5)


async def test_concurrent_creations_create_each_ledger_once(bench_of: OpenBench) -> None:
    benches = [await bench_of() for _ in range(4)]
    sources = [(f"triggers.{name}", bucket) for name in "abc" for bucket in range(4)]
    found = await asyncio.gather(*(bench.ledger.open(dict.fromkeys(sources, at)) for at, bench in enumerate(benches)))
    assert all(one == found[0] for one in found)
    assert set(found[0].values()) <= {0, 1, 2, 3}
    ledgers = await benches[0].ledgers()
    assert len(ledgers) == 12 and await benches[0].ledgers_add_up()
    assert {one["role"] for one in ledgers.values()} == {"standard"}


async def test_an_existing_ledger_keeps_its_position(bench: Bench) -> None:
    await bench.open(at=3)
    assert await bench.ledger.open({SOURCE: 9}) == {SOURCE: 3}
    assert await bench.ledger.positions([SOURCE, ("triggers.unknown", ODD)]) == {SOURCE: 3}


async def test_two_roles_have_ledgers_of_their_own(bench: Bench) -> None:
    await bench.open(at=3)
    assert await bench.ledger_of("critical").open({SOURCE: 7}) == {SOURCE: 7}
    assert await bench.position() == 3
