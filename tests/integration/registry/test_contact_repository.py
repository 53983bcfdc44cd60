"""Contacts in MongoDB, on real replica sets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from notify_streams.records.devices import Device
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.user_records import Contacts, decode_contact_row
from notify_streams.registry.contact_repository import ContactRepository
from notify_streams.settings import Settings
from notify_streams.stores.mongo import CONTACTS, Shards

pytestmark = pytest.mark.stack

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
USERS = [f"u-{number}" for number in range(40)]


@pytest.fixture
async def shards(mongo_shards: list[str]) -> AsyncIterator[Shards]:
    name = f"t{uuid4().hex[:12]}"
    shards = Shards(Settings(region="us", kafka="none", redis="none", shards=tuple(mongo_shards), database=name))
    await shards.start()
    yield shards
    for shard in range(len(shards)):
        await shards.client(shard).drop_database(name)
    await shards.close()


@pytest.fixture
def repository(shards: Shards) -> ContactRepository:
    return ContactRepository(shards)


def some(
    user_id: str, minutes: int, push: str | None = None, sms: str | None = None, email: str | None = None
) -> tuple[int, Contacts]:
    return bucket_of(user_id, 8), Contacts(user_id, NOON + timedelta(minutes=minutes), push, sms, email)


def removal(user_id: str, minutes: int, push: str) -> tuple[int, Contacts]:
    return bucket_of(user_id, 8), Contacts(user_id, NOON + timedelta(minutes=minutes), remove={"push": push})


async def test_the_newest_record_replaces_the_whole_state_in_any_order(repository: ContactRepository) -> None:
    """A field that begins with a dollar sign is text, not a field of MongoDB."""
    await repository.apply([some(user, 1, push="old", sms="+15551234567") for user in USERS])
    newest = [some(user, 3, push="$updated_at", email=f"{user}@example.org") for user in USERS]
    stored = await repository.apply([*newest, *[some(user, 2, push="late") for user in USERS]])
    assert {user: one.contacts for user, one in stored.items()} == {one.user_id: one for _, one in newest}
    again = await repository.apply([some(user, 2, push="late") for user in USERS])
    assert again == stored, "an older record changes nothing"
    assert await repository.read({user: bucket_of(user, 8) for user in USERS}) == {
        user: one.contacts for user, one in stored.items()
    }


async def test_of_two_records_with_one_time_the_later_one_wins_and_its_row_is_newer(
    repository: ContactRepository,
) -> None:
    first = (await repository.apply([some("u-1", 1, push="a")]))["u-1"]
    second = (await repository.apply([some("u-1", 1)]))["u-1"]
    assert second.contacts.push is None
    row = decode_contact_row(second.row())
    assert (row.push, row.version > decode_contact_row(first.row()).version) == (None, True)


async def test_contacts_that_are_stored_with_a_time_ahead_do_not_win_for_good(repository: ContactRepository) -> None:
    century = 60 * 24 * 365 * 100
    await repository.apply([some("u-1", century, push="forged"), some("u-2", 2, push="kept")])
    stored = await repository.apply([some("u-1", 1, push="new"), some("u-2", 1, push="late")])
    assert (stored["u-1"].contacts.push, stored["u-2"].contacts.push) == ("new", "kept")


async def test_a_device_of_a_later_release_stops_no_batch_and_stays_stored(
    repository: ContactRepository, shards: Shards
) -> None:
    """Such as one of a push provider that this one does not have, after an update is rolled back."""
    bucket, contacts = some("u-1", 1)
    devices = (Device("t-1", "fcm", "org.example"), Device("t-2", "apns"))
    await repository.apply([(bucket, Contacts("u-1", contacts.updated_at, devices=devices))])
    stored = shards.collection(CONTACTS, bucket)
    await stored.update_one({"_id": "u-1"}, {"$set": {"devices.1.provider": "hms"}})
    found = await repository.apply([some("u-1", 0, push="late"), some("u-2", 1, push="token")])
    assert (found["u-1"].contacts.devices, found["u-2"].contacts.push) == (devices[:1], "token")
    assert len((await stored.find_one({"_id": "u-1"}) or {})["devices"]) == 2


async def test_users_without_contacts_are_left_out(repository: ContactRepository) -> None:
    assert await repository.read({"u-never": 1}) == {}
    assert await repository.apply([]) == {}


async def test_an_address_is_removed_only_where_it_is_still_the_users(repository: ContactRepository) -> None:
    stored = await repository.apply([some("u-1", 5, push="token", email="a@example.org")])
    kept = await repository.apply(
        [removal("u-1", 6, push="another"), removal("u-1", 4, push="token"), removal("u-none", 9, push="token")]
    )
    assert kept == stored, "another address, one that was given later, an unknown user"
    row = decode_contact_row((await repository.apply([removal("u-1", 5, push="token")]))["u-1"].row())
    assert (row.push, row.email, row.version > stored["u-1"].version) == (None, "a@example.org", True)


async def test_a_newer_address_survives_removals_in_any_order(repository: ContactRepository) -> None:
    """1,000 users, each with another order of registrations and removals, which are applied at the same time."""
    users = [f"u-{number}" for number in range(1_000)]
    newest: dict[str, str] = {}
    rounds: list[list[tuple[int, Contacts]]] = [[], [], [], []]
    for seed, user in enumerate(users):
        order = random.Random(seed)
        tokens = [f"{user}-{number}" for number in range(order.randint(1, 4))]
        newest[user] = tokens[-1]
        events = [some(user, number, push=token) for number, token in enumerate(tokens)]
        events += [removal(user, order.randint(number, 9), push=token) for number, token in enumerate(tokens[:-1])]
        order.shuffle(events)
        for event in events:
            order.choice(rounds).append(event)
    await asyncio.gather(*(repository.apply(events) for events in rounds))
    found = await repository.read({user: bucket_of(user, 8) for user in users})
    assert {user: contacts.push for user, contacts in found.items()} == newest


def with_devices(user_id: str, minutes: int, *devices: Device) -> tuple[int, Contacts]:
    return bucket_of(user_id, 8), Contacts(user_id, NOON + timedelta(minutes=minutes), devices=devices)


async def test_devices_are_stored_as_they_were_given(repository: ContactRepository) -> None:
    """A token that begins with a dollar sign is text, not a field of MongoDB."""
    devices = Device("$token", "fcm", "org.example.app", "pt-BR", NOON), Device("$$NOW", "apns")
    stored = (await repository.apply([with_devices("u-1", 1, *devices)]))["u-1"]
    assert stored.contacts.devices == devices and stored.contacts.push is None
    row = decode_contact_row(stored.row())
    assert [device.token for device in row.devices or ()] == ["$token", "$$NOW"]
    replaced = (await repository.apply([some("u-1", 2, push="one")]))["u-1"].contacts
    assert (replaced.push, replaced.devices) == ("one", None)


async def test_one_device_is_removed_and_the_others_stay(repository: ContactRepository) -> None:
    devices = [Device("a"), Device("b", "apns"), Device("c")]
    first = (await repository.apply([with_devices("u-1", 5, *devices)]))["u-1"]
    kept = await repository.apply([removal("u-1", 4, push="a"), removal("u-1", 9, push="other")])
    assert kept["u-1"] == first
    stored = (await repository.apply([removal("u-1", 5, push="a")]))["u-1"]
    assert stored.contacts.devices == (devices[1], devices[2]) and stored.version > first.version
    assert (await repository.apply([removal("u-1", 5, push="b")]))["u-1"].contacts.push == "c", "in the short form"
    last = (await repository.apply([removal("u-1", 5, push="c")]))["u-1"].contacts
    assert (last.push, last.devices) == (None, None)


async def test_of_several_devices_exactly_the_dead_ones_are_removed_in_any_order(repository: ContactRepository) -> None:
    """1,000 users: late reports about tokens that were registered anew, then reports about dead ones, applied at the same time."""
    users = [f"u-{number}" for number in range(1_000)]
    expected: dict[str, set[str]] = {}
    before: list[list[tuple[int, Contacts]]] = [[], [], [], []]
    after: list[list[tuple[int, Contacts]]] = [[], [], [], []]
    for seed, user in enumerate(users):
        order = random.Random(seed)
        tokens = [f"{user}-{number}" for number in range(order.randint(2, 10))]
        dead = order.sample(tokens, order.randint(0, len(tokens)))
        expected[user] = {*tokens} - {*dead}
        old = with_devices(user, 0, *[Device(token) for token in order.sample(tokens, 2)])
        new = with_devices(user, 5, *[Device(token) for token in tokens])
        late = [removal(user, order.randint(0, 4), push=token) for token in tokens]
        for event in (old, new, *late):
            order.choice(before).append(event)
        for event in (old, *late, *[removal(user, order.randint(5, 9), push=token) for token in dead]):
            order.choice(after).append(event)
    for events_of_round in (before, after):
        for events in events_of_round:
            random.Random(0).shuffle(events)
        await asyncio.gather(*(repository.apply(events) for events in events_of_round))
    found = await repository.read({user: bucket_of(user, 8) for user in users})
    held = {user: {*tokens_of(contacts)} for user, contacts in found.items()}
    assert held == expected


def tokens_of(contacts: Contacts) -> list[str]:
    return [device.token for device in contacts.devices or ()] + ([] if contacts.push is None else [contacts.push])
