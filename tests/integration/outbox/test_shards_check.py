"""`shards check` names what is wrong on a real shard, and says what to do about it."""

from typing import Any

import pytest

from notify_streams.admin.shards import check_shards
from notify_streams.admin.shards.init import COLLECTIONS
from notify_streams.settings import OutboxSettings
from notify_streams.stores.mongo import LEDGER, NOTIFICATIONS, OUTBOX, TIMERS
from tests.integration.outbox.conftest import OpenBench
from tests.integration.outbox.moving import NO_WAITS, Killed, move, ready
from tests.integration.outbox.outbox_fixtures import EVEN, ODD, Bench


async def wrong(bench: Any) -> Any:
    """What is wrong: (shard, what) -> found and remedy."""
    return {
        (one.shard, one.what): (one.found, one.remedy)
        for one in await check_shards(bench.settings, bench.shards)
        if not one.holds
    }


async def test_shards_as_init_makes_them_are_as_they_must_be(bench: Bench) -> None:
    await ready(bench)
    assert await wrong(bench) == {}
    looked_at = {(one.shard, one.what) for one in await check_shards(bench.settings, bench.shards)}
    for shard in (0, 1):
        for what in ("primary", "transactionLifetimeLimitSeconds", *(f"{name}: indexes" for name in COLLECTIONS)):
            assert (shard, what) in looked_at


async def test_a_database_that_nobody_made_ready_lacks_everything(bench_of: OpenBench) -> None:
    bench = await bench_of()
    await bench.drop()
    found = await wrong(bench)
    assert {what for _, what in found} == set(COLLECTIONS)
    assert {remedy for _, remedy in found.values()} == {"run `notify-streams shards init`"}


async def test_a_missing_index_and_another_time_to_live_are_named(bench: Bench) -> None:
    await ready(bench)
    await bench.shards.database(0)[TIMERS].drop_indexes()
    await bench.shards.database(1)[NOTIFICATIONS].drop_indexes()
    await bench.shards.database(1)[NOTIFICATIONS].create_index("expire_at", expireAfterSeconds=60)
    found = await wrong(bench)
    assert set(found) == {(0, "timers: indexes"), (1, "notifications: indexes")}
    assert found[0, "timers: indexes"][1] == "run `notify-streams shards init`"
    assert "another time to live" in found[1, "notifications: indexes"][1]


@pytest.mark.parametrize("name", [NOTIFICATIONS, OUTBOX, LEDGER])
async def test_rows_of_a_bucket_that_is_elsewhere_are_counted_with_an_example(bench: Bench, name: Any) -> None:
    await ready(bench)
    strangers = [{"_id": f"x-{number}", "bucket": ODD} for number in range(3)]
    await bench.shards.database(0)[name].insert_many([*strangers, {"_id": "mine", "bucket": EVEN}])
    ((place, (found, remedy)),) = (await wrong(bench)).items()
    assert place == (0, f"{name}: rows of other buckets")
    assert found.startswith("3, such as x-") and "shards move 3 --to 1" in remedy


async def test_a_bucket_that_there_is_not_is_no_reason_to_move_it(bench: Bench) -> None:
    await ready(bench)
    await bench.shards.database(0)[LEDGER].insert_one({"_id": "x", "bucket": 64})
    ((_, (_, remedy)),) = (await wrong(bench)).items()
    assert "partitions" in remedy


async def test_a_move_that_did_not_end_is_named_until_it_did(bench: Bench) -> None:
    await ready(bench)
    with pytest.raises(Killed):
        await move(bench, EVEN, 1, dies_at=2, waits=NO_WAITS)
    found = await wrong(bench)
    assert any(f"bucket {EVEN}" in what and f"shards move {EVEN} --to" in said[1] for (_, what), said in found.items())
    await move(bench, EVEN, 1, waits=NO_WAITS)
    assert await wrong(bench) == {}


async def test_a_transaction_may_last_neither_too_long_nor_too_short(bench_of: OpenBench) -> None:
    bench = await ready(await bench_of(outbox=OutboxSettings(transaction_timeout_s=11.0)))
    found = await wrong(bench)
    assert {what for _, what in found} == {"transactionLifetimeLimitSeconds"}
    assert "outbox.transaction_timeout_s (11)" in found[0, "transactionLifetimeLimitSeconds"][1]


async def test_a_shard_that_is_away_is_named_and_the_others_are_looked_at(bench: Bench, bench_of: OpenBench) -> None:
    await ready(bench)
    shards = (bench.settings.shards[0], "mongodb://127.0.0.1:1/?directConnection=true")
    found = await wrong(await bench_of(shards=shards, outbox=OutboxSettings(transaction_timeout_s=0.3)))
    assert set(found) == {(1, "reachable")} and "start its members" in found[1, "reachable"][1]
