"""A stop at a failpoint around the provider call leads to at most one more call, which is marked."""

import pytest

from notify_streams.failpoints import NAMES, armed
from tests.integration.delivery.delivery_fixtures import DeliveryEnvironment, Provider
from tests.waiting import until

CALLS = {"before_provider": [(1, True)], "after_provider": [(1, False), (1, True)]}


def test_no_failpoint_at_a_provider_is_left_out() -> None:
    assert set(CALLS) == {name for name in NAMES if name.endswith("_provider")}


@pytest.mark.parametrize("name", CALLS)
async def test_after_a_stop_at_a_failpoint_the_next_call_is_marked(env: DeliveryEnvironment, name: str) -> None:
    provider, batch = Provider(), await env.notify("t")
    with armed(f"{name}=raise@1") as points:
        async with env.engine(provider) as engine:
            await engine.begin(batch)
            await until(lambda: points[name].passed)
    async with env.engine(provider, generation=2) as engine:
        await engine.deliver(batch)
    assert [(call.attempt, call.possible_duplicate) for call in provider.calls] == CALLS[name]
    assert (await env.state())["state"] == "sent" and await env.books_close()
