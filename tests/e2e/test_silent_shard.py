"""Workers that start, and partitions that are assigned, while a shard takes connections and answers nothing."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from tests.e2e.processes import until
from tests.e2e.running_region import USERS, RunningRegion, a_new_id, wait_until_known

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200), pytest.mark.asyncio(loop_scope="session")]


async def is_sent(region: RunningRegion, trigger_id: str, user_id: str) -> bool:
    """By mail, unless what is known of the address is on the silent shard: then it waits, and holds up no other message."""
    deliveries = await region.deliveries(trigger_id, user_id)
    return deliveries.get("push") == "sent" and deliveries["email"] in ("sent", "retrying")


async def test_the_partitions_of_the_other_shards_start(running_region: RunningRegion) -> None:
    """All partitions are assigned anew: a worker that owns them all ends, and another one starts."""
    settings = running_region.settings
    silent = running_region.stack.region(settings.region).shards[1]
    here, there = (
        [user_id for user_id in USERS if settings.shard_of(running_region.bucket(user_id)) == shard][:3]
        for shard in (0, 1)
    )
    await asyncio.to_thread(silent.pause)
    try:
        waiting = await running_region.triggers(there, 3)
        await running_region.restart(["standard", "push", "email"])
        ids = await running_region.triggers(here, 3)
        for one, user_id in zip(ids, here, strict=True):
            await until(partial(is_sent, running_region, one, user_id), f"{user_id} is notified")
        assert not any(running_region.channels(one) for one in waiting)
        assert not await running_region.ready("standard"), "some of its partitions wait"
    finally:
        await asyncio.to_thread(silent.resume)
    await running_region.assert_notified_once(*waiting, *ids)


async def test_people_of_the_other_shards_sign_up(running_region: RunningRegion) -> None:
    settings = running_region.settings
    silent = running_region.stack.region(settings.region).shards[1]
    people: dict[int, list[str]] = {0: [], 1: []}
    while min(map(len, people.values())) < 3:
        user_id = a_new_id("new")
        people[settings.shard_of(running_region.bucket(user_id))].append(user_id)
    await asyncio.to_thread(silent.pause)
    try:
        for user_id in (*people[1], *people[0]):
            await running_region.sign_up(user_id)
        await wait_until_known(running_region, *people[0])
    finally:
        await asyncio.to_thread(silent.resume)
    await wait_until_known(running_region, *people[1])
