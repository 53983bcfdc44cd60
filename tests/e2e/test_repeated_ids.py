"""A repeated trigger id: a duplicate, a conflict, or a trigger for another user."""

import json
from typing import Any

import pytest

from tests.builders import trigger_fields, trigger_json
from tests.e2e.running_region import RunningRegion

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200), pytest.mark.asyncio(loop_scope="session")]

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

    events = await running_region.events("payments", trigger_id)
    ends = {(one.channel, one.state, one.reason) for one in events}
    assert ends >= {("push", "sent", None), ("email", "sent", None), (None, "dead", "id_conflict")}
    (dead,) = {one.source for one in events if one.state == "dead"}
    assert dead == f"{place.topic}:{place.partition}:{place.offset}"
    assert not await running_region.events("marketing", trigger_id)


async def test_the_same_id_of_two_sources_or_two_systems_is_not_the_same_trigger(running_region: RunningRegion) -> None:
    before = await running_region.audited()
    trigger_id = await running_region.trigger("ada")
    for source in ("/payments/ledger", "/payments/refunds"):
        event: dict[str, Any] = {"specversion": "1.0", "id": trigger_id, "source": source, "type": "t"}
        event |= {"data": trigger_fields(id=..., user_id="ada", data={"amount": source})}
        await running_region.send(TOPIC, json.dumps(event).encode(), key="ada")
    other = trigger_json(
        id=trigger_id,
        user_id="ada",
        category="security",
        template="new_device",
        data={"device": "x"},
        channels=["push"],
    )
    await running_region.send("triggers.security", other, key="ada")
    after = await running_region.audited()
    assert after["notified"] - before["notified"] == 4
    assert running_region.channels(trigger_id) == ["email"] * 3 + ["push"] * 4


async def test_the_same_id_for_two_users_is_two_notifications(running_region: RunningRegion) -> None:
    trigger_id = await running_region.trigger("ada")
    await running_region.trigger("user-1", id=trigger_id)
    await running_region.audited()
    assert running_region.channels(trigger_id) == ["email", "email", "push", "push"]
