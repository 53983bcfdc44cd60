"""The same id again: a repeat, a conflict, or somebody else's."""

import pytest

from tests.builders import trigger_json
from tests.e2e.running_region import RegionAtWork

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="session")]

TOPIC = "triggers.payments"


async def test_the_same_id_twice_notifies_once(region_at_work: RegionAtWork) -> None:
    before = (await region_at_work.closed())["duplicate"]
    identity = await region_at_work.trigger("ada")
    await region_at_work.trigger("ada", id=identity)
    await region_at_work.drained()
    await region_at_work.trigger("ada", id=identity)
    sums = await region_at_work.closed()
    assert sums["duplicate"] - before == 2
    assert region_at_work.channels(identity) == ["email", "push"]


@pytest.mark.parametrize("at_once", [True, False], ids=["in one batch", "after the first was sent"])
async def test_the_same_id_with_other_content_is_a_conflict_and_the_first_one_counts(
    region_at_work: RegionAtWork, at_once: bool
) -> None:
    identity = await region_at_work.trigger("ada", data={"amount": "1"})
    if not at_once:
        await region_at_work.drained()
    other = trigger_json(id=identity, user_id="ada", data={"amount": "2"})
    place = await region_at_work.send(TOPIC, other, key="ada")
    await region_at_work.closed()
    letter = (await region_at_work.dead_letters())[place]
    assert (letter.why["reason"], letter.value) == ("id_conflict", other)
    assert region_at_work.channels(identity) == ["email", "push"]


async def test_the_same_id_for_two_people_is_two_notifications(region_at_work: RegionAtWork) -> None:
    identity = await region_at_work.trigger("ada")
    await region_at_work.trigger("crowd-1", id=identity)
    await region_at_work.closed()
    assert region_at_work.channels(identity) == ["email", "email", "push", "push"]
