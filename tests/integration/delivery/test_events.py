"""Each end of a delivery is on its system's topic, also after a crash between commit and publication."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
import pytest

from notify_streams.admin.audit.database import read_database
from notify_streams.admin.audit.parts import Parts
from notify_streams.admin.audit.region_part import read_part
from notify_streams.admin.audit.snapshot import RegionSnapshot
from notify_streams.delivery.delivery_ledger import DeliveryLedger, Token
from notify_streams.erasure.history import History
from notify_streams.erasure.store import OpenErasure
from notify_streams.errors import RetryLater
from notify_streams.records.outcomes import Reason
from notify_streams.stores.mongo import OUTBOX
from tests.builders import ABatch, ARecord
from tests.integration.delivery.delivery_fixtures import (
    BUCKET,
    REJECTED,
    RETRY,
    Check,
    DeliveryEnvironment,
    EventTopics,
    Provider,
)
from tests.integration.delivery.test_ownership import SlowProvider
from tests.waiting import until

#: An event may lie in the row of another bucket than its person's.
OTHER_BUCKET = BUCKET + 1


async def ignore(found: int) -> None: ...


async def no_rows(env: DeliveryEnvironment) -> bool:
    return not await env.shards.collection(OUTBOX, BUCKET).find({}).to_list()


async def test_each_end_has_one_event_and_a_retry_none(env: DeliveryEnvironment, tmp_path: Path) -> None:
    topics = EventTopics()
    provider = Provider(failed=[REJECTED], later=[RETRY])
    async with env.engine(provider, Check({"out": Reason.OPTED_OUT}), topics=topics) as engine:
        await engine.deliver(await env.notify("sent", "failed", "out", "later"))
        await until(lambda: len(topics.events) == 4)
        await until(partial(no_rows, env))
    assert sorted(topics.states()) == [
        ("failed", "failed", "provider_rejected", 1),
        ("later", "sent", None, 2),
        ("out", "suppressed", "opted_out", 1),
        ("sent", "sent", None, 1),
    ]
    assert {topic for topic, _ in topics.events} == {"notification_events.payments"}
    parts = Parts(tmp_path, 1)
    await read_database(env.shards, RegionSnapshot("us"), parts, {"payments"})
    parts.write()
    assert read_part(parts, 0).ends.keys() == {one.event_id for _, one in topics.events}, "the audit knows each"
    assert len({one.event_id for _, one in topics.events}) == 4
    for _, event in topics.events:
        assert b"contact" not in msgspec.json.encode(event), "no contact leaves"


async def test_after_a_crash_between_commit_and_publication_the_next_owner_publishes(env: DeliveryEnvironment) -> None:
    topics = EventTopics()
    topics.gate.clear()
    async with env.engine(Provider(), topics=topics) as engine:
        await engine.deliver(await env.notify("t"))
    assert topics.events == [] and not await no_rows(env)
    person = OpenErasure("hash", "u-42", OTHER_BUCKET, datetime.now(UTC), frozenset())
    with pytest.raises(RetryLater, match="not published yet"):
        await History(env.settings, env.shards, topics).outbox(person, ignore)
    topics.gate.set()
    async with env.engine(Provider(), generation=2, topics=topics):
        await until(lambda: topics.states() == [("t", "sent", None, 1)])
        await until(partial(no_rows, env))
    await History(env.settings, env.shards, topics).outbox(person, ignore)


async def test_while_kafka_takes_no_events_calls_go_on(env: DeliveryEnvironment) -> None:
    topics = EventTopics()
    topics.gate.clear()
    async with env.engine(Provider(), topics=topics) as engine:
        for number in range(3):
            await engine.deliver(await env.notify(f"t{number}"))
        assert topics.events == [] and len(engine.provider.calls) == 3
        topics.gate.set()
        await until(lambda: {one[0] for one in topics.states()} == {"t0", "t1", "t2"})
        await until(partial(no_rows, env))


@pytest.mark.parametrize("system", ["marketing", ""])
async def test_a_message_of_a_forwarded_trigger_names_its_system(env: DeliveryEnvironment, system: str) -> None:
    """Without a name there is no event."""
    topics = EventTopics()
    batch = await env.notify("t", "u")
    first, second = (msgspec.json.decode(one.value or b"") for one in batch.records)
    first |= {"source_topic": "triggers.forwarded", "system": system}
    values = [msgspec.json.encode(one) for one in (first, second)]
    records = [ARecord(value, one.key, (), one.offset) for value, one in zip(values, batch.records, strict=True)]
    async with env.engine(Provider(), topics=topics) as engine:
        await engine.deliver(ABatch(records, batch.topic, batch.partition, batch.start, batch.end))
        await until(lambda: ("u", "sent", None, 1) in topics.states())
    of_first = [topic for topic, one in topics.events if one.trigger_id == "t"]
    assert of_first == ([f"notification_events.{system}"] if system else [])


async def test_the_answer_to_a_parked_call_and_the_end_of_a_replaced_workers_call_have_events(
    env: DeliveryEnvironment,
) -> None:
    topics = EventTopics()
    parked, replaced = SlowProvider(), SlowProvider()
    async with env.engine(parked, topics=topics) as engine:
        await engine.deliver(await env.notify("parked"))
        parked.answer.set()
        await until(lambda: topics.states() == [("parked", "sent", None, 1)])
    async with env.engine(replaced, generation=2, topics=topics) as engine:
        await engine.begin(await env.notify("replaced"))
        await until(lambda: replaced.calls)
        await DeliveryLedger(env.shards, "push", 5.0).acquire([BUCKET], Token(3))
        replaced.answer.set()
        await until(lambda: topics.states()[1:] == [("replaced", "sent", None, 1)])
        await until(partial(no_rows, env))
