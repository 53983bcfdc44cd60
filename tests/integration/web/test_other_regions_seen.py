"""The records that wait for other regions."""

from collections.abc import AsyncIterator
from uuid import uuid4

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from devtools.stack.paths import PROJECT
from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.app import build_app
from notify_streams.roles import VIEWS, app_id
from notify_streams.settings import Settings
from notify_streams.topics import forward_topic
from notify_streams.web.kafka_reader import kafka_reader
from notify_streams.web.regions import waiting_records
from tests.waiting import until

#: A region of one test, and settings that know it.
FarAway = tuple[str, Settings]


@pytest.fixture
async def far_away(views_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FarAway]:
    """A region of this test alone, whose topic exists."""
    monkeypatch.setenv("NOTIFY_CONFIG_DIR", str(PROJECT / "config"))
    region = f"far-{uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=views_settings.kafka)
    await admin.start()
    await admin.create_topics([NewTopic(forward_topic(region), views_settings.partitions, 1)])
    yield region, msgspec.structs.replace(views_settings, regions=("us", region))
    await admin.delete_topics([forward_topic(region)])
    await admin.close()


async def test_acknowledged_records_do_not_wait(far_away: FarAway) -> None:
    region, settings = far_away
    topic = forward_topic(region)
    worker = build_app(settings, VIEWS)

    async def nothing_waits() -> bool:
        return await waiting_records(worker) == {region: 0}

    await until(nothing_waits, "a broker that has just started has a coordinator", within_s=30)
    async with TriggerProducer(settings) as upstream:
        await upstream.send([(topic, "u-1", b"one", ())] * 3)
    assert await waiting_records(worker) == {region: 3}
    forward = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, group_id=app_id("us", "forward"), enable_auto_commit=False
    )
    await forward.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(settings.partitions)]
        forward.assign(partitions)
        ends = await forward.end_offsets(partitions)
        await forward.commit({one: max(0, end - 1) for one, end in ends.items()})
    finally:
        await forward.stop()
    assert await waiting_records(worker) == {region: 1}
    await kafka_reader(worker).aclose()


async def test_waiting_records_are_unknown_without_kafka(far_away: FarAway) -> None:
    _, settings = far_away
    assert await waiting_records(build_app(msgspec.structs.replace(settings, kafka="127.0.0.1:1"), VIEWS)) is None
