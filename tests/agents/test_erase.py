"""`agents.erase`: an erasure is durable here and on its way to every other region before its record is acknowledged."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from notify_streams.records.batch import Headers
from notify_streams.records.user_records import Erasure, encode_record
from notify_streams.regions.forwarding.headers import arrival_headers
from tests.agents.agent_fakes import FakeEvent, FakeProducer, FakeStore
from tests.agents.conftest import LoadAgent
from tests.builders import ARecord, a_batch, some_settings, users_of

(PERSON,) = users_of(3, 1)
(ELSEWHERE,) = users_of(4, 1)
AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


@dataclass
class FakeErasures(FakeStore):
    """Keeps what was begun."""

    begun: list[tuple[str, int, datetime]] = field(default_factory=list)

    async def open(self, user_id: str, bucket: int, requested_at: datetime) -> None:
        self.called()
        self.begun.append((user_id, bucket, requested_at))


@dataclass
class FakeRunner:
    woken: int = 0

    def wake(self) -> None:
        self.woken += 1


def a_request(user_id: str = PERSON, headers: Headers = ()) -> ARecord:
    return ARecord(encode_record(Erasure(user_id, AT)), user_id.encode(), headers)


async def erased(
    load_agent: LoadAgent, region: str, *records: ARecord, store: Any, producer: FakeProducer | None = None
) -> tuple[FakeProducer, FakeRunner]:
    agent = load_agent("registry", "agents.erase")
    producer, runner = producer or FakeProducer(), FakeRunner()
    event = FakeEvent(a_batch(*records, topic="user_erasures"))
    await agent.erase(event, store, runner, producer, some_settings(region=region))
    assert event.acknowledged == 1
    return producer, runner


async def test_an_erasure_goes_to_every_other_region_and_begins_there_when_it_is_back(load_agent: LoadAgent) -> None:
    here, there = FakeErasures(failures=2), FakeErasures()
    producer, runner = await erased(load_agent, "us", a_request(), store=here, producer=FakeProducer(failures=1))
    assert here.begun == [(PERSON, 3, AT)] and runner.woken == 1
    assert producer.topics == ["forward.eu", "forward.asia"]
    # The record waits in `forward.eu` as long as eu is away. On its return eu reads it, and copies it no further.
    _, partition, (key, value, headers) = producer.published[0]
    target, arrived = arrival_headers(headers)
    assert (target, partition, key) == ("user_erasures", 3, PERSON.encode())
    producer, _ = await erased(load_agent, "eu", ARecord(value, key, arrived), store=there)
    assert there.begun == here.begun and producer.topics == []


async def test_a_request_in_a_foreign_partition_moves_to_its_persons_bucket(load_agent: LoadAgent) -> None:
    store = FakeErasures()
    producer, _ = await erased(load_agent, "us", a_request(ELSEWHERE), store=store)
    assert store.begun == [] and [(topic, place) for topic, place, _ in producer.published] == [("user_erasures", 4)]


async def test_without_the_key_of_the_hash_a_request_is_a_dead_letter(load_agent: LoadAgent) -> None:
    producer, _ = await erased(load_agent, "us", a_request(), store=None)
    ((topic, _, (_, _, headers)),) = producer.published
    assert topic == "dead_letters" and b"public.address_key" in dict(headers)["detail"]
