"""`shards move` while workers run and triggers arrive: no restart, no difference."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.running_region import USERS, RunningRegion

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200), pytest.mark.asyncio(loop_scope="session")]


async def test_a_bucket_moves_while_its_users_are_notified(running_region: RunningRegion) -> None:
    bucket = running_region.bucket("ada")
    there = 1 - running_region.settings.shard_of(bucket)
    ids: list[str] = []
    moved = asyncio.Event()

    async def traffic() -> None:
        while not moved.is_set():
            ids.extend(await running_region.triggers(("ada", *USERS[:3]), 20))
            await asyncio.sleep(0.2)

    sending = asyncio.create_task(traffic())
    try:
        done = await running_region.cli("shards", "move", str(bucket), "--to", str(there), "--json")
        assert (done.status, done.json["to"]) == (0, there), done.err
        checked = await running_region.cli("shards", "check", "--json")
        assert checked.status == 0, [one for one in checked.json["findings"] if not one["holds"]]
    finally:
        moved.set()
        await sending
    await running_region.assert_notified_once(*ids)
