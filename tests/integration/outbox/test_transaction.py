"""A flush commits as a whole, and only at the ledger's position."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from devtools.fakes.tcp_proxy import FaultProxy
from notify_streams.errors import StoreUnavailable
from notify_streams.outbox.flush_plan import Flush
from notify_streams.outbox.transaction import DuplicateNotifications, LedgerFenced
from notify_streams.records.outcomes import DeliveryState, Reason
from notify_streams.routing.decision import ChannelDecision
from notify_streams.stores.mongo import NOTIFICATIONS, OUTBOX
from tests.builders import a_decided_batch, an_outcome
from tests.integration.outbox.conftest import OpenBench
from tests.integration.outbox.outbox_fixtures import EVEN, SOURCE, Bench, batch, flush_of

LEDGER_ID = f"standard:triggers.payments:{EVEN}"


async def test_a_flush_writes_notifications_rows_and_ledger(bench: Bench) -> None:
    await bench.open(at=5)
    flush = flush_of(batch("a", "b", start=5))
    await bench.store().write(flush, [])
    assert await bench.trigger_ids() == ["a", "b"]
    assert [(row["topic"], row["count"], row["bucket"]) for row in await bench.rows()] == [("push", 2, EVEN)]
    ledger = (await bench.ledgers())[LEDGER_ID]
    assert (ledger["first_offset"], ledger["next_offset"], ledger["taken"], ledger["notified"]) == (5, 7, 2, 2)
    assert await bench.ledgers_add_up()


async def test_a_deliverys_reason_is_stored_as_plain_text(bench: Bench) -> None:
    await bench.open()
    suppressed = ChannelDecision("sms", DeliveryState.SUPPRESSED, Reason.OPTED_OUT)
    entry = an_outcome("a", bucket=EVEN, decisions=(suppressed,))
    await bench.store().write(flush_of(batch(entry)), [])
    (found,) = await bench.all_of(NOTIFICATIONS)
    assert found["deliveries"]["sms"]["reason"] == "opted_out"


def notification_ids(flush: Flush) -> dict[int, list[str]]:
    return {EVEN: [one["_id"] for one in flush.notifications]}


async def state(bench: Bench) -> tuple[list[str], list[dict[str, Any]], int | None]:
    return await bench.trigger_ids(), await bench.rows(), await bench.position()


@pytest.mark.parametrize(("start", "why"), [(4, "before"), (6, "gap"), (0, "from the beginning")])
async def test_a_flush_at_another_position_changes_nothing(bench: Bench, start: int, why: str) -> None:
    await bench.open(at=5)
    with pytest.raises(LedgerFenced) as refused:
        await bench.store().write(flush_of(batch("a", start=start)), [])
    assert refused.value.ledgers == {LEDGER_ID: 5}, why
    assert await state(bench) == ([], [], 5)


async def test_a_flush_for_a_missing_ledger_changes_nothing(bench: Bench) -> None:
    with pytest.raises(LedgerFenced) as refused:
        await bench.store().write(flush_of(batch("a")), [])
    assert refused.value.ledgers == {LEDGER_ID: None}
    assert await state(bench) == ([], [], None)


async def test_one_partition_at_another_position_refuses_the_flush_and_only_it_is_reported(bench: Bench) -> None:
    """The transaction sees its own writes: without care, the other partition would be reported at a position that was never written."""
    other = ("triggers.security", EVEN)
    await bench.open(SOURCE, other)
    await bench.store().write(flush_of(batch("a")), [])
    mixed = flush_of(batch("b", start=0), a_decided_batch(an_outcome("c", bucket=EVEN), topic=other[0], partition=EVEN))
    with pytest.raises(LedgerFenced) as refused:
        await bench.store().write(mixed, [])
    assert refused.value.ledgers == {LEDGER_ID: 1}
    assert await bench.position(other) == 0
    assert await bench.trigger_ids() == ["a"]


async def test_of_competing_workers_exactly_one_commits(bench_of: OpenBench) -> None:
    benches = [await bench_of() for _ in range(4)]
    await benches[0].open()
    for start in range(5):
        flushes = [flush_of(batch(f"{start}-{number}", start=start)) for number in range(len(benches))]
        results = await asyncio.gather(
            *(bench.store().write(flush, []) for bench, flush in zip(benches, flushes, strict=True)),
            return_exceptions=True,
        )
        assert [type(result) for result in results if result is not None] == [LedgerFenced] * 3
        winner = flushes[results.index(None)]
        assert await benches[0].store().is_committed(winner)
        assert not any([await benches[0].store().is_committed(flush) for flush in flushes if flush is not winner])
    assert len(await benches[0].trigger_ids()) == 5 == len(await benches[0].rows())
    assert await benches[0].ledgers_add_up()


async def test_a_flush_with_an_existing_notification_changes_nothing(bench: Bench) -> None:
    await bench.open()
    await bench.store().write(flush_of(batch("a")), [])
    before = await bench.rows()
    with pytest.raises(DuplicateNotifications):
        await bench.store().write(flush_of(batch("b", "a", "c", start=1)), [])
    assert await state(bench) == (["a"], before, 1)


async def test_fingerprints_of_existing_notifications_are_found(bench: Bench) -> None:
    await bench.open()
    entry = an_outcome("a", bucket=EVEN)
    await bench.store().write(flush_of(batch(entry)), [])
    known = await bench.store().fingerprints(notification_ids(flush_of(batch("a", "b"))))
    assert known == {entry.notification: entry.fingerprint}


async def test_published_rows_are_deleted_by_a_commit_and_stay_with_a_refused_flush(bench: Bench) -> None:
    await bench.open()
    first = flush_of(batch("a"))
    await bench.store().write(first, [])
    published = [{"bucket": {"$in": [EVEN]}, "_id": {"$in": [row.document["_id"] for row in first.rows]}}]
    with pytest.raises(LedgerFenced):
        await bench.store().write(flush_of(batch("b", start=9)), published)
    assert len(await bench.rows()) == 1
    second = flush_of(batch("b", start=1))
    await bench.store().write(second, published)
    assert [row["_id"] for row in await bench.rows()] == [second.rows[0].document["_id"]]


async def test_a_flush_is_committed_if_any_of_its_ledgers_names_it(bench: Bench) -> None:
    """Another worker may have advanced one partition; this worker must still publish the rows of the others."""
    other = ("triggers.security", EVEN)
    await bench.open(SOURCE, other)
    flush = flush_of(batch("a"), a_decided_batch(an_outcome("b", bucket=EVEN), topic=other[0], partition=EVEN))
    store = bench.store()
    assert not await store.is_committed(flush)
    await store.write(flush, [])
    assert await store.is_committed(flush)
    await store.write(flush_of(batch("c", start=1)), [])
    assert await store.is_committed(flush)
    await store.write(
        flush_of(a_decided_batch(an_outcome("d", bucket=EVEN), topic=other[0], partition=EVEN, start=1)), []
    )
    assert not await store.is_committed(flush)


@pytest.mark.parametrize("kind", ["large", "many"])
async def test_a_large_flush_commits_as_a_whole(bench: Bench, kind: str) -> None:
    """20,000 triggers, and 12 MB in few triggers: a document is limited to 16 MB, a flush is not."""
    await bench.open()
    if kind == "many":
        entries = [an_outcome(f"t-{number:05}", bucket=EVEN) for number in range(20_000)]
    else:
        data = {"x": "y" * 1_500_000}
        entries = [an_outcome(f"t-{n}", bucket=EVEN, data=data) for n in range(8)]
    flush = flush_of(batch(*entries))
    for _ in range(9):
        try:
            await bench.store(timeout_s=30).write(flush, [])
            break
        except StoreUnavailable:  # the machine is overloaded; nothing was written
            assert await state(bench) == ([], [], 0)
    assert await bench.position() == len(entries)
    counts = [row["count"] for row in await bench.shards.database(0)[OUTBOX].find({}, {"count": 1}).to_list()]
    assert sum(counts) == sum(len(entry.outputs) for entry in entries)
    assert await bench.shards.database(0)[NOTIFICATIONS].count_documents({}) == len(entries)
    if kind == "large":
        assert len(counts) == 2


async def test_a_shard_that_does_not_answer_raises_store_unavailable_in_time(
    bench: Bench, mongo_shards: list[str]
) -> None:
    await bench.open()
    async with FaultProxy(mongo_shards[0]) as proxy, bench.through(proxy) as cut_off:
        store = cut_off.store(timeout_s=0.3)
        assert not await store.is_committed(flush_of(batch("a")))
        proxy.replies.clear()
        calls: list[Awaitable[object]] = [
            store.write(flush_of(batch("a")), []),
            store.is_committed(flush_of(batch("a"))),
            store.fingerprints(notification_ids(flush_of(batch("a")))),
            store.delete_rows([{"bucket": {"$in": [EVEN]}}]),
        ]
        for call in calls:
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(call, 5)


def is_commit(chunk: bytes) -> bool:
    return b"commitTransaction" in chunk


async def test_a_commit_whose_reply_is_lost_is_found(bench: Bench, mongo_shards: list[str]) -> None:
    await bench.open()
    async with FaultProxy(mongo_shards[0]) as proxy, bench.through(proxy) as cut_off:
        store = cut_off.store(timeout_s=1.0)
        flush = flush_of(batch("a"))
        proxy.cut_after = is_commit
        with pytest.raises(StoreUnavailable):
            await store.write(flush, [])
        assert proxy.cuts
        proxy.cut_after = lambda _: False
        assert await store.is_committed(flush)
        with pytest.raises(LedgerFenced):
            await store.write(flush, [])
        assert await bench.trigger_ids() == ["a"] and await bench.ledgers_add_up()


async def test_a_connection_lost_inside_the_transaction_is_repeated_as_a_whole(
    bench: Bench, mongo_shards: list[str]
) -> None:
    await bench.open()
    async with FaultProxy(mongo_shards[0]) as proxy, bench.through(proxy) as cut_off:
        proxy.cut_after = lambda chunk: b"fingerprint" in chunk and not proxy.cuts
        await cut_off.store().write(flush_of(batch("a")), [])  # the driver repeats the transaction
        assert proxy.cuts == 1
        assert await bench.trigger_ids() == ["a"] and await bench.ledgers_add_up()
