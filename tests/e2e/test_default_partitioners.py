"""Clients with librdkafka's own partitioner (CRC32) may write every record about a user, each to another partition than Kafka's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import msgspec
import pytest
from confluent_kafka import Producer

from devtools.stack.kafka_rights import librdkafka_options
from notify_streams.records.user_records import Contacts, PreferenceUpdate, Signup
from notify_streams.topics import PREFERENCE_UPDATES, USER_CONTACTS, USER_SIGNUPS
from tests.builders import trigger_json
from tests.e2e.kcat import kcat
from tests.e2e.processes import run_to_end
from tests.e2e.running_region import RunningRegion, a_new_id, wait_until_known

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1_800), pytest.mark.asyncio(loop_scope="session")]

#: Key and value.
Row = tuple[str, bytes]


async def by_kcat(options: Mapping[str, str], topic: str, rows: Iterable[Row]) -> None:
    lines = b"".join(key.encode() + b"|" + value + b"\n" for key, value in rows)
    servers, *others = options.items()
    words = ["-b", servers[1], *(word for name, value in others for word in ("-X", f"{name}={value}"))]
    done = await run_to_end(["kcat", "-P", *words, "-t", topic, "-K", "|"], os.environ, lines)
    assert done.status == 0, done.err


async def by_confluent_kafka(options: Mapping[str, str], topic: str, rows: Iterable[Row]) -> None:
    producer = Producer(dict(options))
    for key, value in rows:
        producer.produce(topic, value, key)
    assert producer.flush(60) == 0


CLIENTS = {"kcat": by_kcat, "confluent-kafka": by_confluent_kafka}


@pytest.mark.parametrize("number", [100, pytest.param(1_000, marks=pytest.mark.drill)])
@pytest.mark.parametrize("client", CLIENTS)
async def test_all_arrive_and_all_choices_hold(running_region: RunningRegion, client: str, number: int) -> None:
    if client == "kcat":
        kcat(running_region.settings.kafka_security)
    users = [a_new_id(client) for _ in range(number)]
    opted_out = set(users[::2])

    settings = running_region.settings
    options = {"bootstrap.servers": settings.kafka, **librdkafka_options(settings.kafka_security)}

    async def write(topic: str, values: Mapping[str, bytes]) -> None:
        await CLIENTS[client](options, topic, values.items())

    now, encode = datetime.now(UTC), msgspec.json.encode
    await write(
        USER_CONTACTS, {one: encode(Contacts(one, now, f"token-{one}", None, f"{one}@example.org")) for one in users}
    )
    await write(
        PREFERENCE_UPDATES,
        {one: encode(PreferenceUpdate(one, "payments", "push", one not in opted_out, now)) for one in users},
    )
    await write(USER_SIGNUPS, {one: encode(Signup(one, "us", now)) for one in users})
    await running_region.drained()
    await wait_until_known(running_region, *users)
    ids = {one: a_new_id(client) for one in users}
    await write("triggers.payments", {one: trigger_json(id=ids[one], user_id=one) for one in users})
    await running_region.audited()
    log = running_region.provider_log()
    assert {one: sorted(line.channel for line in log.get(ids[one], ())) for one in users} == {
        one: ["email"] if one in opted_out else ["email", "push"] for one in users
    }
