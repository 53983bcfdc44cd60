"""The failpoints around a provider's call are really passed, and an error there ends in one more call at most, which is marked."""

import pytest

from notify_streams.failpoints import NAMES, FailpointReached, armed
from tests.integration.delivery.delivery_fixtures import Provider

CALLS = {"before_provider": [(2, True)], "after_provider": [(1, False), (2, True)]}


def test_no_failpoint_at_a_provider_is_left_out():
    assert set(CALLS) == {name for name in NAMES if name.endswith("_provider")}


@pytest.mark.parametrize("name", CALLS)
async def test_an_error_at_a_failpoint_is_a_second_call_only_if_there_was_a_first_and_marked(room, name):
    provider, batch = Provider(), await room.notify("t")
    with armed(f"{name}=raise@1"), pytest.raises(FailpointReached):
        await room.delivery(provider).deliver(batch)
    await room.delivery(provider).deliver(batch)  # the transport delivers it again
    assert [(call.attempt, call.possible_duplicate) for call in provider.calls] == CALLS[name]
    assert (await room.state())["state"] == "sent"
