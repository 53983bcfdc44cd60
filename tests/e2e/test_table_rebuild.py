"""`tables rebuild` while workers run: a person whose rows the topics lost is notified again, as the durable records say."""

from __future__ import annotations

import pytest

from notify_streams.preferences.row_codec import encode_row
from notify_streams.topics import CONTACT_ROWS, PREFERENCE_ROWS
from tests.e2e.processes import until
from tests.e2e.running_region import RunningRegion, a_new_id, wait_until_known

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200), pytest.mark.asyncio(loop_scope="session")]


async def test_rows_that_the_topics_lost_are_back_and_invented_ones_are_gone(running_region: RunningRegion) -> None:
    region, user_id, ghost = running_region, a_new_id("rows"), a_new_id("ghost")
    await region.sign_up(user_id, opted_out=[("payments", "push")])
    await region.drained()
    await wait_until_known(region, user_id)
    await _rebuilt(region)

    for topic in (CONTACT_ROWS, PREFERENCE_ROWS):
        await region.send(topic, None, key=user_id)
    await region.send(CONTACT_ROWS, b'{"version":7,"push":"token"}', key=ghost)
    await region.send(PREFERENCE_ROWS, encode_row(7, {1: {"push": False}}), key=ghost)
    await until(lambda: _is_notified_by(region, user_id, []), "the routers have lost the contacts")

    done = await _rebuilt(region)
    assert {name: (one["published"], one["removed"]) for name, one in done.items()} == {
        "contacts": (1, 1),
        "preferences": (1, 1),
    }
    await until(lambda: _is_notified_by(region, user_id, ["email"]), "the routers have the contacts again")
    for topic in (CONTACT_ROWS, PREFERENCE_ROWS):
        values = [value for value in await region.values_of(topic, user_id) if value]
        assert values[-1] == values[-2], "the row that was lost"
        assert (await region.values_of(topic, ghost))[-1] == b""
    assert all((one["published"], one["removed"]) == (0, 0) for one in (await _rebuilt(region)).values())


async def _rebuilt(region: RunningRegion) -> dict[str, dict[str, int]]:
    done = await region.cli("tables", "rebuild", "--json")
    assert done.status == 0, done.err
    return dict(done.json["tables"])


async def _is_notified_by(region: RunningRegion, user_id: str, channels: list[str]) -> bool:
    trigger_id = await region.trigger(user_id)
    await region.drained()
    return region.channels(trigger_id) == channels
