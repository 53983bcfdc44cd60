"""Rows that a crash left behind are published by who comes next, in order, and nobody else's."""

import asyncio
from typing import Any

import pytest

from notify_streams.errors import RetryLater, StoreUnavailable
from notify_streams.records.outcomes import DeadReason
from notify_streams.routing.outcome_records import dead
from tests.builders import AckRecorder, ARecord
from tests.integration.outbox.conftest import OpenBench
from tests.integration.outbox.outbox_fixtures import EVEN, ODD, ROLE, SOURCE, Bench, batch, flush_of
from tests.waiting import until


async def leave(
    bench: Any, *ids: Any, start: Any = 0, bucket: Any = EVEN, role: Any = "standard", flush_id: Any = None
) -> Any:
    """What a worker leaves that dies between commit and publication."""
    source = ("triggers.payments", bucket)
    ledger = bench.ledger if role == "standard" else type(bench.ledger)(bench.shards, role, 5.0)
    await ledger.open({source: 0})
    flush = flush_of(batch(*ids, start=start, bucket=bucket), role=role, flush_id=flush_id)
    await bench.store(bench.shards.of(bucket)).write(flush, [])
    return flush


async def test_rows_are_published_in_order_and_deleted(bench: Bench) -> None:
    for start in range(11):
        await leave(bench, f"{start:02}", start=start)
    assert await bench.relay.drain([EVEN]) == 11
    assert bench.broker.ids() == [f"{start:02}" for start in range(11)]
    assert await bench.rows() == [] and await bench.relay.drain([EVEN]) == 0


async def test_what_is_published_is_what_was_decided(bench: Bench) -> None:
    await bench.open()
    record = ARecord(None, b"\xff", (("x", None), ("y", b"\xff")), offset=0)
    flush = flush_of(batch(dead(record, "triggers.payments", EVEN, DeadReason.NOT_JSON, "why")))
    await bench.store().write(flush, [])
    seen = []

    class Notes:
        async def send_batch(self, topic: Any, partition: Any, records: Any) -> None:
            seen.append(
                (topic, partition, [(key, value, [tuple(header) for header in h]) for key, value, h in records])
            )

    await bench.relay_of(ROLE, Notes()).drain([EVEN])
    (row,) = flush.rows
    assert seen == [(row.topic, row.partition, [(key, value, list(h)) for key, value, h in row.records])]


async def test_a_role_publishes_its_own_rows_alone(bench: Bench) -> None:
    await leave(bench, "standard")
    await leave(bench, "critical", role="critical")
    assert await bench.relay.drain([EVEN]) == 1
    assert bench.broker.ids() == ["standard"] and len(await bench.rows()) == 1
    assert await bench.relay_of("critical").drain([EVEN]) == 1
    assert await bench.rows() == []


async def test_buckets_that_are_not_asked_for_stay(bench: Bench) -> None:
    await leave(bench, "even")
    await leave(bench, "odd", bucket=ODD)
    assert await bench.relay.drain([ODD, ODD]) == 1
    assert bench.broker.ids() == ["odd"]
    assert await bench.relay.waiting([EVEN, ODD]) == (1, pytest.approx(0, abs=30))


async def test_young_rows_and_flushes_under_way_are_spared(bench: Bench) -> None:
    old = await leave(bench, "old", flush_id=f"{10**18:016x}00000000")
    mine = await leave(bench, "mine", start=1, flush_id=f"{10**18 + 1:016x}00000000")
    await leave(bench, "young", start=2)
    assert await bench.relay.drain([EVEN], older_than_ms=60_000, exclude=frozenset({mine.id})) == 1
    assert bench.broker.ids() == ["old"]
    left = {row["_id"].split(":")[2] for row in await bench.rows()}
    assert mine.id in left and old.id not in left and len(left) == 2


async def test_more_spared_rows_than_are_read_at_once_hide_no_others(bench: Bench) -> None:
    flushes = [await leave(bench, str(start), start=start) for start in range(12)]
    spared = frozenset(flush.id for flush in flushes[:9])
    assert await bench.relay.drain([EVEN], exclude=spared) == 3
    assert bench.broker.ids() == ["9", "10", "11"]


async def test_a_broker_that_is_away_leaves_the_rows_and_can_be_asked_again(bench: Bench) -> None:
    await leave(bench, "a")

    async def refuse(topic: Any, partition: Any) -> None:
        raise ConnectionError("the broker is away")

    bench.broker.before = refuse
    with pytest.raises(RetryLater):
        await bench.relay.drain([EVEN])
    assert len(await bench.rows()) == 1
    bench.broker.before = None
    assert await bench.relay.drain([EVEN]) == 1


async def test_rows_that_wait_are_counted_with_their_age(bench: Bench) -> None:
    assert await bench.relay.waiting([EVEN, ODD]) == (0, 0.0)
    await leave(bench, "a", flush_id=f"{10**18:016x}00000000")
    await leave(bench, "b", start=1)
    rows, oldest_s = await bench.relay.waiting([EVEN, ODD])
    assert rows == 2 and oldest_s > 3600


async def test_a_copy_of_what_was_published_is_only_deleted(bench: Bench) -> None:
    """A move may have copied a row just before its worker deleted it."""
    old = await leave(bench, "old")
    await leave(bench, "new", start=1)
    assert await bench.relay.drain([EVEN], published=frozenset({old.id})) == 1
    assert bench.broker.ids() == ["new"] and await bench.rows() == []


async def test_whoever_takes_over_publishes_first_and_then_knows_where_to_begin(bench: Bench) -> None:
    await leave(bench, "a", "b")
    outbox = bench.outbox()
    assert await outbox.on_assigned([SOURCE, ("triggers.security", EVEN)]) == {SOURCE: 2}
    assert bench.broker.ids() == ["a", "b"] and await bench.rows() == []


async def test_what_is_committed_while_someone_takes_over_is_published_or_refused(bench: Bench) -> None:
    """The old owner commits between the two looks: its rows are found, or the ledger refuses the new owner once."""
    await bench.open()
    outbox = bench.outbox()
    real = outbox.relay.drain

    async def late_commit(*args: Any, **kwargs: Any) -> Any:
        await leave(bench, "late")
        return await real(*args, **kwargs)

    outbox.relay.drain = late_commit
    assert await outbox.on_assigned([SOURCE]) == {SOURCE: 0}
    assert bench.broker.ids() == ["late"]


async def test_a_sweep_publishes_what_nobody_else_did(bench: Bench) -> None:
    await leave(bench, "old", flush_id=f"{10**18:016x}00000000")
    outbox = bench.outbox(sweep_every_s=0.02)
    outbox.buckets = frozenset({EVEN})
    await outbox.start()
    await until(lambda: bench.broker.taken)
    await outbox.stop()
    assert bench.broker.ids() == ["old"]


async def test_a_sweep_outlives_a_broker_that_is_away(bench: Bench) -> None:
    await leave(bench, "old", flush_id=f"{10**18:016x}00000000")
    refused = []

    async def refuse(topic: Any, partition: Any) -> None:
        if len(refused) < 3:
            refused.append(topic)
            raise ConnectionError("the broker is away")

    bench.broker.before = refuse
    outbox = bench.outbox(sweep_every_s=0.02)
    outbox.buckets = frozenset({EVEN})
    await outbox.start()
    await until(lambda: bench.broker.taken)
    await outbox.stop()
    assert len(refused) == 3 and outbox.failed is None


async def test_a_sweep_leaves_alone_what_this_worker_is_publishing(bench: Bench) -> None:
    await bench.open()
    gate = asyncio.Event()
    bench.broker.before = lambda *_: gate.wait()
    outbox = bench.outbox(sweep_every_s=0.01)
    outbox.buckets = frozenset({EVEN})
    await outbox.start()
    acks, sweeps = AckRecorder(), []
    real = outbox.relay.waiting

    async def counted(buckets: Any) -> Any:
        sweeps.append(1)
        return await real(buckets)

    outbox.relay.waiting = counted
    await outbox.submit(batch("a", acks=acks))
    await until(bench.rows)
    await until(lambda: len(sweeps) >= 5)  # rows are older than two sweeps by now
    gate.set()
    await until(lambda: acks.acknowledged)
    await outbox.stop()
    assert bench.broker.ids() == ["a"]


async def test_lost_partitions_are_swept_no_more(bench: Bench) -> None:
    outbox = bench.outbox()
    await outbox.on_assigned([SOURCE])
    await leave(bench, "a")
    assert (await outbox.waiting())[0] == 1
    outbox.on_revoked()
    assert await outbox.waiting() == (0, 0.0)


async def test_a_shard_that_is_away_is_said_so(bench_of: OpenBench) -> None:
    bench = await bench_of()
    gone = type(bench)(
        bench.settings.__class__(
            region="us",
            kafka="n",
            redis="n",
            database=bench.settings.database,
            shards=("mongodb://127.0.0.1:1/?directConnection=true",),
            outbox=bench.settings.outbox.__class__(transaction_timeout_s=0.2),
        )
    )
    async with gone:
        for asked in (
            gone.relay.drain([0]),
            gone.relay.waiting([0]),
            gone.ledger.positions([SOURCE]),
            gone.ledger.open({SOURCE: 0}),
        ):
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(asked, 5)


async def test_ledgers_are_begun_once_whoever_else_begins_them(bench_of: OpenBench) -> None:
    benches = [await bench_of() for _ in range(4)]
    sources = [(f"triggers.{name}", bucket) for name in "abc" for bucket in range(4)]
    found = await asyncio.gather(*(bench.ledger.open(dict.fromkeys(sources, at)) for at, bench in enumerate(benches)))
    assert all(one == found[0] for one in found)
    assert set(found[0].values()) <= {0, 1, 2, 3}
    ledgers = await benches[0].ledgers()
    assert len(ledgers) == 12 and await benches[0].closes()
    assert {one["role"] for one in ledgers.values()} == {"standard"}


async def test_a_ledger_that_exists_is_not_begun_again(bench: Bench) -> None:
    await bench.open(at=3)
    assert await bench.ledger.open({SOURCE: 9}) == {SOURCE: 3}
    assert await bench.ledger.positions([SOURCE, ("triggers.unknown", ODD)]) == {SOURCE: 3}


async def test_two_roles_have_ledgers_of_their_own(bench: Bench) -> None:
    await bench.open(at=3)
    critical = type(bench.ledger)(bench.shards, "critical", 5.0)
    assert await critical.open({SOURCE: 7}) == {SOURCE: 7}
    assert await bench.position() == 3
