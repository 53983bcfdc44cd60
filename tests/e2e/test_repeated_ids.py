"""A repeated trigger id: a duplicate, a conflict, or a trigger for another user."""

import pytest

from tests.builders import trigger_json
from tests.e2e.running_region import RunningRegion

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="session")]

TOPIC = "triggers.payments"


async def test_the_same_id_twice_notifies_once(running_region: RunningRegion) -> None:
    before = (await running_region.audited())["duplicate"]
    trigger_id = await running_region.trigger("ada")
    await running_region.trigger("ada", id=trigger_id)
    await running_region.drained()
    await running_region.trigger("ada", id=trigger_id)
    sums = await running_region.assert_notified_once(trigger_id)
    assert sums["duplicate"] - before == 2


@pytest.mark.parametrize("at_once", [True, False], ids=["in one batch", "after the first was sent"])
async def test_the_same_id_with_other_content_is_a_conflict_and_the_first_one_counts(
    running_region: RunningRegion, at_once: bool
) -> None:
    trigger_id = await running_region.trigger("ada", data={"amount": "1"})
    if not at_once:
        await running_region.drained()
    other = trigger_json(id=trigger_id, user_id="ada", data={"amount": "2"})
    place = await running_region.send(TOPIC, other, key="ada")
    await running_region.assert_notified_once(trigger_id)
    letter = (await running_region.dead_letters())[place]
    assert (letter.diagnosis["reason"], letter.value) == ("id_conflict", other)


async def test_the_same_id_for_two_users_is_two_notifications(running_region: RunningRegion) -> None:
    trigger_id = await running_region.trigger("ada")
    await running_region.trigger("user-1", id=trigger_id)
    await running_region.audited()
    assert running_region.channels(trigger_id) == ["email", "email", "push", "push"]
