"""A registry worker with real services: a rebuilt locations topic, contacts deleted after a move, throttling."""

from __future__ import annotations

import time

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from notify_streams.admin.topics import ensure_topics
from notify_streams.records.user_records import Contacts, Signup
from notify_streams.registry.user import User
from notify_streams.topics import USER_CONTACTS, USER_LOCATIONS, USER_SIGNUPS
from tests.integration.registry.registry_region import RegistryRegion, now, until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


async def test_a_lost_locations_topic_is_rebuilt_from_the_registry(region: RegistryRegion) -> None:
    homes = {f"l-{number}": ("us", "eu", "asia")[number % 3] for number in range(60)}
    await region.registry.put_many([User(user_id, region, 1, now()) for user_id, region in homes.items()])

    async def all_there() -> bool:
        found = await region.last(USER_LOCATIONS)
        return {user_id: found[user_id]["region"] for user_id in homes if user_id in found} == homes

    await until(all_there)
    await region.stop()
    admin = AIOKafkaAdminClient(bootstrap_servers=region.settings.kafka)
    await admin.start()
    await admin.delete_topics([USER_LOCATIONS])
    await until(lambda: _gone(admin))
    await admin.close()
    await ensure_topics(region.settings)
    assert await region.last(USER_LOCATIONS) == {}
    await region.start()
    await until(all_there)


async def test_contacts_are_deleted_after_a_move_except_at_the_standby(region: RegistryRegion) -> None:
    standbys = {"c-leaves": "asia", "c-stays": "us"}
    for user_id in (*standbys, "c-later"):
        await region.send(USER_SIGNUPS, Signup(user_id, "us", now()))
        await region.send(USER_CONTACTS, Contacts(user_id, now(), email=f"{user_id}@example.org"))

    async def known() -> bool:
        found = await region.registry.get_many([*standbys, "c-later"])
        return {user.standby for user in found.values()} == {region.settings.standby} and len(found) == 3

    await until(known)
    for user_id, standby in standbys.items():
        await region.registry.put(User(user_id, "eu", 2, now(), standby=standby, previous="us"))

    async def left(user_id: str) -> bool:
        return "email" not in (await region.last(USER_CONTACTS))[user_id]

    await until(lambda: left("c-leaves"))
    found = await region.last(USER_CONTACTS)
    assert found["c-stays"]["email"] == "c-stays@example.org"
    # A record that enters here for a user of another region is copied there, not stored: nothing to delete again.
    await region.send(USER_CONTACTS, Contacts("c-leaves", now(), email="new@example.org"))
    await region.send(USER_CONTACTS, Contacts("c-stays", now(), email="mark@example.org"), ("hops", b"1"))
    # This move is found by a later comparison, which would also have found the users before it.
    await region.registry.put(User("c-later", "eu", 2, now(), standby="asia", previous="us"))
    await until(lambda: left("c-later"))
    assert (await region.last(USER_CONTACTS))["c-leaves"].get("email") == "new@example.org"


async def test_a_throttled_registry_delays_sign_ups_and_loses_none(region: RegistryRegion) -> None:
    before = region.throttled.calls.total()
    region.throttled.refuse = 40
    began = time.monotonic()
    users = [f"t-{number}" for number in range(30)]
    for user_id in users:
        await region.send(USER_SIGNUPS, Signup(user_id, "us", now()))

    async def all_there() -> bool:
        return len(await region.registry.get_many(users)) == len(users)

    await until(all_there)
    assert region.throttled.refuse == 0, "the registry was never refused"
    assert region.throttled.calls.total() - before > 40
    print(f"through the throttling after {time.monotonic() - began:.1f} s")


async def _gone(admin: AIOKafkaAdminClient) -> bool:
    return USER_LOCATIONS not in await admin.list_topics()
