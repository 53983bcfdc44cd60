"""`users forget` on the real stack: what a byte search finds afterwards is what the certificate names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import bson
import msgspec
import pytest
import pytest_asyncio
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from notify_streams.admin.audit.topics import TopicReader
from notify_streams.stores import dynamodb
from notify_streams.stores.mongo import mongo_client
from notify_streams.stores.redis import connect
from notify_streams.topics import TopicSpec, all_topics, forward_topic
from tests.builders import trigger_json
from tests.e2e.processes import Done, until
from tests.e2e.running_region import RunningRegion, a_new_id, wait_until_known

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200), pytest.mark.asyncio(loop_scope="session")]

PHONE = "+15557654321"
ONE_REGION = {"NOTIFY_REGIONS": "[us]", "NOTIFY_STANDBY": "us"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def person(running_region: RunningRegion) -> str:
    """With push, SMS and mail, who has turned marketing off by mail, and was notified."""
    user_id, region = a_new_id("person"), running_region
    await region.sign_up(
        user_id,
        push=f"token-of-{user_id}",
        sms=PHONE,
        opted_out=[("marketing", "email")],
        email=f"{user_id}@example.org",
    )
    await region.drained()
    await wait_until_known(region, user_id)
    await region.assert_notified_once(await region.trigger(user_id))
    return user_id


async def test_export_and_consent_show_what_is_known_and_what_was_chosen(
    running_region: RunningRegion, person: str
) -> None:
    region = running_region
    done = await region.cli("users", "export", person, "--json", stdin=b"", **ONE_REGION)
    assert done.status == 0, done.err
    known = done.json["regions"]["us"]
    assert set(known) == {"registry", "contacts", "choices", "consents", "notifications"}
    assert known["contacts"][0]["sms"] == PHONE and known["registry"][0]["region"] == "us"
    (notification,) = known["notifications"]
    history = [one["state"] for delivery in notification["deliveries"].values() for one in delivery.get("history", ())]
    assert history.count("sent") == 2
    done = await region.cli("consent", person, "--json", stdin=b"", **ONE_REGION)
    shown = done.json["regions"]["us"]
    (choice,) = shown["consents"]
    assert (choice["category"], choice["channel"], choice["opted_in"], choice["source"]) == (
        "marketing",
        "email",
        False,
        "app",
    )
    sent = {one["channel"]: one["preference_version"] for one in shown["deliveries"] if one["state"] == "sent"}
    assert sent == {"push": 1, "email": 1}


async def test_after_forget_a_byte_search_finds_what_the_certificate_names_and_nothing_else(
    running_region: RunningRegion, person: str
) -> None:
    region, user_id = running_region, person
    searched = [word.encode() for word in (user_id, PHONE, f"token-of-{user_id}", f"{user_id}@example.org")]
    # A dead letter of the person.
    await region.send("triggers.payments", trigger_json(id=a_new_id(), user_id=user_id, category="none"), key=user_id)
    await region.drained()
    before = await found_in(region, searched)
    assert {"mongodb:contacts", "mongodb:notifications", "mongodb:preferences", "mongodb:consents"} <= before
    assert {"dynamodb", "edge", "kafka:dead_letters", "kafka:user_contacts"} <= before

    done = await forget(region, user_id, "--yes")
    assert done.status == 0, done.err
    assert user_id not in done.out and PHONE not in done.out
    trigger_id = await region.trigger(user_id)

    async def is_finished() -> bool:
        return (await forget(region, user_id, "--status")).status == 0

    await until(is_finished, "the erasure is finished")
    report = (await forget(region, user_id, "--status")).json
    found = report["regions"]["us"]["found"]
    assert found == {
        "registry": 1, "locations": 1, "contacts": 1, "timers": 0,
        "consents": found["consents"], "notifications": found["notifications"], "preferences": 1, "outcomes": found["outcomes"],
    }  # fmt: skip
    assert found["consents"] >= 1 and found["notifications"] in (1, 2) and found["outcomes"] >= 1
    await region.drained()
    assert region.channels(trigger_id) == []

    named = {f"kafka:{topic}" for one in report["remains"] for topic in one.get("topics", ())}
    # In the settings of one region there are no topics for others.
    named |= {f"kafka:{forward_topic(name)}" for name in region.settings.regions}
    assert (left := await found_in(region, searched)) <= named, left - named
    compacted = {f"kafka:{spec.name}" for spec in all_topics(region.settings) if is_compacted(spec)}

    async def is_compact() -> bool:
        return not compacted & await found_in(region, searched)

    async with compacting(region, user_id):
        await until(is_compact, "the compacted topics have nothing of the person")
    assert (await region.audit())["holds"]


async def forget(region: RunningRegion, user_id: str, option: str) -> Done:
    """With the settings of a system of one region, so that its certificate can be whole."""
    return await region.cli("users", "forget", user_id, option, "--json", stdin=b"", **ONE_REGION)


@asynccontextmanager
async def compacting(region: RunningRegion, user_id: str) -> AsyncIterator[None]:
    """Compact in seconds what brokers compact within a day. Each record begins a segment, so that the one before it is compacted."""
    compacted = {spec.name: dict(spec.config) for spec in all_topics(region.settings) if is_compacted(spec)}
    assert {(one["max.compaction.lag.ms"], one["delete.retention.ms"]) for one in compacted.values()} == {
        ("86400000", "86400000")
    }
    at_once = {
        "max.compaction.lag.ms": "1",
        "delete.retention.ms": "0",
        "segment.ms": "1",
        "min.cleanable.dirty.ratio": "0",
    }
    await alter(
        region, {"1": {"log.cleaner.backoff.ms": "200"}}, {name: one | at_once for name, one in compacted.items()}
    )
    stopped = asyncio.Event()

    async def roll() -> None:
        while not stopped.is_set():
            for topic in compacted:
                await region.send(topic, None, key=b"no person", partition=region.bucket(user_id))
            await asyncio.sleep(0.5)

    rolling = asyncio.create_task(roll())
    try:
        yield
    finally:
        stopped.set()
        await rolling
        await alter(region, {"1": {}}, compacted)


def is_compacted(spec: TopicSpec) -> bool:
    return spec.config.get("cleanup.policy") == "compact"


async def alter(region: RunningRegion, brokers: dict[str, dict[str, str]], topics: dict[str, dict[str, str]]) -> None:
    admin = region.kafka_admin()
    await admin.start()
    try:
        resources = [ConfigResource(ConfigResourceType.BROKER, name, config) for name, config in brokers.items()]
        resources += [ConfigResource(ConfigResourceType.TOPIC, name, config) for name, config in topics.items()]
        for answer in await admin.alter_configs(resources):
            assert [resource[0] for resource in answer.resources] == [0] * len(answer.resources), answer
    finally:
        await admin.close()


async def found_in(region: RunningRegion, words: list[bytes]) -> set[str]:
    """The places where one of the words is: each document, key, item, record, file and log line is searched."""
    found: set[str] = set()

    def search(place: str, content: bytes) -> None:
        if any(word in content for word in words):
            found.add(place)

    settings = region.settings
    for uri in settings.shards:
        async with mongo_client(uri, settings.mongo_security, "tests", 30.0) as client:
            database = client[settings.database]
            for name in await database.list_collection_names():
                async for document in database[name].find():
                    search(f"mongodb:{name}", bson.encode(document))
    patient = msgspec.structs.replace(settings.preferences, redis_timeout_s=10.0)
    async with connect(msgspec.structs.replace(settings, preferences=patient)) as redis:
        async for key in redis.scan_iter():
            search("redis", key + b" " + (await redis.dump(key) or b""))
    async with dynamodb.client(settings.dynamodb) as registry:
        page = await registry.scan(TableName=settings.users_table)
        search("dynamodb", json.dumps(page["Items"]).encode())
    async with TopicReader(settings) as topics:
        async for place, record in topics.read([spec.name for spec in all_topics(settings) if spec.partitions > 1]):
            parts = [record.key or b"", record.value or b"", *(content or b"" for _, content in record.headers)]
            search(f"kafka:{place.topic}", b" ".join(parts))
    folder = region.stack.folder / "us"
    for file in folder.rglob("*"):
        part = file.relative_to(folder).parts[0]
        if file.is_file() and part not in ("kafka", "redis", "dynamodb", "sandbox") and not part.startswith("shard"):
            search("edge" if part == "edge" else str(file), file.name.encode() + file.read_bytes())
    return found
