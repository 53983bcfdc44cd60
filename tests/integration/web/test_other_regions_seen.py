"""What a worker that neither forwards nor learns can still tell of other regions: what waits for them, and who serves them."""

from datetime import UTC, datetime
from uuid import uuid4

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from devtools.stack.paths import PROJECT
from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.app import build_app
from notify_streams.regions.failover.log import KafkaControlLog
from notify_streams.regions.failover.protocol import ControlRecord
from notify_streams.roles import app_id
from notify_streams.topics import forward_topic
from notify_streams.web.placement import current_placement
from notify_streams.web.regions import waiting_records


@pytest.fixture
async def far_away(views_settings, monkeypatch):
    """Settings that know a region of this test alone; its topic exists."""
    monkeypatch.setenv("NOTIFY_CONFIG_DIR", str(PROJECT / "config"))
    region = f"far-{uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=views_settings.kafka)
    await admin.start()
    await admin.create_topics([NewTopic(forward_topic(region), views_settings.partitions, 1)])
    yield region, msgspec.structs.replace(views_settings, regions=("us", region))
    await admin.delete_topics([forward_topic(region)])
    await admin.close()


async def test_what_the_forward_role_has_acknowledged_waits_no_longer(far_away):
    region, settings = far_away
    topic = forward_topic(region)
    worker = build_app(settings, "push")
    assert await waiting_records(worker) == {region: 0}
    async with TriggerProducer(settings) as upstream:
        await upstream.send([(topic, "u-1", b"one", ())] * 3)
    assert await waiting_records(worker) == {region: 3}
    forward = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, group_id=app_id("us", "forward"), enable_auto_commit=False
    )
    await forward.start()
    try:
        places = [TopicPartition(topic, partition) for partition in range(settings.partitions)]
        forward.assign(places)
        ends = await forward.end_offsets(places)
        await forward.commit({place: max(0, end - 1) for place, end in ends.items()})
    finally:
        await forward.stop()
    assert await waiting_records(worker) == {region: 1}


async def test_without_kafka_it_is_not_known(far_away):
    _, settings = far_away
    assert await waiting_records(build_app(msgspec.structs.replace(settings, kafka="127.0.0.1:1"), "push")) is None


async def test_a_role_that_does_not_learn_reads_the_regions_own_log(far_away):
    region, settings = far_away
    worker = build_app(settings, "push")
    assert (await current_placement(worker)).server_of(region) == region
    log = KafkaControlLog("us", settings.kafka_connection())
    try:
        # A home region that only this test's settings name: other readers of the log ignore it.
        await log.append(ControlRecord(region, 1, "serve", "us", "token", datetime.now(UTC)))
    finally:
        await log.close()
    assert (await current_placement(worker)).server_of(region) == "us"
