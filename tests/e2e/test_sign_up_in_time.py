"""A trigger may overtake its user's sign-up."""

from __future__ import annotations

import pytest

from tests.e2e.processes import until
from tests.e2e.running_region import RunningRegion, a_new_id

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200), pytest.mark.asyncio(loop_scope="session")]


async def test_a_trigger_sent_before_the_sign_up_is_notified_once(running_region: RunningRegion) -> None:
    """The workers of this test wait longer than a busy machine takes for sign-ups."""
    people = [a_new_id("early") for _ in range(10)]

    async def all_wait() -> bool:
        return (await running_region.lag())["us/timers"] == len(people)

    async with running_region.workers_with({"NOTIFY_USER_WAIT_S": "300"}, "standard"):
        ids = [await running_region.trigger(person) for person in people]
        await until(all_wait, "every trigger waits for its user")
        for person in people:
            await running_region.sign_up(person)
        sums = await running_region.assert_notified_once(*ids)
    assert sums["waiting"] >= len(people)


async def test_a_trigger_of_a_user_who_never_signs_up_is_dead_after_the_time_to_wait(
    running_region: RunningRegion,
) -> None:
    before = await running_region.audited()
    await running_region.trigger(a_new_id("unknown"))
    after = await running_region.audited()
    assert after["dead_reasons"]["unknown_user"] == before["dead_reasons"].get("unknown_user", 0) + 1
    assert after["waiting"] > before["waiting"]
