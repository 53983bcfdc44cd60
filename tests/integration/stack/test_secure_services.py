"""A secure region's services: what each user may do, and that the others get in nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from pymongo import MongoClient
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError

from devtools.stack import kafka_rights
from devtools.stack.credentials import MONGO_OPERATOR, MONGO_WORKERS, PREFIX, REDIS, Credentials
from devtools.stack.kafka import SecureKafka
from devtools.stack.mongodb import Member, Shard
from devtools.stack.ports import free_port
from devtools.stack.valkey import Valkey
from notify_streams import kafka
from notify_streams.admin.audit.topics import TopicReader
from notify_streams.admin.growth.changelogs import move_rows
from notify_streams.admin.growth.documents import BucketSplit
from notify_streams.admin.topic_acls import agent_topics, principal_name, principals
from notify_streams.admin.topics import add_partitions, check_topics, ensure_topics
from notify_streams.errors import RetryLater
from notify_streams.records.user_records import LocationRecord
from notify_streams.regions.consumer_groups import routers_run
from notify_streams.regions.failover.log import KafkaControlLog
from notify_streams.regions.failover.protocol import ControlRecord
from notify_streams.roles import ROLES, app_id
from notify_streams.settings import Settings
from notify_streams.topics import USER_LOCATIONS
from notify_streams.transport import BatchProducer
from notify_streams.transport.send_errors import SendError
from tests.builders import some_settings
from tests.waiting import until

pytestmark = pytest.mark.stack

_WAIT_S = 20.0


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    made = Credentials(tmp_path_factory.mktemp("region"))
    made.create()
    return made


@dataclass(frozen=True)
class SecureBroker:
    address: str
    credentials: Credentials
    settings: Settings

    def settings_of(self, user: str) -> Settings:
        security = self.credentials.kafka_security(PREFIX + user)
        return msgspec.structs.replace(self.settings, kafka_security=security)

    def options(self, user: str) -> dict[str, Any]:
        security = self.credentials.kafka_security(PREFIX + user)
        return {"bootstrap.servers": self.address, "log_level": 0, **kafka_rights.librdkafka_options(security)}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, credentials: Credentials) -> Iterator[SecureBroker]:
    """With the rights of `topics acls`."""
    port = free_port()
    made = SecureKafka("broker", tmp_path_factory.mktemp("broker"), port, free_port({port}), credentials)
    made.start()
    try:
        operator = credentials.kafka_security(f"{PREFIX}operator")
        others = {"eu": "localhost:1", "asia": "localhost:1"}
        settings = some_settings(kafka=made.address, kafka_security=operator, partitions=1, remote_kafka=others)
        kafka_rights.give(made.address, credentials, settings)
        yield SecureBroker(made.address, credentials, settings)
    finally:
        made.stop()


@pytest.fixture(scope="module")
async def topics(broker: SecureBroker) -> SecureBroker:
    """Created by the operator."""
    await ensure_topics(broker.settings)
    return broker


@pytest.fixture(scope="module")
def marketing(topics: SecureBroker) -> Callable[[str], Any]:
    """A client of the system marketing, of librdkafka's class of that name."""
    classes: dict[str, Any] = {"producer": Producer, "admin": AdminClient}
    return lambda kind: classes[kind](topics.options("system-marketing"))


def written(producer: Producer, topic: str) -> int:
    """The error of one record, 0 for none."""
    found: list[int] = []
    producer.produce(topic, b"{}", on_delivery=lambda error, _: found.append(error.code() if error else 0))
    producer.flush(_WAIT_S)
    (code,) = found
    return code


def read(topics: SecureBroker, topic: str, group: str) -> bytes | int:
    """The first record that a member of `group` reads and commits, or an error."""
    options = topics.options("system-marketing") | {"auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer(options | {"group.id": group})
    try:
        consumer.subscribe([topic])
        message = consumer.poll(_WAIT_S)
        assert message is not None, "neither a record nor an error"
        if (error := message.error()) is not None:
            return int(error.code())
        consumer.commit(message=message, asynchronous=False)
        return message.value() or b""
    finally:
        consumer.close()


async def test_the_operator_creates_and_checks_topics_with_its_rights_alone(topics: SecureBroker) -> None:
    found = await check_topics(topics.settings)
    assert (found.blocking, found.tolerable) == ((), ())


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_sees_and_writes_its_topics_and_joins_its_group(topics: SecureBroker, role: str) -> None:
    user = principal_name("", role)
    settings = topics.settings_of(user)
    assert (await check_topics(settings, role)).blocking == ()
    mine = next(one for one in principals(settings, "") if one.name == user)
    async with kafka.producer(settings.kafka_connection()) as producer:
        for topic in mine.topics("Write"):
            await producer.send_and_wait(topic, b"{}", b"a key, which compacted topics want")
    if read := agent_topics(settings, role):
        consumer = kafka.consumer(settings.kafka_connection(), group=app_id(settings.region, role))
        consumer.subscribe([*read])
        async with consumer:
            await until(consumer.assignment)
            await consumer.commit(dict.fromkeys(consumer.assignment(), 0))


async def test_another_region_s_operator_changes_the_placement_and_its_forward_role_reads_of_it(
    topics: SecureBroker,
) -> None:
    record = ControlRecord("us", 1, "claim", "eu", "token", datetime.now(UTC))
    for user, writes in (("operator-from-eu", True), ("forward-from-eu", False)):
        connection = topics.settings_of(user).kafka_connection()
        log = KafkaControlLog("us", connection, timeout_s=10.0)
        try:
            with nullcontext() if writes else pytest.raises(RetryLater):
                await log.append(record)
            assert record in (await log.read())[0]
        finally:
            await log.close()
        if writes:
            assert await routers_run(connection, "us", timeout_s=10.0) is False


def test_a_system_writes_its_triggers_and_reads_its_events(
    topics: SecureBroker, marketing: Callable[[str], Any]
) -> None:
    assert written(marketing("producer"), "triggers.marketing") == 0
    router = Producer(topics.options("standard"))
    assert written(router, "notification_events.marketing") == 0
    assert read(topics, "notification_events.marketing", "marketing.app") == b"{}"


@pytest.mark.parametrize(
    "topic",
    [
        *("triggers.payments", "triggers.forwarded", "notification_events.marketing", "push", "cric_push"),
        *("user_contacts", "preference_updates", "receipts", "region_control", "dead_letters"),
    ],
)
def test_a_system_writes_no_other_topic(marketing: Callable[[str], Any], topic: str) -> None:
    assert written(marketing("producer"), topic) == KafkaError.TOPIC_AUTHORIZATION_FAILED


@pytest.mark.parametrize("topic", ["triggers.marketing", "notification_events.payments", "user_contacts", "push"])
def test_a_system_reads_no_other_topic(topics: SecureBroker, topic: str) -> None:
    assert read(topics, topic, "marketing.app") == KafkaError.TOPIC_AUTHORIZATION_FAILED


@pytest.mark.parametrize("group", ["payments.app", "notify-us-standard", "marketing"])
def test_a_system_joins_no_group_of_others(topics: SecureBroker, group: str) -> None:
    assert read(topics, "notification_events.marketing", group) == KafkaError.GROUP_AUTHORIZATION_FAILED


_RIGHT = (
    *(ResourceType.TOPIC, "push", ResourcePatternType.LITERAL, "User:notify-system-marketing", "*"),
    *(AclOperation.WRITE, AclPermissionType.ALLOW),
)


def _set(name: str) -> ConfigEntry:
    return ConfigEntry(name, "1", incremental_operation=AlterConfigOpType.SET)


CHANGES: dict[str, tuple[Callable[[AdminClient], dict[Any, Any]], int]] = {
    "create a topic": (
        lambda admin: admin.create_topics([NewTopic("triggers.marketing2", 1, 1)]),
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
    ),
    "delete its topic": (
        lambda admin: admin.delete_topics(["triggers.marketing"]),
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
    ),
    "delete records of its topic": (
        lambda admin: admin.delete_records([TopicPartition("triggers.marketing", 0, 0)]),
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
    ),
    "change its topic": (
        lambda admin: admin.incremental_alter_configs(
            [
                ConfigResource(
                    ConfigResource.Type.TOPIC, "triggers.marketing", incremental_configs=[_set("retention.ms")]
                )
            ]
        ),
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
    ),
    "add partitions to its topic": (
        lambda admin: admin.create_partitions([NewPartitions("triggers.marketing", 2)]),
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
    ),
    "read its topic's settings": (
        lambda admin: admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, "triggers.marketing")]),
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
    ),
    "delete a group": (
        lambda admin: admin.delete_consumer_groups(["notify-us-standard"]),
        KafkaError.GROUP_AUTHORIZATION_FAILED,
    ),
    "change the broker": (
        lambda admin: admin.incremental_alter_configs(
            [ConfigResource(ConfigResource.Type.BROKER, "1", incremental_configs=[_set("message.max.bytes")])]
        ),
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    ),
    "give itself a right": (
        lambda admin: admin.create_acls([AclBinding(*_RIGHT)]),
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    ),
}


@pytest.mark.parametrize(("change", "code"), CHANGES.values(), ids=CHANGES)
def test_a_system_changes_nothing(
    marketing: Callable[[str], Any], change: Callable[[AdminClient], dict[Any, Any]], code: int
) -> None:
    admin = marketing("admin")
    (future,) = change(admin).values()
    with pytest.raises(KafkaException) as refusal:
        future.result(_WAIT_S)
    assert refusal.value.args[0].code() == code


def test_rights_that_topics_acls_does_not_have_are_taken_away(topics: SecureBroker) -> None:
    admin = AdminClient(topics.options("operator") | kafka_rights.librdkafka_options(_super_user(topics)))
    (created,) = admin.create_acls([AclBinding(*_RIGHT)]).values()
    created.result(_WAIT_S)
    kafka_rights.give(topics.address, topics.credentials, topics.settings)
    found = admin.describe_acls(kafka_rights.matching(AclBinding(*_RIGHT))).result(_WAIT_S)
    assert found == []


async def test_a_growth_adds_partitions_and_moves_rows_with_its_rights_alone(topics: SecureBroker) -> None:
    """The last test of these topics: they have more partitions afterwards."""
    people = [f"u-{number}" for number in range(20)]
    await _write_locations(topics.settings_of("registry"), people)
    with pytest.raises(SendError, match="TopicAuthorizationFailed"):
        await _write_locations(topics.settings_of("operator"), people)
    settings = msgspec.structs.replace(topics.settings_of("grow"), partitions=2)
    await add_partitions(settings)
    split = BucketSplit(1, 2)
    producer = BatchProducer(settings.kafka_connection(), client_id="test")
    await producer.start()
    try:
        async with TopicReader(settings) as reader:
            # Other tests write to the topic, too.
            keys = {one.key.decode() async for _, one in reader.read([USER_LOCATIONS], [0]) if one.key}
            moved = await move_rows(reader, producer, USER_LOCATIONS, split, lambda _: None)
            there = {one.key async for _, one in reader.read([USER_LOCATIONS], [1])}
    finally:
        await producer.stop()
    leaving = {one.encode() for one in keys if split.new_bucket(one, 0) == 1}
    assert keys >= set(people)
    assert there == leaving and moved == len(leaving) > 0


async def _write_locations(settings: Settings, people: Sequence[str]) -> None:
    producer = BatchProducer(settings.kafka_connection(), client_id="test")
    await producer.start()
    try:
        rows = [(one.encode(), msgspec.json.encode(LocationRecord(one, "us")), ()) for one in people]
        await producer.send_batch(USER_LOCATIONS, 0, rows)
    finally:
        await producer.stop()


def _super_user(topics: SecureBroker) -> Any:
    return topics.credentials.kafka_security("admin")


def test_mongodb_wants_tls_and_a_user_who_may_use_one_database(tmp_path: Path, credentials: Credentials) -> None:
    member = Member("x/0", tmp_path / "0", free_port(), "x", credentials)
    shard = Shard("x", "x", [member], credentials)

    def client(**options: Any) -> MongoClient[dict[str, Any]]:
        tls: dict[str, Any] = {} if options.pop("plain", False) else {"tls": True, "tlsCAFile": str(credentials.ca)}
        return MongoClient(f"{shard.address}&serverSelectionTimeoutMS=2000", **tls, **options)

    def of(user: str) -> MongoClient[dict[str, Any]]:
        return client(username=user, password=credentials.password(user))

    try:
        assert shard.start() is True
        assert shard.start() is False, "users that exist are kept"
        with client(plain=True) as plain, pytest.raises(ServerSelectionTimeoutError):
            plain.notify.kept.find_one()
        with client() as unknown, pytest.raises(OperationFailure, match="auth"):
            unknown.notify.kept.find_one()
        with of(MONGO_WORKERS) as worker, of(MONGO_OPERATOR) as operator:
            worker.notify.kept.insert_one({"_id": 1})
            operator.notify.command("collMod", "kept", validator={})
            for refused in (
                lambda: worker.notify.command("collMod", "kept", validator={}),
                lambda: worker.other.kept.insert_one({}),
                lambda: worker.admin.command("usersInfo"),
                lambda: operator.admin.command("createUser", "root", pwd="root", roles=["root"]),
            ):
                with pytest.raises(OperationFailure, match="not authorized"):
                    refused()
    finally:
        shard.stop()


def test_valkey_wants_its_password(tmp_path: Path, credentials: Credentials) -> None:
    valkey = Valkey("redis", tmp_path, free_port(), credentials)
    valkey.start()
    try:
        tls: dict[str, Any] = {"ssl_ca_certs": str(credentials.ca)} if valkey.tls else {}
        with redis.Redis.from_url(valkey.address, **tls) as unknown, pytest.raises(redis.AuthenticationError):
            unknown.ping()
        with redis.Redis.from_url(valkey.address, password=credentials.password(REDIS), **tls) as known:
            assert known.ping()
        assert credentials.password(REDIS) not in Path(f"/proc/{valkey.process.pid}/cmdline").read_text()
    finally:
        valkey.stop()
