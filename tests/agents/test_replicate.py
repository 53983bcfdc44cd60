"""`agents.replicate`: copies are published, and contacts in the table, before the acknowledgement."""

from __future__ import annotations

import msgspec

from notify_streams.records.batch import Headers
from notify_streams.records.user_records import PreferenceUpdate
from notify_streams.regions.contacts_writer import ContactsWriter
from tests.agents.agent_fakes import FakeEvent, FakeProducer, FakeTable
from tests.agents.conftest import LoadAgent
from tests.builders import NOON, ARecord, a_batch, a_placement, contacts, some_settings

SETTINGS = some_settings(standby="asia")
HOMES = {"u-here": "us", "u-away": "eu"}
FROM_EU: Headers = (("hops", b"1"), ("origin", b"eu"))


def an_update(headers: Headers = ()) -> FakeEvent:
    value = msgspec.json.encode(PreferenceUpdate("u-here", "marketing", "push", True, NOON))
    return FakeEvent(a_batch(ARecord(value, b"u-here", headers), topic="preference_updates"))


def some_contacts(user_id: str, headers: Headers = ()) -> FakeEvent:
    value = msgspec.json.encode(contacts(user_id))
    return FakeEvent(a_batch(ARecord(value, user_id.encode(), headers), topic="user_contacts"))


async def replicate(load_agent: LoadAgent, event: FakeEvent, table: FakeTable, producer: FakeProducer) -> None:
    agent = load_agent("registry", "agents.replicate")
    writer = ContactsWriter(table, HOMES.get, a_placement, SETTINGS)
    await agent.replicate_contacts(event, writer, producer, HOMES.get, a_placement(), SETTINGS)


async def test_a_choice_is_copied_to_every_other_region(load_agent: LoadAgent) -> None:
    agent = load_agent("registry", "agents.replicate")
    event, producer = an_update(), FakeProducer(failures=2)
    await agent.replicate_preferences(event, producer, SETTINGS)
    assert producer.topics == ["forward.eu", "forward.asia"]
    assert {(partition, key) for _, partition, (key, _, _) in producer.published} == {(3, b"u-here")}
    assert event.acknowledged == 1


async def test_a_choice_that_another_region_sent_is_not_copied_again(load_agent: LoadAgent) -> None:
    agent = load_agent("registry", "agents.replicate")
    event, producer = an_update(FROM_EU), FakeProducer()
    await agent.replicate_preferences(event, producer, SETTINGS)
    assert (producer.published, event.acknowledged) == ([], 1)


async def test_contacts_of_a_user_at_home_are_kept_and_copied_to_the_standby(load_agent: LoadAgent) -> None:
    event, table, producer = some_contacts("u-here"), FakeTable(failures=1), FakeProducer(failures=1)
    await replicate(load_agent, event, table, producer)
    assert [*table.rows] == [(3, b"u-here")]
    assert (producer.topics, event.acknowledged) == (["forward.asia"], 1)


async def test_contacts_of_a_user_of_another_region_are_sent_there_and_not_kept(load_agent: LoadAgent) -> None:
    event, table, producer = some_contacts("u-away"), FakeTable(), FakeProducer()
    await replicate(load_agent, event, table, producer)
    assert (table.rows, producer.topics, event.acknowledged) == ({}, ["forward.eu"], 1)


async def test_contacts_of_an_unknown_user_wait_here_for_the_sign_up(load_agent: LoadAgent) -> None:
    event, table, producer = some_contacts("u-new"), FakeTable(), FakeProducer()
    await replicate(load_agent, event, table, producer)
    assert [*table.rows] == [(3, b"u-new")]
    assert (producer.topics, event.acknowledged) == ([], 1)


async def test_a_batch_of_a_lost_partition_is_neither_copied_nor_acknowledged(load_agent: LoadAgent) -> None:
    event, producer = some_contacts("u-here"), FakeProducer()
    await replicate(load_agent, event, FakeTable(owned=False), producer)
    assert (producer.topics, event.acknowledged) == ([], 0)
