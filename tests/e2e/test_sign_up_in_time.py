"""A trigger may overtake its user's sign-up."""

from __future__ import annotations

import pytest

from tests.e2e.running_region import RunningRegion, a_new_id

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="session")]


async def test_a_trigger_sent_before_the_sign_up_is_notified_once(running_region: RunningRegion) -> None:
    people = [a_new_id("early") for _ in range(10)]
    ids = []
    for person in people:
        ids.append(await running_region.trigger(person))
        await running_region.sign_up(person)
    sums = await running_region.assert_notified_once(*ids)
    assert sums["waiting"] > 0


async def test_a_trigger_of_a_user_who_never_signs_up_is_dead_after_the_time_to_wait(
    running_region: RunningRegion,
) -> None:
    before = await running_region.audited()
    await running_region.trigger(a_new_id("unknown"))
    after = await running_region.audited()
    assert after["dead_reasons"]["unknown_user"] == before["dead_reasons"].get("unknown_user", 0) + 1
    assert after["waiting"] > before["waiting"]
