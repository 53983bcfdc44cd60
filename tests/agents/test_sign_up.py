"""`agents.sign_up`: the registry has the batch before the outbox gets its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from notify_streams.records.batch import Batch, OutboxRecord
from notify_streams.records.user_records import Signup
from notify_streams.registry.contact_copies import copies_at_signup
from notify_streams.registry.pending_signups import PendingSignups
from notify_streams.registry.signups import SignupProcessor
from notify_streams.registry.user import User
from notify_streams.registry.users_table import WriteOutcome, WriteResult
from tests.agents.agent_fakes import FakeEvent, FakeOutbox, FakeProducer, FakeStore, FakeTable
from tests.agents.conftest import LoadAgent
from tests.builders import NOON, ARecord, a_batch, a_placement, contacts, outcomes, some_settings

SETTINGS = some_settings()


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


def no_copies(_: Batch) -> list[OutboxRecord]:
    return []


def a_processor(registry: FakeRegistry) -> SignupProcessor:
    return SignupProcessor(SETTINGS, registry, a_placement().server_of, no_contacts)


def an_event(*signups: Signup | bytes) -> FakeEvent:
    values = [one if isinstance(one, bytes) else msgspec.json.encode(one) for one in signups]
    return FakeEvent(a_batch(*values, topic="user_signups"))


async def test_a_batch_is_registered_and_left_to_the_outbox_to_acknowledge(load_agent: LoadAgent) -> None:
    agent = load_agent("registry", "agents.sign_up")
    event, registry, outbox = an_event(Signup("ada", "us", NOON), b"not JSON"), FakeRegistry(), FakeOutbox()
    await agent.sign_up(event, no_copies, a_processor(registry), outbox, FakeProducer())
    assert registry.users["ada"].region == "us"
    (batch,) = outbox.submitted
    assert outcomes(batch) == ["notified", "dead"]
    assert [topic for topic, *_ in batch.entries[0].outputs] == ["user_locations", "forward.eu", "forward.asia"]
    assert event.acknowledged == 0
    batch.ack_handle.ack()
    assert event.acknowledged == 1


async def test_a_batch_is_registered_again_until_the_registry_answers(load_agent: LoadAgent) -> None:
    agent = load_agent("registry", "agents.sign_up")
    registry, outbox = FakeRegistry(failures=2), FakeOutbox()
    await agent.sign_up(an_event(Signup("ada", "us", NOON)), no_copies, a_processor(registry), outbox, FakeProducer())
    assert (registry.calls, [outcomes(batch) for batch in outbox.submitted]) == (3, [["notified"]])


async def test_contacts_that_arrived_before_the_sign_up_are_copied_first(load_agent: LoadAgent) -> None:
    agent = load_agent("registry", "agents.sign_up")
    row = msgspec.json.encode(contacts("bob"))
    table, pending = FakeTable({(3, b"bob"): row}), PendingSignups(lambda _: None)
    producer, outbox = FakeProducer(failures=1), FakeOutbox()

    def copies_of(batch: Batch) -> list[OutboxRecord]:
        return copies_at_signup(batch, pending, table.get, a_placement(), SETTINGS)

    event = an_event(Signup("bob", "eu", NOON), Signup("no-contacts", "eu", NOON))
    await agent.sign_up(event, copies_of, a_processor(FakeRegistry()), outbox, producer)
    assert [(topic, record[:2]) for topic, _, record in producer.published] == [("forward.eu", (b"bob", row))]
    assert pending.home("no-contacts") == "eu", "contacts that arrive later are copied by `agents.replicate`"
    assert len(outbox.submitted) == 1


def test_a_copy_has_the_bytes_of_the_row() -> None:
    """The copy carries the row's bytes and the forwarding headers of this region."""
    row = msgspec.json.encode(contacts("bob"))
    batch = a_batch(ARecord(msgspec.json.encode(Signup("bob", "eu", NOON))), topic="user_signups")
    copies = copies_at_signup(batch, PendingSignups(lambda _: None), lambda *_: row, a_placement(), SETTINGS)
    ((_, partition, key, value, headers),) = copies
    assert (partition, key, value) == (3, b"bob", row)
    assert dict(headers)["origin"] == b"us"
