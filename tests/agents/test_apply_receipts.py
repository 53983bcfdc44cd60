"""`agents.apply_receipts`: a batch is acknowledged after it was written."""

from tests.agents.agent_fakes import FakeEvent, FakeWriter
from tests.agents.conftest import LoadAgent
from tests.builders import a_batch


async def test_a_batch_is_written_then_acknowledged(load_agent: LoadAgent) -> None:
    agent = load_agent("receipts", "agents.apply_receipts")
    event, writer = FakeEvent(a_batch(b"{}", topic="receipts")), FakeWriter()
    await agent.apply_receipts(event, writer)
    assert (writer.applied, event.acknowledged) == ([event.value], 1)


async def test_a_batch_is_written_again_until_the_store_answers(load_agent: LoadAgent) -> None:
    agent = load_agent("receipts", "agents.apply_receipts")
    event, writer = FakeEvent(a_batch(b"{}", topic="receipts")), FakeWriter(failures=2)
    await agent.apply_receipts(event, writer)
    assert (writer.calls, writer.applied, event.acknowledged) == (3, [event.value], 1)
