"""`agents.apply_contacts`: the newest contacts that may lie here are in the table before the acknowledgement."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from notify_streams.records.batch import Headers
from notify_streams.regions.contacts_writer import ContactsWriter
from tests.agents.agent_fakes import FakeEvent, FakeTable
from tests.agents.conftest import LoadAgent
from tests.builders import NOON, ARecord, a_batch, a_placement, contacts, some_settings

HOMES = {"u-here": "us", "u-away": "eu"}


def a_writer(table: FakeTable) -> ContactsWriter:
    return ContactsWriter(table, HOMES.get, a_placement, some_settings())


def a_record(user_id: str, headers: Headers = (), minutes: int = 0) -> ARecord:
    record = msgspec.structs.replace(contacts(user_id), updated_at=NOON + timedelta(minutes=minutes))
    return ARecord(msgspec.json.encode(record), user_id.encode(), headers)


def an_event(*records: ARecord | bytes) -> FakeEvent:
    return FakeEvent(a_batch(*records, topic="user_contacts"))


async def test_the_newest_contacts_of_each_user_are_kept(load_agent: LoadAgent) -> None:
    agent = load_agent("standard", "agents.apply_contacts")
    table, newest, new = FakeTable(), a_record("u-here", minutes=2), a_record("u-new")
    event = an_event(a_record("u-here"), newest, a_record("u-here", minutes=1), new, b"not JSON")
    await agent.apply_contacts(event, a_writer(table))
    assert table.rows == {(3, b"u-here"): newest.value, (3, b"u-new"): new.value}
    assert event.acknowledged == 1


async def test_an_older_record_does_not_replace_a_row(load_agent: LoadAgent) -> None:
    agent = load_agent("standard", "agents.apply_contacts")
    row = a_record("u-here", minutes=1).value or b""
    table, event = FakeTable({(3, b"u-here"): row}), an_event(a_record("u-here"))
    await agent.apply_contacts(event, a_writer(table))
    assert (table.rows, event.acknowledged) == ({(3, b"u-here"): row}, 1)


async def test_contacts_of_another_home_region_are_kept_only_if_that_region_sent_them(load_agent: LoadAgent) -> None:
    agent = load_agent("standard", "agents.apply_contacts")
    table, entered_here = FakeTable(), an_event(a_record("u-away"))
    await agent.apply_contacts(entered_here, a_writer(table))
    assert (table.rows, entered_here.acknowledged) == ({}, 1)
    sent = a_record("u-away", (("hops", b"1"), ("origin", b"eu")))
    await agent.apply_contacts(an_event(sent), a_writer(table))
    assert table.rows == {(3, b"u-away"): sent.value}


async def test_rows_are_written_again_until_the_changelog_has_them(load_agent: LoadAgent) -> None:
    agent = load_agent("standard", "agents.apply_contacts")
    table, event = FakeTable(failures=2), an_event(a_record("u-here"))
    await agent.apply_contacts(event, a_writer(table))
    assert (len(table.rows), event.acknowledged) == (1, 1)


async def test_a_batch_of_a_lost_partition_is_not_acknowledged(load_agent: LoadAgent) -> None:
    agent = load_agent("standard", "agents.apply_contacts")
    event = an_event(a_record("u-here"))
    await agent.apply_contacts(event, a_writer(FakeTable(owned=False)))
    assert event.acknowledged == 0
