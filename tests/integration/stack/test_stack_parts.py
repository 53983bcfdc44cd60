"""Single parts of a stack: a private broker, a replica set that elects, services that run elsewhere."""

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


async def test_a_private_broker_takes_and_gives_after_a_kill(tmp_path: Path) -> None:
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


def test_a_shard_of_three_outlives_its_primary(tmp_path: Path) -> None:
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


def test_services_elsewhere_are_used_and_not_started(stack: Stack, private_stack: Stack) -> None:
    theirs = stack.settings("us")
    named = {
        "NOTIFY_KAFKA": theirs["kafka"],
        "NOTIFY_SHARDS": str(theirs["shards"]),
        "NOTIFY_REDIS": theirs["redis"],
        "NOTIFY_DYNAMODB": theirs["dynamodb"],
    }
    guest = Stack(private_stack.folder, named)
    assert {*guest.up(["us"])} - {"us/edge"} == {"us/sandbox"}
    assert {key: guest.settings("us")[key] for key in ("kafka", "shards", "redis", "dynamodb")} == {
        key: theirs[key] for key in ("kafka", "shards", "redis", "dynamodb")
    }
    guest.down()
    assert stack.region("us").kafka.answers()
