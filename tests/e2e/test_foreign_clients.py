"""Triggers of clients that are not ours arrive like any other: accepted by the providers exactly once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from zlib import crc32

import pytest
from aiokafka import AIOKafkaProducer
from cloudevents.core.bindings.kafka import KafkaMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import Producer

from devtools.stack.maven import jars, java
from tests.builders import trigger_fields, trigger_json
from tests.e2e.processes import ended
from tests.e2e.running_region import CROWD, RegionAtWork, a_new_id

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="session")]

TOPIC = "triggers.payments"


@pytest.fixture
def kcat() -> str:
    found = shutil.which("kcat")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("kcat is not installed (Debian: apt-get install kcat)")
        pytest.skip("kcat is not installed (Debian: apt-get install kcat)")
    return found


async def arrive(region: RegionAtWork, ids: list[str]) -> None:
    """Each of these was accepted once a channel."""
    await region.closed()
    assert {identity: region.channels(identity) for identity in ids} == {
        identity: ["email", "push"] for identity in ids
    }


async def test_kcat_hashes_keys_its_own_way_and_all_arrive(region_at_work: RegionAtWork, kcat: str) -> None:
    partitions = region_at_work.settings.partitions
    astray = sum(crc32(user_id.encode()) % partitions != region_at_work.bucket(user_id) for user_id in CROWD)
    before = (await region_at_work.closed())["repartitioned"]
    ids = [a_new_id("kcat") for _ in CROWD]
    lines = [
        user_id.encode() + b"|" + trigger_json(id=identity, user_id=user_id) + b"\n"
        for identity, user_id in zip(ids, CROWD, strict=True)
    ]
    command = [kcat, "-P", "-b", region_at_work.settings.kafka, "-t", TOPIC, "-K", "|"]
    done = await ended(command, os.environ, b"".join(lines))
    assert done.status == 0, done.err
    await arrive(region_at_work, ids)
    assert (await region_at_work.audit())["regions"]["us"]["repartitioned"] - before == astray > 0


async def test_kcat_with_kafkas_partitioner_spares_the_detour(region_at_work: RegionAtWork, kcat: str) -> None:
    before = (await region_at_work.closed())["repartitioned"]
    ids = [a_new_id("kcat") for _ in CROWD]
    lines = [
        user_id.encode() + b"|" + trigger_json(id=identity, user_id=user_id) + b"\n"
        for identity, user_id in zip(ids, CROWD, strict=True)
    ]
    options = ["-X", "partitioner=murmur2_random", "-K", "|"]
    done = await ended(
        [kcat, "-P", "-b", region_at_work.settings.kafka, "-t", TOPIC, *options], os.environ, b"".join(lines)
    )
    assert done.status == 0, done.err
    await arrive(region_at_work, ids)
    assert (await region_at_work.audit())["regions"]["us"]["repartitioned"] == before


async def test_kcat_may_send_any_bytes_as_a_header(region_at_work: RegionAtWork, kcat: str) -> None:
    identity, behind = a_new_id("kcat"), a_new_id("kcat")
    for trigger_id, header in ((identity, b"\xff\xfename=\xff"), (behind, b"critical=1")):
        command = [kcat, "-P", "-b", region_at_work.settings.kafka, "-t", TOPIC, "-k", "ada", "-H", header]
        done = await ended(command, os.environ, trigger_json(id=trigger_id, user_id="ada"))
        assert done.status == 0, done.err
    await arrive(region_at_work, [identity, behind])
    assert [line.critical for line in region_at_work.record()[behind]] == [True, True]


async def test_kafkas_own_console_producer(region_at_work: RegionAtWork) -> None:
    ids = {user_id: a_new_id("console") for user_id in CROWD[:4]}
    lines = [
        f"traceparent:00-1,team:payments\t{user_id}\t{trigger_json(id=identity, user_id=user_id).decode()}\n"
        for user_id, identity in ids.items()
    ]
    before = (await region_at_work.closed())["repartitioned"]
    options = ["--bootstrap-server", region_at_work.settings.kafka, "--topic", TOPIC]
    properties = ["--property", "parse.key=true", "--property", "parse.headers=true"]
    program = [java(), "-XX:TieredStopAtLevel=1", "-cp", f"{jars('kafka-tools')}/*"]
    done = await ended(
        [*program, "org.apache.kafka.tools.ConsoleProducer", *options, *properties], os.environ, "".join(lines).encode()
    )
    assert done.status == 0, done.err
    await arrive(region_at_work, list(ids.values()))
    assert (await region_at_work.audit())["regions"]["us"]["repartitioned"] == before, "Java hashes as we do"


Mode = Callable[[CloudEvent], KafkaMessage]


@pytest.mark.parametrize("mode", [to_structured_event, to_binary_event], ids=["structured", "binary"])
@pytest.mark.parametrize("own_id", [True, False], ids=["id in the data", "the event's id is the trigger's"])
async def test_cloudevents_through_librdkafka(region_at_work: RegionAtWork, mode: Mode, own_id: bool) -> None:
    identity = a_new_id("ce")
    event = an_event(identity, own_id)
    producer = Producer({"bootstrap.servers": region_at_work.settings.kafka, "partitioner": "murmur2_random"})
    message = mode(event)
    producer.produce(TOPIC, message.value, message.key, headers=list(message.headers.items()))
    assert producer.flush(30) == 0
    await arrive(region_at_work, [identity])


@pytest.mark.parametrize("mode", [to_structured_event, to_binary_event], ids=["structured", "binary"])
async def test_cloudevents_through_aiokafka(region_at_work: RegionAtWork, mode: Mode) -> None:
    identity = a_new_id("ce")
    message = mode(an_event(identity, own_id=False))
    async with AIOKafkaProducer(bootstrap_servers=region_at_work.settings.kafka) as producer:
        await producer.send_and_wait(TOPIC, message.value, b"ada", headers=list(message.headers.items()))
    await arrive(region_at_work, [identity])


async def test_the_same_event_in_both_modes_is_one_notification(region_at_work: RegionAtWork) -> None:
    identity = a_new_id("ce")
    before = (await region_at_work.closed())["duplicate"]
    for mode in (to_structured_event, to_binary_event):
        message = mode(an_event(identity, own_id=False))
        await region_at_work.send(TOPIC, message.value, key="ada", headers=list(message.headers.items()))
    await arrive(region_at_work, [identity])
    assert (await region_at_work.audit())["regions"]["us"]["duplicate"] - before == 1


def an_event(identity: str, own_id: bool) -> CloudEvent:
    """A trigger for Ada in an envelope; `own_id`: the trigger's id is in the data, and the event has another."""
    data = trigger_fields(id=identity if own_id else ..., user_id="ada")
    attributes = {
        "id": a_new_id("event") if own_id else identity,
        "source": "/payments/ledger",
        "type": "com.example.payment.received",
        "datacontenttype": "application/json",
        "partitionkey": "ada",
    }
    return CloudEvent(attributes, data)
