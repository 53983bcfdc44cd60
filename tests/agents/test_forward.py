"""`agents.forward`: a batch is acknowledged when the other region's Kafka has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from faust.types import TP

from notify_streams.errors import RetryLater
from notify_streams.records.batch import Batch
from notify_streams.regions.forwarding.partition_queues import PartitionQueues
from notify_streams.retry import RetryPolicy
from tests.agents.agent_fakes import FakeEvent
from tests.agents.conftest import LoadAgent
from tests.builders import a_batch
from tests.waiting import until

FAST = RetryPolicy("test", first_s=0.001, max_s=0.01)


class FakeRemote:
    """Another region's Kafka; `away` makes it fail."""

    def __init__(self) -> None:
        self.away = False
        #: Partitions whose batches fail, and the error.
        self.refused: dict[int, Exception] = {}
        self.failed = 0
        self.received: list[bytes | None] = []

    async def forward(self, batch: Batch) -> None:
        if self.away:
            self.failed += 1
            raise RetryLater("eu does not answer")
        if batch.partition in self.refused:
            self.failed += 1
            raise self.refused[batch.partition]
        self.received += [record.value for record in batch.records]


@pytest.fixture
def remote() -> FakeRemote:
    return FakeRemote()


@pytest.fixture
async def queues(remote: FakeRemote) -> AsyncIterator[PartitionQueues]:
    made = PartitionQueues(cast("Any", remote), FAST)
    yield made
    await made.stop()


def an_event(value: bytes, partition: int = 3) -> FakeEvent:
    return FakeEvent(a_batch(value, topic="forward.eu", partition=partition))


def acknowledged(*events: FakeEvent) -> Callable[[], bool]:
    return lambda: all(event.acknowledged == 1 for event in events)


async def test_batches_are_forwarded_in_order_then_acknowledged(
    load_agent: LoadAgent, remote: FakeRemote, queues: PartitionQueues
) -> None:
    agent = load_agent("forward", "agents.forward")
    events = [an_event(b"1"), an_event(b"2"), an_event(b"3")]
    for event in events:
        await agent.forward(event, queues)
    await until(acknowledged(*events))
    assert remote.received == [b"1", b"2", b"3"]


async def test_a_batch_waits_until_the_other_region_answers(
    load_agent: LoadAgent, remote: FakeRemote, queues: PartitionQueues
) -> None:
    agent = load_agent("forward", "agents.forward")
    remote.away, event = True, an_event(b"1")
    await agent.forward(event, queues)
    await until(lambda: remote.failed > 1)
    assert event.acknowledged == 0
    remote.away = False
    await until(acknowledged(event))
    assert remote.received == [b"1"]


async def test_a_partition_that_the_other_region_does_not_take_holds_up_no_other(
    load_agent: LoadAgent, remote: FakeRemote, queues: PartitionQueues
) -> None:
    agent = load_agent("forward", "agents.forward")
    remote.refused = {1: RetryLater("it has no leader")}
    waiting = [an_event(b"waits", partition=1) for _ in range(20)]
    events = [an_event(b"goes on", partition=2) for _ in range(20)]

    async def forward_all() -> None:
        for one, other in zip(waiting, events, strict=True):
            await agent.forward(one, queues)
            await until(lambda: remote.failed)
            await agent.forward(other, queues)

    await asyncio.wait_for(forward_all(), 10)
    await until(acknowledged(*events))
    remote.refused.clear()
    await until(acknowledged(*waiting))


async def test_after_an_unknown_error_a_partition_goes_on(
    load_agent: LoadAgent, remote: FakeRemote, queues: PartitionQueues
) -> None:
    agent = load_agent("forward", "agents.forward")
    remote.refused, event = {3: AssertionError("Unrecognized partition")}, an_event(b"1")
    await agent.forward(event, queues)
    await until(lambda: remote.failed)
    remote.refused.clear()
    await until(acknowledged(event))
    assert remote.received == [b"1"]


async def test_a_revoked_partition_is_neither_handed_over_nor_acknowledged(
    load_agent: LoadAgent, remote: FakeRemote, queues: PartitionQueues
) -> None:
    agent = load_agent("forward", "agents.forward")
    remote.away = True
    lost, kept = an_event(b"lost", partition=1), an_event(b"kept", partition=2)
    for event in (lost, kept):
        await agent.forward(event, queues)
    agent.drop_revoked({"forward.eu": queues}, [TP("forward.eu", 1), TP("forward.asia", 2)])
    await asyncio.sleep(0)
    remote.away = False
    await until(acknowledged(kept))
    assert (remote.received, lost.acknowledged) == ([b"kept"], 0)


def test_each_other_region_has_an_agent(load_agent: LoadAgent) -> None:
    agent = load_agent("forward", "agents.forward")
    assert sorted(agent.queues_to) == ["forward.asia", "forward.eu"]
    assert sorted(agent.app.agents) == ["forward asia", "forward eu"]
