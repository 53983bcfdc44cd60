"""`agents.apply_contacts`: contacts that may lie here are durable, then rows and copies are published."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec

from notify_streams.records.batch import Headers
from notify_streams.records.devices import Device
from notify_streams.records.user_records import (
    ContactRow,
    Contacts,
    decode_contact_row,
    encode_record,
    read_contacts,
)
from notify_streams.regions.forwarding.headers import read_forwarding_headers
from notify_streams.registry.contact_repository import BucketedContacts, StoredContacts
from notify_streams.registry.contact_retention import deletion_records
from notify_streams.registry.signups import none_erased
from tests.agents.agent_fakes import FakeEvent, FakeProducer, FakeStore
from tests.agents.conftest import LoadAgent
from tests.builders import ARecord, a_batch, a_placement, contacts, some_settings, users_of

HERE, AWAY, NEW = users_of(3, 3)
(ELSEWHERE,) = users_of(4, 1)
HOMES = {HERE: "us", AWAY: "eu"}
SETTINGS = some_settings(standby="asia")
FROM_EU: Headers = (("hops", b"1"), ("origin", b"eu"))
FROM_ASIA: Headers = (("hops", b"1"), ("origin", b"asia"))


@dataclass
class FakeRepository(FakeStore):
    """Keeps what was applied."""

    applied: list[tuple[int, str]] = field(default_factory=list)

    async def apply(self, records: Iterable[BucketedContacts]) -> dict[str, StoredContacts]:
        records = list(records)
        self.called()
        self.applied += [(bucket, one.user_id) for bucket, one in records]
        return {one.user_id: StoredContacts(one, 7) for _, one in records}


def a_record(user_id: str, headers: Headers = ()) -> ARecord:
    return ARecord(msgspec.json.encode(contacts(user_id)), b"any key", headers)


async def applied(
    load_agent: LoadAgent, *records: ARecord, repository: FakeRepository | None = None, failures: int = 0
) -> tuple[FakeRepository, FakeProducer]:
    agent = load_agent("registry", "agents.apply_contacts")
    repository, producer = repository or FakeRepository(), FakeProducer(failures=failures)
    event = FakeEvent(a_batch(*records, topic="user_contacts"))
    await agent.apply_contacts(event, repository, producer, HOMES.get, a_placement, SETTINGS, none_erased)
    assert event.acknowledged == 1
    return repository, producer


async def test_contacts_of_a_user_at_home_are_stored_and_copied_to_the_standby(load_agent: LoadAgent) -> None:
    repository, producer = await applied(load_agent, a_record(HERE), failures=1)
    assert repository.applied == [(3, HERE)]
    assert producer.topics == ["contact_rows", "forward.asia"]
    _, partition, (key, row, _) = producer.published[0]
    assert (partition, key) == (3, HERE.encode())
    assert msgspec.json.decode(row or b"", type=ContactRow).version == 7


async def test_a_removal_is_applied_and_copied_as_one(load_agent: LoadAgent) -> None:
    removal = Contacts(HERE, datetime(2026, 11, 22, tzinfo=UTC), remove={"push": "gone"})
    record = ARecord(encode_record(removal), b"any key")
    repository, producer = await applied(load_agent, record)
    assert repository.applied == [(3, HERE)]
    copy = next(value for topic, _, (_, value, _) in producer.published if topic == "forward.asia")
    assert read_contacts(copy, 2**42) == removal


async def test_devices_are_in_the_row_and_in_the_copy(load_agent: LoadAgent) -> None:
    devices = Device("phone", "fcm", last_seen=datetime(2026, 11, 20, tzinfo=UTC)), Device("tablet", "apns")
    record = ARecord(encode_record(contacts(HERE, push=None, devices=devices)), b"any key")
    _, producer = await applied(load_agent, record)
    (_, _, (_, row, _)), (_, _, (_, copy, _)) = producer.published
    assert decode_contact_row(row or b"").devices == (Device("phone", "fcm"), devices[1])
    copied = read_contacts(copy, 2**42)
    assert isinstance(copied, Contacts) and copied.devices == devices


async def test_contacts_of_a_user_of_another_region_are_sent_there_and_not_stored(load_agent: LoadAgent) -> None:
    repository, producer = await applied(load_agent, a_record(AWAY))
    assert (repository.applied, producer.topics) == ([], ["forward.eu"])


async def test_contacts_that_another_region_sent_are_stored(load_agent: LoadAgent) -> None:
    repository, producer = await applied(load_agent, a_record(AWAY, FROM_EU))
    assert (repository.applied, producer.topics) == ([(3, AWAY)], ["contact_rows"])


async def test_contacts_from_a_region_that_does_not_know_of_a_move_yet_are_sent_on_to_the_new_home(
    load_agent: LoadAgent,
) -> None:
    _, producer = await applied(load_agent, a_record(AWAY, FROM_ASIA))
    assert producer.topics == ["contact_rows", "forward.eu"]
    headers = read_forwarding_headers(producer.published[1][2][2])
    assert (headers.hops, headers.origin) == (2, "asia")


async def test_contacts_that_were_sent_on_once_are_sent_no_further(load_agent: LoadAgent) -> None:
    _, producer = await applied(load_agent, a_record(AWAY, (("hops", b"2"), ("origin", b"asia"))))
    assert producer.topics == ["contact_rows"]


async def test_a_deletion_after_a_move_is_not_applied_to_a_user_who_has_come_back_meanwhile(
    load_agent: LoadAgent,
) -> None:
    deletions = [
        ARecord(value, key, headers)
        for user_id in (HERE, AWAY)
        for _, _, key, value, headers in deletion_records(contacts(user_id), 3)
    ]
    repository, producer = await applied(load_agent, *deletions)
    assert (repository.applied, producer.topics) == ([(3, AWAY)], ["contact_rows"])


async def test_contacts_of_an_unknown_user_wait_here_for_the_sign_up(load_agent: LoadAgent) -> None:
    repository, producer = await applied(load_agent, a_record(NEW))
    assert (repository.applied, producer.topics) == ([(3, NEW)], ["contact_rows"])


async def test_contacts_in_a_foreign_partition_are_published_in_their_users_bucket(load_agent: LoadAgent) -> None:
    repository, producer = await applied(load_agent, a_record(ELSEWHERE))
    ((topic, partition, (key, value, _)),) = producer.published
    assert (topic, partition, key, value) == ("user_contacts", 4, ELSEWHERE.encode(), a_record(ELSEWHERE).value)
    assert repository.applied == []


async def test_a_record_that_cannot_be_read_is_a_dead_letter_and_stops_nobody(load_agent: LoadAgent) -> None:
    repository, producer = await applied(load_agent, ARecord(b"not JSON", b"k"), a_record(HERE))
    assert producer.topics[0] == "dead_letters"
    assert repository.applied == [(3, HERE)]


async def test_the_batch_is_stored_again_until_the_shard_answers(load_agent: LoadAgent) -> None:
    repository, producer = await applied(load_agent, a_record(HERE), repository=FakeRepository(failures=2))
    assert (repository.calls, producer.topics) == (3, ["contact_rows", "forward.asia"])


async def test_contacts_keep_their_time_though_the_workers_clock_is_behind(load_agent: LoadAgent) -> None:
    """Dated an hour back they would lose against those of before."""
    stored: list[datetime] = []

    class Dated(FakeRepository):
        async def apply(self, records: Iterable[BucketedContacts]) -> dict[str, StoredContacts]:
            records = list(records)
            stored.extend(one.updated_at for _, one in records)
            return await super().apply(records)

    agent = load_agent("registry", "agents.apply_contacts")
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    value = msgspec.json.encode(msgspec.structs.replace(contacts(HERE), updated_at=at))
    event = FakeEvent(a_batch(ARecord(value, timestamp=int(at.timestamp() * 1000)), topic="user_contacts"))
    parts = (Dated(), FakeProducer(), HOMES.get, a_placement, SETTINGS, none_erased, lambda bucket: at)
    await agent.apply_contacts(event, *parts)
    assert stored == [at]
