"""`shards check` on real shards: what differs, and what to do about it."""

from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from notify_streams.admin.audit.database import read_database
from notify_streams.admin.audit.parts import Parts
from notify_streams.admin.audit.snapshot import RegionSnapshot
from notify_streams.admin.shards import check_shards
from notify_streams.admin.shards.init import COLLECTIONS
from notify_streams.settings import OutboxSettings
from notify_streams.stores.mongo import LEDGER, NOTIFICATIONS, OUTBOX, TIMERS
from notify_streams.stores.notification_expiry import all_since, time_to_live_s
from notify_streams.stores.shard_clocks import shard_time
from tests.integration.outbox.conftest import OpenBench
from tests.integration.outbox.move_fixtures import NO_WAITS, Killed, initialised, move
from tests.integration.outbox.outbox_fixtures import EVEN, ODD, Bench


async def differences(bench: Bench) -> dict[tuple[int, str], tuple[str, str]]:
    """(shard, what) → found and remedy of each finding that does not hold."""
    return {
        (finding.shard, finding.what): (finding.found, finding.remedy)
        for finding in await check_shards(bench.settings, bench.shards)
        if not finding.holds
    }


async def test_initialised_shards_have_no_differences(bench: Bench) -> None:
    await initialised(bench)
    assert await differences(bench) == {}
    checked = {(one.shard, one.what) for one in await check_shards(bench.settings, bench.shards)}
    for shard in (0, 1):
        for what in ("primary", "transactionLifetimeLimitSeconds", *(f"{name}: indexes" for name in COLLECTIONS)):
            assert (shard, what) in checked


async def test_without_init_every_collection_is_missing(bench_of: OpenBench) -> None:
    bench = await bench_of()
    await bench.drop()
    found = await differences(bench)
    assert {what for _, what in found} == set(COLLECTIONS)
    assert {remedy for _, remedy in found.values()} == {"run `notify-streams shards init`"}


async def test_a_missing_index_and_a_different_ttl_are_reported(bench: Bench) -> None:
    await initialised(bench)
    await bench.shards.database(0)[TIMERS].drop_indexes()
    await bench.shards.database(1)[NOTIFICATIONS].drop_indexes()
    await bench.shards.database(1)[NOTIFICATIONS].create_index("kept_from", expireAfterSeconds=60)
    found = await differences(bench)
    assert set(found) == {(0, "timers: indexes"), (1, "notifications: indexes")}
    assert found[0, "timers: indexes"][1] == "run `notify-streams shards init`"
    assert "another time to live" in found[1, "notifications: indexes"][1]
    await initialised(bench)
    assert await differences(bench) == {}, "a changed time to live is applied"


async def test_a_longer_time_to_live_says_from_when_all_notifications_are_there(bench: Bench) -> None:
    await initialised(bench)
    database = bench.shards.database(1)
    assert await all_since(database) == -inf
    kept_s = await time_to_live_s(database)
    shorter_s = 3600.0
    await database.command(
        {"collMod": NOTIFICATIONS, "index": {"keyPattern": {"kept_from": 1}, "expireAfterSeconds": 3600}}
    )
    assert await time_to_live_s(database) == shorter_s < kept_s
    began = (await shard_time(bench.shards, 1)).timestamp()
    await initialised(bench)
    since = await all_since(database)
    assert await time_to_live_s(database) == kept_s
    assert began - shorter_s < since < began - shorter_s + 1_800
    snapshot = RegionSnapshot("us", retention=bench.settings.retention)
    with TemporaryDirectory() as folder:
        await read_database(bench.shards, snapshot, Parts(Path(folder), 1))
    assert snapshot.last_kept_since() == snapshot.kept_since(EVEN) == since
    await initialised(bench)
    assert await all_since(database) == since and await all_since(bench.shards.database(0)) == -inf


@pytest.mark.parametrize("name", [NOTIFICATIONS, OUTBOX, LEDGER])
async def test_rows_of_other_buckets_are_counted_with_an_example(bench: Bench, name: str) -> None:
    await initialised(bench)
    misplaced = [{"_id": f"x-{number}", "bucket": ODD} for number in range(3)]
    await bench.shards.database(0)[name].insert_many([*misplaced, {"_id": "mine", "bucket": EVEN}])
    ((place, (found, remedy)),) = (await differences(bench)).items()
    assert place == (0, f"{name}: rows of other buckets")
    assert found.startswith("3, such as x-") and "shards move 3 --to 1" in remedy


async def test_rows_of_an_unknown_bucket_have_another_remedy_than_a_move(bench: Bench) -> None:
    await initialised(bench)
    await bench.shards.database(0)[LEDGER].insert_one({"_id": "x", "bucket": 64})
    ((_, (_, remedy)),) = (await differences(bench)).items()
    assert "partitions" in remedy


async def test_an_unfinished_move_is_reported_until_it_is_run_again(bench: Bench) -> None:
    await initialised(bench)
    with pytest.raises(Killed):
        await move(bench, EVEN, 1, dies_at=2, waits=NO_WAITS)
    found = await differences(bench)
    assert any(
        f"bucket {EVEN}" in what and f"shards move {EVEN} --to" in remedy for (_, what), (_, remedy) in found.items()
    )
    await move(bench, EVEN, 1, waits=NO_WAITS)
    assert await differences(bench) == {}


async def test_an_unsuitable_transaction_lifetime_is_reported(bench_of: OpenBench) -> None:
    bench = await initialised(await bench_of(outbox=OutboxSettings(transaction_timeout_s=11.0)))
    found = await differences(bench)
    assert {what for _, what in found} == {"transactionLifetimeLimitSeconds"}
    assert "outbox.transaction_timeout_s (11)" in found[0, "transactionLifetimeLimitSeconds"][1]


async def test_an_unavailable_shard_is_reported_and_the_others_are_checked(bench: Bench, bench_of: OpenBench) -> None:
    await initialised(bench)
    shards = (bench.settings.shards[0], "mongodb://127.0.0.1:1/?directConnection=true")
    found = await differences(await bench_of(shards=shards, outbox=OutboxSettings(transaction_timeout_s=0.3)))
    assert set(found) == {(1, "reachable")} and "start its members" in found[1, "reachable"][1]
