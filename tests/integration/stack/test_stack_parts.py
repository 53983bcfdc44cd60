"""A private broker, replica sets, external services."""

import time
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pymongo import MongoClient

from devtools.stack import Stack
from devtools.stack.kafka import private_broker
from devtools.stack.mongodb import Member, Shard
from devtools.stack.ports import free_port

pytestmark = pytest.mark.stack


async def test_a_private_broker_keeps_a_record_after_a_kill(tmp_path: Path) -> None:
    with private_broker(tmp_path / "broker", {"log.segment.bytes": "1048576"}) as broker:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.address)
        await admin.start()
        await admin.create_topics([NewTopic("t", 2, 1)])
        producer = AIOKafkaProducer(bootstrap_servers=broker.address, acks="all")
        await producer.start()
        await producer.send_and_wait("t", b"kept", partition=1)
        await producer.stop()
        await admin.close()
        broker.kill()
        broker.start()
        consumer = AIOKafkaConsumer("t", bootstrap_servers=broker.address, auto_offset_reset="earliest")
        await consumer.start()
        record = await consumer.getone()
        await consumer.stop()
    assert (record.value, record.partition) == (b"kept", 1)
    assert broker.state == "stopped"


def test_a_shard_of_three_elects_a_new_primary(tmp_path: Path) -> None:
    first = free_port(count=3)
    members = [Member(f"x/{at}", tmp_path / str(at), first + at, "x") for at in range(3)]
    shard = Shard("x", "x", members)
    try:
        shard.start()
        with MongoClient[dict[str, Any]](shard.address, w="majority", serverSelectionTimeoutMS=10_000) as client:
            client.notify.kept.insert_one({"_id": 1})
            dead = shard.primary()
            assert dead is not None
            dead.kill()
            began = time.monotonic()
            client.notify.kept.insert_one({"_id": 2})
            assert time.monotonic() - began < 8
            assert dead.start() is True
            shard.start()
            assert shard.primary() is not dead
            assert client.notify.kept.count_documents({}) == 2
    finally:
        shard.stop()


def test_a_shard_grows_from_one_member_to_three(tmp_path: Path) -> None:
    first = free_port(count=3)
    members = [Member(f"x/{at}", tmp_path / str(at), first + at, "x") for at in range(3)]
    try:
        Shard("x", "x", members[:1]).start()
        grown = Shard("x", "x", members)
        grown.start()
        with MongoClient[dict[str, Any]](grown.address) as client:
            states = [member["stateStr"] for member in client.admin.command("replSetGetStatus")["members"]]
        assert sorted(states) == ["PRIMARY", "SECONDARY", "SECONDARY"]
    finally:
        Shard("x", "x", members).stop()


def test_external_services_are_used_and_not_started(stack: Stack, private_stack: Stack) -> None:
    external = stack.settings("us")
    named = {
        "NOTIFY_KAFKA": external["kafka"],
        "NOTIFY_SHARDS": str(external["shards"]),
        "NOTIFY_REDIS": external["redis"],
        "NOTIFY_DYNAMODB": external["dynamodb"],
    }
    user = Stack(private_stack.folder, named)
    assert {*user.up(["us"])} - {"us/edge"} == {"us/sandbox"}
    assert {key: user.settings("us")[key] for key in ("kafka", "shards", "redis", "dynamodb")} == {
        key: external[key] for key in ("kafka", "shards", "redis", "dynamodb")
    }
    user.down()
    assert stack.region("us").kafka.is_healthy()
