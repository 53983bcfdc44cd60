"""`agents.sign_up`: the registry has the batch before the outbox gets its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from notify_streams.records.batch import Batch, OutboxRecord
from notify_streams.records.user_records import Contacts, Signup
from notify_streams.registry.contact_copies import copies_at_signup
from notify_streams.registry.signups import SignupProcessor
from notify_streams.registry.user import User
from notify_streams.registry.users_table import WriteOutcome, WriteResult
from tests.agents.agent_fakes import FakeEvent, FakeOutbox, FakeProducer, FakeStore
from tests.agents.conftest import LoadAgent
from tests.builders import NOON, a_batch, a_placement, contacts, outcomes, some_settings, users_of

SETTINGS = some_settings()
(HERE,), (FOREIGN,) = users_of(3, 1), users_of(4, 1)


class FakeRegistry(FakeStore):
    """The registry in memory."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__(failures)
        self.users: dict[str, User] = {}

    async def get_many(self, user_ids: Sequence[str], /) -> dict[str, User]:
        self.called()
        return {user_id: self.users[user_id] for user_id in user_ids if user_id in self.users}

    async def put_many(self, users: Sequence[User], /) -> list[WriteResult]:
        self.users |= {user.user_id: user for user in users}
        return [WriteResult(WriteOutcome.WRITTEN, user) for user in users]


async def no_contacts(_: Sequence[str]) -> Mapping[str, bytes]:
    return {}


async def no_copies(_: Batch) -> list[OutboxRecord]:
    return []


def a_processor(registry: FakeRegistry) -> SignupProcessor:
    return SignupProcessor(SETTINGS, registry, a_placement().server_of, no_contacts)


def an_event(*signups: Signup | bytes) -> FakeEvent:
    values = [one if isinstance(one, bytes) else msgspec.json.encode(one) for one in signups]
    return FakeEvent(a_batch(*values, topic="user_signups"))


async def test_a_batch_is_registered_and_left_to_the_outbox_to_acknowledge(load_agent: LoadAgent) -> None:
    agent = load_agent("registry", "agents.sign_up")
    event, registry, outbox = an_event(Signup(HERE, "us", NOON), b"not JSON"), FakeRegistry(), FakeOutbox()
    await agent.sign_up(event, no_copies, a_processor(registry), outbox, FakeProducer())
    assert registry.users[HERE].region == "us"
    (batch,) = outbox.submitted
    assert outcomes(batch) == ["notified", "dead"]
    assert [topic for topic, *_ in batch.entries[0].outputs] == ["user_locations", "forward.eu", "forward.asia"]
    assert event.acknowledged == 0
    batch.ack_handle.ack()
    assert event.acknowledged == 1


async def test_a_batch_is_registered_again_until_the_registry_answers(load_agent: LoadAgent) -> None:
    agent = load_agent("registry", "agents.sign_up")
    registry, outbox = FakeRegistry(failures=2), FakeOutbox()
    await agent.sign_up(an_event(Signup(HERE, "us", NOON)), no_copies, a_processor(registry), outbox, FakeProducer())
    assert (registry.calls, [outcomes(batch) for batch in outbox.submitted]) == (3, [["notified"]])


async def test_contacts_that_arrived_before_the_sign_up_are_copied_first(load_agent: LoadAgent) -> None:
    agent = load_agent("registry", "agents.sign_up")
    outputs = copies_at_signup([contacts("bob")], 3, {"bob": "eu"}.get, a_placement(), SETTINGS)
    store, producer, outbox = FakeStore(failures=1), FakeProducer(failures=1), FakeOutbox()

    async def copies_of(_: Batch) -> list[OutboxRecord]:
        store.called()
        return outputs

    await agent.sign_up(an_event(Signup(HERE, "eu", NOON)), copies_of, a_processor(FakeRegistry()), outbox, producer)
    ((topic, partition, (key, value, headers)),) = producer.published
    assert (topic, partition, key, dict(headers)["origin"]) == ("forward.eu", 3, b"bob", b"us")
    assert msgspec.json.decode(value or b"", type=Contacts) == contacts("bob")
    assert len(outbox.submitted) == 1


async def test_a_sign_up_in_a_foreign_partition_is_published_in_its_own(load_agent: LoadAgent) -> None:
    agent = load_agent("registry", "agents.sign_up")
    record, registry, outbox = Signup(FOREIGN, "us", NOON), FakeRegistry(), FakeOutbox()
    await agent.sign_up(an_event(record), no_copies, a_processor(registry), outbox, FakeProducer())
    (batch,) = outbox.submitted
    ((topic, partition, key, value, headers),) = batch.entries[0].outputs
    assert outcomes(batch) == ["repartitioned"]
    assert (topic, partition, key, value) == ("user_signups", 4, FOREIGN.encode(), msgspec.json.encode(record))
    assert registry.users == {}
    assert dict(headers) == {"source": b"user_signups:3:0", "origin_ms": b"0"}
