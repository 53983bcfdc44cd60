"""An error at a failpoint around the provider call leads to at most one more call, which is marked."""

import pytest

from notify_streams.failpoints import NAMES, FailpointReached, armed
from tests.integration.delivery.delivery_fixtures import DeliveryEnvironment, Provider

CALLS = {"before_provider": [(2, True)], "after_provider": [(1, False), (2, True)]}


def test_no_failpoint_at_a_provider_is_left_out() -> None:
    assert set(CALLS) == {name for name in NAMES if name.endswith("_provider")}


@pytest.mark.parametrize("name", CALLS)
async def test_after_an_error_at_a_failpoint_the_next_call_is_marked(env: DeliveryEnvironment, name: str) -> None:
    provider, batch = Provider(), await env.notify("t")
    with armed(f"{name}=raise@1"), pytest.raises(FailpointReached):
        await env.delivery(provider).deliver(batch)
    await env.delivery(provider).deliver(batch)  # the transport delivers it again
    assert [(call.attempt, call.possible_duplicate) for call in provider.calls] == CALLS[name]
    assert (await env.state())["state"] == "sent"
