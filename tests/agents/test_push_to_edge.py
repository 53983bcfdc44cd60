"""`agents.push_to_edge`: a batch is acknowledged when the point of presence has it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from notify_streams.edge.point_of_presence import NotPushed
from notify_streams.edge.pusher import EdgePusher
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.user_records import LocationRecord
from notify_streams.retry import RetryPolicy
from tests.agents.agent_fakes import FakeEvent
from tests.agents.conftest import LoadAgent
from tests.builders import ARecord, a_batch

ONCE = RetryPolicy("test", first_s=0.0, max_s=0.0, max_attempts=1)


class FakePoint:
    """A point of presence in memory, which fails `failures` times."""

    name = "pop"

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.homes: dict[str, str] = {}

    async def put_many(self, locations: Sequence[LocationRecord]) -> int:
        if self.failures:
            self.failures -= 1
            raise NotPushed("503", locations)
        self.homes |= {one.user_id: one.region for one in locations}
        return 0

    async def delete_many(self, user_ids: Sequence[str]) -> None:
        for user_id in user_ids:
            self.homes.pop(user_id, None)


def an_event(user_id: str, region: str, partition: int) -> FakeEvent:
    value = msgspec.json.encode(LocationRecord(user_id, region))
    return FakeEvent(a_batch(ARecord(value, user_id.encode()), topic="edge.pop", partition=partition))


async def test_a_batch_is_pushed_then_acknowledged(load_agent: LoadAgent) -> None:
    agent = load_agent("registry", "agents.push_to_edge")
    event, point = an_event("ada", "eu", bucket_of("ada", agent.app.settings.partitions)), FakePoint()
    await agent.push_to_edge(event, EdgePusher(point, "us", ONCE))
    assert (point.homes, event.acknowledged) == ({"ada": "eu"}, 1)


async def test_a_batch_is_pushed_again_until_the_point_of_presence_answers(load_agent: LoadAgent) -> None:
    agent = load_agent("registry", "agents.push_to_edge")
    event, point = an_event("ada", "eu", bucket_of("ada", agent.app.settings.partitions)), FakePoint(failures=2)
    await agent.push_to_edge(event, EdgePusher(point, "us", ONCE))
    assert (point.homes, event.acknowledged) == ({"ada": "eu"}, 1)


async def test_what_a_growth_left_in_another_partition_is_not_pushed(load_agent: LoadAgent) -> None:
    agent = load_agent("registry", "agents.push_to_edge")
    partitions = agent.app.settings.partitions
    event = an_event("ada", "eu", (bucket_of("ada", partitions) + 1) % partitions)
    await agent.push_to_edge(event, EdgePusher(point := FakePoint(), "us", ONCE))
    assert (point.homes, event.acknowledged) == ({}, 1)


async def test_a_record_that_is_no_location_is_left_out() -> None:
    deep = b'{"user_id":"eve","region":"eu","x":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    records = [ARecord(b"{", b"bob"), ARecord(deep, b"eve"), ARecord(b'{"user_id":"ada","region":"eu"}', b"ada")]
    point = FakePoint()
    await EdgePusher(point, "us", ONCE).push(records)
    assert point.homes == {"ada": "eu"}
