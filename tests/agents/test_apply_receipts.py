"""`agents.apply_receipts`: a batch is acknowledged after it was written."""

from notify_streams.records.outcomes import DeadReason
from notify_streams.records.trigger import Rejection
from notify_streams.transport.app_state import app_state
from tests.agents.agent_fakes import FakeEvent, FakeProducer, FakeWriter
from tests.agents.conftest import LoadAgent
from tests.builders import a_batch


def test_events_are_published_while_the_worker_runs_and_taken_over_with_an_assignment(load_agent: LoadAgent) -> None:
    agent = load_agent("receipts", "agents.apply_receipts")
    declared = app_state(agent.app)
    assert (agent.events.start, agent.events.stop) in declared.lifecycles
    assert agent.assigned in declared.assigned_hooks and agent.revoked in declared.revoked_hooks
    assert agent.app.receipt_events is agent.events, "`/live` fails if it ends"


async def test_a_batch_is_written_then_acknowledged(load_agent: LoadAgent) -> None:
    agent = load_agent("receipts", "agents.apply_receipts")
    event, writer = FakeEvent(a_batch(b"{}", topic="receipts")), FakeWriter()
    await agent.apply_receipts(event, writer, FakeProducer())
    assert [batch.records for batch in writer.applied] == [event.value.records]
    assert event.acknowledged == 1


async def test_a_batch_is_written_again_until_the_store_answers(load_agent: LoadAgent) -> None:
    agent = load_agent("receipts", "agents.apply_receipts")
    event, writer = FakeEvent(a_batch(b"{}", topic="receipts")), FakeWriter(failures=2)
    await agent.apply_receipts(event, writer, FakeProducer())
    assert [batch.records for batch in writer.applied] == [event.value.records]
    assert (writer.calls, event.acknowledged) == (3, 1)
    assert len({id(one) for one in writer.progress}) == 1, "a repetition does nothing again"


async def test_what_the_writer_refuses_is_a_dead_letter_before_the_acknowledgement(load_agent: LoadAgent) -> None:
    agent = load_agent("receipts", "agents.apply_receipts")
    event, producer = FakeEvent(a_batch(b"{}", topic="receipts")), FakeProducer(failures=1)
    writer = FakeWriter(refused=[(event.value.records[0], Rejection(DeadReason.INVALID, "no channel"))])
    await agent.apply_receipts(event, writer, producer)
    ((topic, _, (_, value, headers)),) = producer.published
    assert (topic, value, dict(headers)["reason"], event.acknowledged) == ("dead_letters", b"{}", b"invalid", 1)
