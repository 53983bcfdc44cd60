"""`agents.reconcile`: what repairs this region's locations and deletes contacts is published."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec
import pytest

from notify_streams.errors import StoreUnavailable
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.user_records import Contacts
from notify_streams.regions.failover.placement import Placement
from notify_streams.regions.locations import Location
from notify_streams.registry.user import User
from tests.agents.agent_fakes import FakeProducer
from tests.agents.conftest import LoadAgent
from tests.builders import NOON, PARTITIONS, a_placement, contacts, some_settings


async def pages(*users: User, size: int = 10) -> AsyncIterator[Sequence[User]]:
    for start in range(0, len(users), size):
        yield users[start : start + size]


async def reconcile(
    load_agent: LoadAgent,
    users: AsyncIterator[Sequence[User]],
    producer: FakeProducer,
    locations: dict[str, Location] | None = None,
    stored: Mapping[str, Contacts] | None = None,
    placement: Placement | None = None,
) -> int:
    agent = load_agent("registry", "agents.reconcile")

    def locate(user_id: str) -> Location | None:
        return (locations or {}).get(user_id)

    async def contacts_of(buckets: Mapping[str, int]) -> dict[str, Contacts]:
        assert all(bucket == bucket_of(user_id, PARTITIONS) for user_id, bucket in buckets.items())
        return {user_id: (stored or {})[user_id] for user_id in buckets}

    repairs: int = await agent.reconcile(users, locate, contacts_of, placement, some_settings(), producer)
    return repairs


def a_location(user: User) -> Location:
    return Location(user.region, bucket_of(user.user_id, PARTITIONS), user.version, user.previous)


async def test_a_lost_topic_is_rebuilt_whole(load_agent: LoadAgent) -> None:
    users = [User(f"u-{number}", "eu", 1, NOON) for number in range(25)]
    producer = FakeProducer(failures=2)
    assert await reconcile(load_agent, pages(*users), producer) == 25
    assert producer.topics == ["user_locations"] * 25
    assert {(partition, key) for _, partition, (key, _, _) in producer.published} == {
        (bucket_of(user.user_id, PARTITIONS), user.user_id.encode()) for user in users
    }


async def test_locations_that_agree_are_left_alone(load_agent: LoadAgent) -> None:
    user, producer = User("ada", "eu", 2, NOON), FakeProducer()
    assert await reconcile(load_agent, pages(user), producer, {"ada": a_location(user)}) == 0
    assert producer.published == []


async def test_contacts_of_a_user_who_moved_away_are_deleted_once_the_placement_is_known(
    load_agent: LoadAgent,
) -> None:
    user, bucket = User("ada", "eu", 2, NOON), bucket_of("ada", PARTITIONS)
    stored = {"ada": contacts("ada")}
    locations, producer = {"ada": a_location(user)}, FakeProducer()
    assert await reconcile(load_agent, pages(user), producer, locations, stored) == 0
    assert producer.published == []
    assert await reconcile(load_agent, pages(user), producer, locations, stored, a_placement()) == 0
    ((topic, partition, (key, value, _)),) = producer.published
    assert (topic, partition, key) == ("user_contacts", bucket, b"ada")
    assert msgspec.json.decode(value or b"", type=Contacts) == Contacts("ada", NOON)


async def test_a_registry_that_does_not_answer_ends_the_round(load_agent: LoadAgent) -> None:
    """The task logs the error and compares everything again in the next round."""

    async def failing() -> AsyncIterator[Sequence[User]]:
        yield [User("ada", "eu", 1, NOON)]
        raise StoreUnavailable("the registry does not answer")

    producer = FakeProducer()
    with pytest.raises(StoreUnavailable):
        await reconcile(load_agent, failing(), producer)
    assert producer.topics == ["user_locations"]
