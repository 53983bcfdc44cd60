"""`agents.route`: each trigger of a batch gets one outcome, and the outbox gets the batch to acknowledge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from faust.types import TP

from notify_streams.errors import RetryLater
from notify_streams.outbox.partition_hooks import start_positions
from notify_streams.routing.router import Router
from notify_streams.stores.shard_clocks import FollowedClocks
from notify_streams.transport.fetch_thread import PartitionOffsets
from tests.agents.agent_fakes import FakeEvent, FakeOutbox
from tests.agents.conftest import LoadAgent
from tests.builders import (
    FakePlacements,
    FakeRecipients,
    ShardsWithClock,
    a_batch,
    categories,
    outcomes,
    some_settings,
    templates,
    trigger_json,
    users_of,
)

BUCKET = 3


def a_router(people: Any) -> Router:
    return Router(some_settings(), categories(), templates(), "standard", people, FakePlacements())


async def test_a_batch_is_decided_and_left_to_the_outbox_to_acknowledge(load_agent: LoadAgent) -> None:
    agent = load_agent("standard", "agents.route")
    people, outbox = FakeRecipients(), FakeOutbox()
    here, away = users_of(BUCKET, 2)
    people.add(here)
    people.add(away, region="eu")
    event = FakeEvent(a_batch(trigger_json(user_id=here), trigger_json(user_id=away), b"not JSON", start=7))
    await agent.route(event, a_router(people), outbox)
    (batch,) = outbox.submitted
    assert (batch.source, batch.start, batch.end) == (("triggers.payments", BUCKET), 7, 10)
    assert outcomes(batch) == ["notified", "forwarded", "dead"]
    assert event.acknowledged == 0
    batch.ack_handle.ack()
    assert event.acknowledged == 1


async def test_a_batch_waits_until_preferences_can_be_read(load_agent: LoadAgent) -> None:
    agent = load_agent("standard", "agents.route")
    people, outbox = FakeRecipients(troubles=[RetryLater("no lease"), RetryLater("no lease")]), FakeOutbox()
    user_id = people.add(users_of(BUCKET, 1)[0])
    await agent.route(FakeEvent(a_batch(trigger_json(user_id=user_id))), a_router(people), outbox)
    assert (people.troubles, [outcomes(batch) for batch in outbox.submitted]) == ([], [["notified"]])


async def test_partitions_start_where_the_ledger_says() -> None:
    asked: list[Any] = []

    class Ledgers:
        async def acquire(self, sources: Any) -> dict[tuple[str, int], int]:
            asked.append(sorted(sources))
            return {("triggers.payments", 1): 42}

        async def open(self, first: Any) -> Any:
            opened.update(first)
            return first

    async def read_offsets(tps: Any) -> dict[TP, PartitionOffsets]:
        return {tp: PartitionOffsets(7 if tp.partition == 2 else None, 3, 9) for tp in tps}

    opened: dict[Any, int] = {}
    outbox: Any = Ledgers()
    outbox.ledger = outbox
    assigned = frozenset(
        {TP("triggers.payments", 1), TP("triggers.payments", 2), TP("triggers.payments", 3), TP("user_contacts", 1)}
    )
    positions = await start_positions(outbox, {"triggers.payments"}, read_offsets, assigned)
    assert asked == [[("triggers.payments", partition) for partition in (1, 2, 3)]]
    assert positions == {TP("triggers.payments", partition): at for partition, at in ((1, 42), (2, 7), (3, 3))}
    assert opened == {("triggers.payments", 2): 7, ("triggers.payments", 3): 3}, (
        "new ledgers, at the committed offset or the beginning"
    )


async def test_the_time_of_a_decision_is_that_of_the_shard_whatever_the_workers_clock_shows(
    load_agent: LoadAgent,
) -> None:
    """A router whose clock begins in 1970 would write notifications that MongoDB deletes at once."""
    agent = load_agent("standard", "agents.route")
    right: Any = ShardsWithClock(lambda: datetime.now(UTC) + timedelta(hours=1))
    agent.app.shards.clocks = clocks = FollowedClocks(right, 5.0)
    await clocks.read(0)
    assert abs(agent.app.shard_now(0) - datetime.now(UTC) - timedelta(hours=1)) < timedelta(seconds=30)
