"""A region of before `shards init` stored how many buckets there are is refused."""

import pytest

from notify_streams.admin.shards import init_shards
from notify_streams.errors import Refused
from notify_streams.stores.mongo import LEDGER, require_partition_count
from notify_streams.stores.partition_count import PARTITIONS
from tests.integration.outbox.conftest import OpenBench
from tests.integration.outbox.outbox_fixtures import EVEN, ODD

pytestmark = pytest.mark.stack


async def test_the_database_of_an_earlier_checkout_is_refused_in_a_sentence(bench_of: OpenBench) -> None:
    """Its ledgers have other counts, so its books could not close."""
    bench = await bench_of()
    await bench.shards.collection(LEDGER, ODD).insert_one({"_id": f"standard:t:{ODD}", "bucket": ODD, "taken": 7})
    for use in (init_shards(bench.settings, bench.shards), require_partition_count(bench.settings)):
        with pytest.raises(Refused, match="is of an earlier checkout") as refused:
            await use
        assert "\n" not in str(refused.value)
    assert PARTITIONS not in await bench.shards.database(0).list_collection_names()


async def test_a_shard_that_is_added_to_a_region_is_of_no_earlier_checkout(bench_of: OpenBench) -> None:
    bench = await bench_of()
    await init_shards(bench.settings, bench.shards)
    added = bench.shards.of(ODD)
    await bench.shards.collection(LEDGER, EVEN).insert_one({"_id": f"standard:t:{EVEN}", "bucket": EVEN})
    await bench.shards.database(added).drop_collection(PARTITIONS)
    await bench.shards.collection(LEDGER, ODD).insert_one({"_id": f"standard:t:{ODD}", "bucket": ODD})
    await require_partition_count(bench.settings)
    await init_shards(bench.settings, bench.shards)
    assert await bench.shards.database(added)[PARTITIONS].count_documents({}) == 1
