"""Each period of a ledger is sealed once: its sums close, and are the notifications that name it."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from pymongo import UpdateOne

from notify_streams.records.ids import ledger_id
from notify_streams.records.periods import end_of_period
from notify_streams.settings_retention import RetentionSettings
from notify_streams.stores.mongo import LEDGER, NOTIFICATIONS, SEALED_SUMS, Document
from notify_streams.stores.sealed_sums import seal, seal_all
from tests.builders import AckRecorder
from tests.integration.outbox.conftest import OpenBench, Run
from tests.integration.outbox.outbox_fixtures import EVEN, ROLE, SOURCE, Bench, batch
from tests.waiting import until

SECONDS = RetentionSettings(topics_h=1.0, notifications_h=1.0, period_s=1)
LEDGER_ID = ledger_id(ROLE, *SOURCE)


@pytest.fixture
async def bench(bench_of: OpenBench) -> Bench:
    """A second is a period."""
    return await bench_of(retention=SECONDS)


async def flushed(bench: Bench, running: Run, *ids: str) -> Callable[..., asyncio.Future[None]]:
    """Flush these triggers, each alone. The result flushes further ones."""
    loop = bench.flush_loop()
    running(loop.run())

    async def more(*others: str) -> None:
        for one in others:
            acks = AckRecorder()
            await loop.submit(batch(one, start=await bench.position() or 0, acks=acks))
            await until(lambda acks=acks: acks.acknowledged or acks.refused)  # type: ignore[misc]

    await more(*ids)
    return lambda *others: asyncio.ensure_future(more(*others))


async def sealed(bench: Bench) -> list[Document]:
    return await bench.all_of(SEALED_SUMS)


async def period_is_over(bench: Bench) -> None:
    end = (await bench.ledgers())[LEDGER_ID]["period_end"].replace(tzinfo=UTC)
    await until(lambda: datetime.now(UTC) > end + timedelta(seconds=0.1))


async def test_the_first_flush_of_a_period_seals_the_one_before(bench: Bench, running: Run) -> None:
    await bench.open()
    flush = await flushed(bench, running, "a", "b")
    await period_is_over(bench)
    await flush("c")
    await period_is_over(bench)
    await flush("d")
    documents = await sealed(bench)
    ledger = (await bench.ledgers())[LEDGER_ID]
    assert documents[0]["opening"] == {"next_offset": 0}
    assert documents[-1]["closing"]["notified"] in (3, 4), "the idle loop may have sealed the last one"
    for before, after in pairwise(documents):
        assert (before["closing"], before["period_end"]) == (after["opening"], after["period_begin"])
    assert documents[-1]["period_end"] == ledger["sealed_to"] <= ledger["period_end"]
    named = Counter(one["period_end"] for one in await bench.all_of(NOTIFICATIONS))
    for one in documents:
        counted = one["closing"].get("notified", 0) - one["opening"].get("notified", 0)
        assert named[one["period_end"]] == counted == one["closing"]["next_offset"] - one["opening"]["next_offset"]
    assert await bench.ledgers_add_up()


async def test_an_idle_ledger_is_sealed_once(bench: Bench, running: Run) -> None:
    await bench.open()
    flush = await flushed(bench, running, "a")
    await until(lambda: sealed(bench))
    (first,) = await sealed(bench)
    assert first["closing"] == {"next_offset": 1, "taken": 1, "notified": 1, "queued": {"push": 1}}
    assert (first["stage"], first["partitions"], first["bucket"]) == ("routing", bench.settings.partitions, EVEN)
    await period_is_over(bench)
    await flush("b")
    await until(lambda: two_are_sealed(bench))
    documents = await sealed(bench)
    assert len(documents) == 2 and documents[1]["period_begin"] == first["period_end"]


async def two_are_sealed(bench: Bench) -> bool:
    return len(await sealed(bench)) >= 2


async def test_a_flush_of_a_period_that_another_worker_has_sealed_is_refused(bench_of: OpenBench, running: Run) -> None:
    bench = await bench_of()
    await bench.open()
    flush = await flushed(bench, running, "a")
    now = datetime.now(UTC)
    later = end_of_period(now, 3600) + timedelta(hours=2)
    assert await seal(bench.shards, 0, {LEDGER_ID: EVEN}, later, now) == {LEDGER_ID: later}
    await flush("b")
    assert await bench.position() == 1 and await bench.trigger_ids() == ["a"], "it names another period than the ledger"
    await flush("b")
    named = {one["trigger_id"]: one["period_end"] for one in await bench.all_of(NOTIFICATIONS)}
    (document,) = await sealed(bench)
    assert named == {"a": document["period_end"], "b": later.replace(tzinfo=named["a"].tzinfo)}


async def test_a_sealing_that_fails_delays_no_flush(bench: Bench, running: Run) -> None:
    await bench.open()
    flush = await flushed(bench, running, "a")
    database = bench.shards.database(0)
    await database.command({"collMod": SEALED_SUMS, "validator": {"bucket": -1}})
    await period_is_over(bench)
    await flush("b")
    assert await bench.trigger_ids() == ["a", "b"] and not await sealed(bench)
    await database.command({"collMod": SEALED_SUMS, "validator": {}})
    await until(lambda: sealed(bench))
    (document,) = await sealed(bench)
    assert document["closing"]["notified"] == 2


async def test_a_ledger_of_an_earlier_release_is_sealed_as_a_whole(bench: Bench, running: Run) -> None:
    await bench.open()
    old = {"next_offset": 7, "taken": 7, "notified": 7}
    await bench.shards.collection(LEDGER, EVEN).bulk_write([UpdateOne({"_id": LEDGER_ID}, {"$set": old})])
    await flushed(bench, running, "a")
    first = (await sealed(bench))[0]
    assert (first["period_begin"], first["opening"], first["closing"]) == (None, {"next_offset": 0}, old)


async def test_before_ledgers_are_made_anew_every_one_is_sealed(bench_of: OpenBench, running: Run) -> None:
    bench = await bench_of()
    await bench.open()
    await flushed(bench, running, "a")
    await seal_all(bench.shards, 5.0)
    await seal_all(bench.shards, 5.0)
    (document,) = await sealed(bench)
    assert document["closing"]["next_offset"] == 1
