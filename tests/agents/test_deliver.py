"""`agents.deliver`: the engine gets each batch and acknowledges it."""

import pytest

from tests.agents.agent_fakes import FakeEvent
from tests.agents.conftest import LoadAgent
from tests.builders import a_batch


class FakeEngine:
    def __init__(self) -> None:
        self.delivered: list[object] = []

    async def deliver(self, event: object) -> None:
        self.delivered.append(event)


async def test_the_engine_gets_the_batch_and_how_to_acknowledge_it(load_agent: LoadAgent) -> None:
    agent = load_agent("push", "agents.deliver")
    event, engine = FakeEvent(a_batch(b"{}", topic="push")), FakeEngine()
    await agent.deliver(event, engine)
    assert (engine.delivered, event.acknowledged) == ([event], 0)


@pytest.mark.parametrize("role", ["sms", "email", "cric_push", "cric_sms", "cric_email"])
def test_a_role_delivers_its_own_topic(load_agent: LoadAgent, role: str) -> None:
    agent = load_agent(role, "agents.deliver")
    assert agent.channel == role.removeprefix("cric_")
    assert [*agent.app.agents] == [f"deliver {role}"]
