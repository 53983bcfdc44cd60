"""`shards move` beside real workers and real traffic: nobody is restarted, and the audit finds nothing. The bucket stays where it went."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.running_region import CROWD, RegionAtWork

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="session")]


async def test_a_bucket_moves_while_its_people_are_notified(region_at_work: RegionAtWork) -> None:
    bucket = region_at_work.bucket("ada")
    there = 1 - region_at_work.settings.shard_of(bucket)
    ids: list[str] = []
    moved = asyncio.Event()

    async def traffic() -> None:
        while not moved.is_set():
            ids.extend(await region_at_work.triggers(("ada", *CROWD[:3]), 20))
            await asyncio.sleep(0.2)

    sending = asyncio.create_task(traffic())
    try:
        done = await region_at_work.cli("shards", "move", str(bucket), "--to", str(there), "--json")
        assert (done.status, done.json["to"]) == (0, there), done.err
        checked = await region_at_work.cli("shards", "check", "--json")
        assert checked.status == 0, [one for one in checked.json["findings"] if not one["holds"]]
    finally:
        moved.set()
        await sending
    await region_at_work.closed()
    record = region_at_work.record()
    assert all(sorted(one.channel for one in record[identity]) == ["email", "push"] for identity in ids)
