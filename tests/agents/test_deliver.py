"""`agents.deliver`: a batch is acknowledged when each message has a durable state."""

import pytest

from notify_streams.errors import StoreUnavailable
from tests.agents.agent_fakes import FakeEvent, FakeWriter
from tests.agents.conftest import LoadAgent
from tests.builders import a_batch


async def test_a_batch_is_delivered_then_acknowledged(load_agent: LoadAgent) -> None:
    agent = load_agent("push", "agents.deliver")
    event, worker = FakeEvent(a_batch(b"{}", topic="push")), FakeWriter()
    await agent.deliver(event, worker)
    assert (worker.applied, event.acknowledged) == ([event.value], 1)


async def test_a_batch_that_was_not_delivered_is_not_acknowledged(load_agent: LoadAgent) -> None:
    """The delivery worker itself repeats while a store does not answer; an error that leaves it ends the agent."""
    agent = load_agent("push", "agents.deliver")
    event, worker = FakeEvent(a_batch(b"{}", topic="push")), FakeWriter(failures=1)
    with pytest.raises(StoreUnavailable):
        await agent.deliver(event, worker)
    assert event.acknowledged == 0


@pytest.mark.parametrize("role", ["sms", "email", "cric_push", "cric_sms", "cric_email"])
def test_a_role_delivers_its_own_topic(load_agent: LoadAgent, role: str) -> None:
    agent = load_agent(role, "agents.deliver")
    assert agent.channel == role.removeprefix("cric_")
    assert [*agent.app.agents] == [f"deliver {role}"]
