"""Triggers from kcat, Java, librdkafka and CloudEvents clients are notified exactly once."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from zlib import crc32

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import Producer

from devtools.stack.kafka_rights import librdkafka_options
from devtools.stack.maven import jars, java
from tests.builders import trigger_fields, trigger_json
from tests.e2e.kcat import kcat
from tests.e2e.processes import run_to_end
from tests.e2e.running_region import USERS, RunningRegion, a_new_id

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200), pytest.mark.asyncio(loop_scope="session")]

TOPIC = "triggers.payments"


@pytest.fixture
def kcat_producer(running_region: RunningRegion) -> list[str]:
    """The command of a producer."""
    found = kcat(running_region.security_of("system-payments"))
    return [found, "-P", "-b", running_region.settings.kafka, "-t", TOPIC]


async def produce(command: Sequence[str | bytes], records: bytes) -> None:
    """Run a producer that reads records from its standard input."""
    done = await run_to_end(command, os.environ, records)
    assert done.status == 0, done.err


@pytest.mark.parametrize("partitioner", [(), ("-X", "partitioner=murmur2_random")], ids=["its own", "Kafka's"])
async def test_kcat_causes_repartitioning_unless_it_has_kafkas_partitioner(
    running_region: RunningRegion, kcat_producer: list[str], partitioner: tuple[str, ...]
) -> None:
    partitions = running_region.settings.partitions
    astray = sum(crc32(user_id.encode()) % partitions != running_region.bucket(user_id) for user_id in USERS)
    before = (await running_region.audited())["repartitioned"]
    ids = [a_new_id("kcat") for _ in USERS]
    lines = [
        user_id.encode() + b"|" + trigger_json(id=trigger_id, user_id=user_id) + b"\n"
        for trigger_id, user_id in zip(ids, USERS, strict=True)
    ]
    await produce([*kcat_producer, *partitioner, "-K", "|"], b"".join(lines))
    sums = await running_region.assert_notified_once(*ids)
    assert astray > 0
    assert sums["repartitioned"] - before == (0 if partitioner else astray)


async def test_kcat_may_send_any_bytes_as_a_header(running_region: RunningRegion, kcat_producer: list[str]) -> None:
    first, second = a_new_id("kcat"), a_new_id("kcat")
    for trigger_id, header in ((first, b"\xff\xfename=\xff"), (second, b"critical=1")):
        await produce([*kcat_producer, "-k", "ada", "-H", header], trigger_json(id=trigger_id, user_id="ada"))
    await running_region.assert_notified_once(first, second)
    assert [line.critical for line in running_region.provider_log()[second]] == [True, True]


async def test_kafkas_own_console_producer(running_region: RunningRegion) -> None:
    ids = {user_id: a_new_id("console") for user_id in USERS[:4]}
    lines = [
        f"traceparent:00-1,team:payments\t{user_id}\t{trigger_json(id=trigger_id, user_id=user_id).decode()}\n"
        for user_id, trigger_id in ids.items()
    ]
    before = (await running_region.audited())["repartitioned"]
    options = ["--bootstrap-server", running_region.settings.kafka, "--topic", TOPIC]
    security = running_region.security_of("system-payments")
    if security.password and security.tls:
        login = f'username="{security.username}" password="{security.password.reveal()}"'
        for option in (
            f"security.protocol={security.protocol}",
            f"sasl.mechanism={security.mechanism}",
            f"sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required {login};",
            "ssl.truststore.type=PEM",
            f"ssl.truststore.location={security.tls.ca_file}",
        ):
            options += ["--producer-property", option]
    properties = ["--property", "parse.key=true", "--property", "parse.headers=true"]
    program = [java(), "-XX:TieredStopAtLevel=1", "-cp", f"{jars('kafka-tools')}/*"]
    await produce([*program, "org.apache.kafka.tools.ConsoleProducer", *options, *properties], "".join(lines).encode())
    sums = await running_region.assert_notified_once(*ids.values())
    assert sums["repartitioned"] == before, "Kafka's Java client partitions as we do"


Mode = Callable[[CloudEvent], KafkaMessage]


@pytest.mark.parametrize("mode", [to_structured_event, to_binary_event], ids=["structured", "binary"])
@pytest.mark.parametrize("own_id", [True, False], ids=["id in the data", "the event's id is the trigger's"])
async def test_cloudevents_through_librdkafka(running_region: RunningRegion, mode: Mode, own_id: bool) -> None:
    trigger_id = a_new_id("ce")
    options = librdkafka_options(running_region.security_of("system-payments"))
    options |= {"bootstrap.servers": running_region.settings.kafka, "partitioner": "murmur2_random"}
    producer = Producer(options)
    message = mode(an_event(trigger_id, own_id))
    producer.produce(TOPIC, message.value, message.key, headers=list(message.headers.items()))
    assert producer.flush(30) == 0
    await running_region.assert_notified_once(trigger_id)


@pytest.mark.parametrize("mode", [to_structured_event, to_binary_event], ids=["structured", "binary"])
async def test_cloudevents_through_aiokafka(running_region: RunningRegion, mode: Mode) -> None:
    trigger_id = a_new_id("ce")
    message = mode(an_event(trigger_id, own_id=False))
    async with running_region.producer() as producer:
        await producer.send_and_wait(TOPIC, message.value, b"ada", headers=list(message.headers.items()))
    await running_region.assert_notified_once(trigger_id)


async def test_the_same_event_in_both_modes_is_one_notification(running_region: RunningRegion) -> None:
    trigger_id = a_new_id("ce")
    before = (await running_region.audited())["duplicate"]
    for mode in (to_structured_event, to_binary_event):
        message = mode(an_event(trigger_id, own_id=False))
        await running_region.send(TOPIC, message.value, key="ada", headers=list(message.headers.items()))
    sums = await running_region.assert_notified_once(trigger_id)
    assert sums["duplicate"] - before == 1


def an_event(trigger_id: str, own_id: bool) -> CloudEvent:
    """A trigger for ada as a CloudEvent. `own_id`: the data has a trigger id that differs from the event id."""
    data = trigger_fields(id=trigger_id if own_id else ..., user_id="ada")
    attributes = {
        "id": a_new_id("event") if own_id else trigger_id,
        "source": "/payments/ledger",
        "type": "com.example.payment.received",
        "datacontenttype": "application/json",
        "partitionkey": "ada",
    }
    return CloudEvent(attributes, data)
