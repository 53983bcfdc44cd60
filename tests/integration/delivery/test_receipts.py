"""A receipt is appended to its delivery, whose state never goes back."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

import msgspec
import pytest

from notify_streams import metrics
from notify_streams.admin.shards.write_block import allow_writes, block_writes
from notify_streams.delivery.call_outcomes import DELIVERED_BEFORE
from notify_streams.delivery.event_outbox import EventOutbox
from notify_streams.delivery.receipts import ReceiptProgress
from notify_streams.errors import StoreUnavailable
from notify_streams.records.ids import notification_id
from notify_streams.records.outcomes import DeliveryState, Reason
from notify_streams.routing.decision import ChannelDecision
from notify_streams.settings import Settings
from notify_streams.stores.mongo import ATTEMPTS, NOTIFICATIONS, OUTBOX
from tests.builders import ABatch, ARecord, an_outcome
from tests.integration.delivery.delivery_fixtures import (
    BUCKET,
    UNSURE,
    DeliveryEnvironment,
    EventTopics,
    Provider,
    receipt_events,
    receipt_writer,
)
from tests.waiting import until


def delivery_of(trigger_id: str) -> str:
    return f"{notification_id(trigger_id, 'u-42', 'payments')}.push"


DELIVERY = delivery_of("t")


def a_receipt(**but: Any) -> bytes:
    usual: dict[str, Any] = {"delivery_id": DELIVERY, "state": "delivered", "at": "2026-11-22T12:00:00Z"}
    return json.dumps({name: value for name, value in (usual | but).items() if value is not ...}).encode()


async def apply(
    env: DeliveryEnvironment, *values: bytes, partition: int = BUCKET, events: EventOutbox | None = None
) -> list[str]:
    """Returns the reasons of those that are refused."""
    writer = receipt_writer(env.shards, events)
    batch = replace(
        ABatch([ARecord(value, offset=offset) for offset, value in enumerate(values)], topic="receipts"),
        partition=partition,
    )
    return [rejection.reason.value for _, rejection in await writer.apply(batch, ReceiptProgress())]


async def rows(env: DeliveryEnvironment) -> list[dict[str, Any]]:
    """The outbox rows of receipts."""
    query = {"_id": {"$regex": "^receipts:"}}
    return await env.shards.collection(OUTBOX, BUCKET).find(query).sort("_id", 1).to_list()


async def no_rows(env: DeliveryEnvironment) -> bool:
    return not await rows(env)


async def test_each_receipt_has_one_event_of_the_system_however_often_it_is_repeated(
    env: DeliveryEnvironment, running: Callable[[Any], asyncio.Task[Any]]
) -> None:
    topics = EventTopics()
    events = receipt_events(env.shards, topics)
    running(events.run())
    await env.send("t")
    for values in ((a_receipt(), a_receipt()), (a_receipt(), a_receipt(state="failed"))):
        await apply(env, *values, events=events)
        await until(partial(no_rows, env))
    assert topics.states() == [("t", "delivered", None, 0), ("t", "failed", "provider_rejected", 0)]
    assert {topic for topic, _ in topics.events} == {"notification_events.payments"}
    assert [one.event_id for _, one in topics.events] == [f"{DELIVERY}:0:{one}" for _, one, _, _ in topics.states()]


async def test_a_topic_that_takes_no_events_holds_no_receipts_up(
    env: DeliveryEnvironment, running: Callable[[Any], asyncio.Task[Any]]
) -> None:
    """One partition of it stopped the receipts of everybody that came in the same batches, as long as it had no leader."""
    topics = EventTopics()
    topics.gate.clear()
    events = receipt_events(env.shards, topics)
    running(events.run())
    await env.send("t", "other")
    for trigger_id in ("t", "other"):
        receipt = a_receipt(delivery_id=delivery_of(trigger_id))
        await asyncio.wait_for(apply(env, receipt, events=events), 5)
        assert await env.is_in("delivered", trigger_id)
    assert topics.events == []
    topics.gate.set()
    await until(partial(no_rows, env))
    assert {*topics.states()} == {("t", "delivered", None, 0), ("other", "delivered", None, 0)}


async def test_after_a_crash_before_the_publication_the_next_owner_of_the_bucket_publishes(
    env: DeliveryEnvironment, running: Callable[[Any], asyncio.Task[Any]]
) -> None:
    """The receipt comes again, because it was not acknowledged."""
    await env.send("t")
    await apply(env, a_receipt(), partition=BUCKET + 1, events=receipt_events(env.shards))
    (row,) = await rows(env)
    topics = EventTopics()
    events = receipt_events(env.shards, topics)
    await apply(env, a_receipt(), partition=BUCKET + 1, events=events)
    assert await rows(env) == [row], "a repetition stores no second event"
    running(events.run())
    events.on_assigned([BUCKET])
    await until(partial(no_rows, env))
    assert topics.states() == [("t", "delivered", None, 0)]


async def test_receipts_that_are_refused_by_the_database_have_no_events(env: DeliveryEnvironment) -> None:
    """The receipt and its event are stored together, or nothing is."""
    await env.send("t")
    database = env.shards.database(env.shards.of(BUCKET))
    await block_writes(database, BUCKET)
    with pytest.raises(StoreUnavailable):
        await apply(env, a_receipt())
    assert not await rows(env)
    await allow_writes(database, BUCKET)
    await apply(env, a_receipt())
    assert len(await rows(env)) == 1 and await env.is_in("delivered")


async def test_a_bucket_that_is_being_moved_holds_up_no_other_of_the_batch(env: DeliveryEnvironment) -> None:
    beside = next(one for one in range(8) if one != BUCKET and env.shards.of(one) == env.shards.of(BUCKET))
    await env.notify("t")
    document = an_outcome("other", bucket=beside).document
    assert document is not None
    await env.shards.collection(NOTIFICATIONS, beside).insert_one(document)
    database = env.shards.database(env.shards.of(BUCKET))
    await block_writes(database, BUCKET)
    values = a_receipt(), a_receipt(delivery_id=delivery_of("other"))
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await apply(env, *values)
    assert [(row["bucket"], row["count"]) for row in await rows(env)] == [(beside, 1)]
    await allow_writes(database, BUCKET)
    await apply(env, *values)
    assert sorted((row["bucket"], row["count"]) for row in await rows(env)) == sorted([(beside, 1), (BUCKET, 1)])


async def test_two_workers_that_apply_the_same_receipts_store_one_event_each(env: DeliveryEnvironment) -> None:
    """After a rebalance the old owner may still be at it."""
    ids = [f"t-{number}" for number in range(40)]
    await env.send(*ids)
    values = [a_receipt(delivery_id=delivery_of(one)) for one in ids]
    await asyncio.gather(*(apply(env, *values[at:], *values[:at]) for at in range(0, 40, 10)))
    assert sum(row["count"] for row in await rows(env)) == 40


async def test_rows_of_many_receipts_are_bounded(env: DeliveryEnvironment) -> None:
    ids = [f"t-{number}" for number in range(1_100)]
    await env.notify(*ids)
    await apply(env, *(a_receipt(delivery_id=delivery_of(one)) for one in ids))
    assert [row["count"] for row in await rows(env)] == [500, 500, 100]


async def test_a_receipt_for_a_system_without_events_stores_none(env: DeliveryEnvironment) -> None:
    await env.send("t")
    batch = ABatch([ARecord(a_receipt())], topic="receipts", partition=BUCKET)
    assert await receipt_writer(env.shards, event_systems=()).apply(batch, ReceiptProgress()) == []
    assert not await rows(env) and await env.is_in("delivered")


async def test_a_sent_delivery_becomes_delivered(env: DeliveryEnvironment) -> None:
    await env.send("t")
    await apply(env, a_receipt())
    found = await env.state()
    assert (found["state"], found["provider_id"]) == ("delivered", "p-1")


async def test_a_sent_delivery_becomes_failed(env: DeliveryEnvironment) -> None:
    await env.send("t")
    await apply(env, a_receipt(state="failed"))
    assert (await env.state())["state"] == "failed"
    assert (await env.state())["reason"] == "provider_rejected"


@pytest.mark.parametrize("state", [DeliveryState.SUPPRESSED, DeliveryState.EXPIRED])
async def test_a_receipt_changes_no_delivery_that_was_not_queued(
    env: DeliveryEnvironment, state: DeliveryState
) -> None:
    await env.notify("t", decisions=(ChannelDecision("push", state, Reason.NO_CONTACT),))
    await apply(env, a_receipt(), a_receipt(state="failed"))
    assert (await env.state())["state"] == state


async def test_a_receipt_before_the_worker_has_written_sent_is_applied(env: DeliveryEnvironment) -> None:
    provider = Provider()

    async def webhook(_: object) -> None:
        await apply(env, a_receipt())

    provider.before = webhook
    async with env.engine(provider) as engine:
        await engine.deliver(await env.notify("t"))
    assert (await env.state())["state"] == "delivered" and len(provider.calls) == 1
    assert await env.counts() == {"taken": 1, "fresh": 1, "sent": 1}


@pytest.mark.parametrize("attempt", [0, 1])
async def test_what_a_receipt_says_was_delivered_is_not_sent_again(env: DeliveryEnvironment, attempt: int) -> None:
    """The call had no answer, so its delivery waits for another attempt."""
    async with env.engine(Provider(t=[UNSURE], other=[UNSURE]), pace=0.05) as engine:
        await engine.deliver(await env.notify("t", "other"))
    assert len(await env.timers()) == 2
    await apply(env, a_receipt(attempt=attempt), a_receipt(delivery_id=delivery_of("other"), state="failed", attempt=1))
    provider = Provider()
    async with env.engine(provider, generation=2):
        await until(env.no_timers, "the end of both")
    assert provider.ids() == ["other"]
    assert await env.is_in("delivered") and await env.is_in("sent", "other")
    assert await env.counts() == {"taken": 2, "fresh": 2, "retrying": 2, "resolved_sent": 2}
    assert await env.books_close()
    assert [(one["number"], one["state"], one["provider"], one["code"]) for one in await env.history()][-1] == (
        2,
        "sent",
        None,
        DELIVERED_BEFORE,
    )


async def test_repeated_and_later_receipts_change_nothing(env: DeliveryEnvironment) -> None:
    await env.send("t")
    await apply(env, a_receipt(), a_receipt())
    await apply(env, a_receipt(state="failed"))
    assert (await env.state())["state"] == "delivered"


WRONG = [
    pytest.param(b"", id="empty"),
    pytest.param(b"hello", id="text"),
    pytest.param(b"\xff", id="not UTF-8"),
    pytest.param(a_receipt(delivery_id=...), id="no delivery"),
    pytest.param(a_receipt(delivery_id="nothing"), id="no channel"),
    pytest.param(a_receipt(delivery_id=DELIVERY.replace("push", "state")), id="a channel that there is not"),
    pytest.param(a_receipt(delivery_id="x" * 257 + ".push"), id="a long id"),
    pytest.param(a_receipt(state="sent"), id="another state"),
    pytest.param(a_receipt(at="2026-11-22T12:00:00"), id="no time zone"),
    pytest.param(a_receipt(at="0001-01-01T00:00:00+23:59"), id="a time before all times"),
]


@pytest.mark.parametrize("value", WRONG)
async def test_an_invalid_receipt_is_refused_and_the_others_are_applied(env: DeliveryEnvironment, value: bytes) -> None:
    await env.send("t")
    assert await apply(env, value, a_receipt()) in (["invalid"], ["not_json"])
    assert (await env.state())["state"] == "delivered"


async def test_a_receipt_for_an_unknown_delivery_is_counted_and_changes_nothing(env: DeliveryEnvironment) -> None:
    before = metrics.REGISTRY.get_sample_value("notify_unknown_receipts_total") or 0
    assert await apply(env, a_receipt(), a_receipt(delivery_id=DELIVERY.replace("push", "email"))) == []
    assert await env.shards.collection(ATTEMPTS, BUCKET).find_one({}) is None
    assert metrics.REGISTRY.get_sample_value("notify_unknown_receipts_total") == before + 1


async def test_repeated_reordered_and_unknown_receipts_leave_the_states_right(env: DeliveryEnvironment) -> None:
    """The same with 200,000: `notify-streams bench receipts`."""
    random = Random(20)
    cases = {"delivered": "dddd", "failed": "ffff", "delivered after all": "fddf", "sent": ""}
    trigger_ids = [f"{case}-{number}" for case in cases for number in range(20)]
    await env.send(*trigger_ids)
    names = {"d": "delivered", "f": "failed"}
    known = [
        a_receipt(delivery_id=delivery_of(one), state=names[letter], attempt=1)
        for one in trigger_ids
        for letter in cases[one.rpartition("-")[0]]
    ]
    unknown = [a_receipt(delivery_id=delivery_of(f"unknown-{number // 4}")) for number in range(len(known))]
    values = known + unknown
    random.shuffle(values)
    for start in range(0, len(values), 97):
        assert await apply(env, *values[start : start + 97]) == []
    for one in trigger_ids:
        case = one.rpartition("-")[0]
        assert (await env.state(one))["state"] == case.partition(" ")[0], one
    assert await env.counts() == {"taken": 80, "fresh": 80, "sent": 80} and await env.books_close()


@pytest.mark.parametrize("partition", range(8))
async def test_a_receipt_is_applied_in_whatever_partition_it_lies(env: DeliveryEnvironment, partition: int) -> None:
    await env.send("t")
    await apply(env, a_receipt(), partition=partition)
    assert (await env.state())["state"] == "delivered"


@pytest.mark.parametrize("partition", [BUCKET, BUCKET + 1])
async def test_receipts_of_a_shard_that_does_not_answer_hold_up_no_other_of_the_batch(
    env: DeliveryEnvironment, partition: int
) -> None:
    """Neither where the batch's partition lies on that shard, nor elsewhere; and nothing is done twice for those that are stored."""
    await env.send("t")
    addresses = list(env.settings.shards)
    addresses[1 - env.shards.of(BUCKET)] = "mongodb://127.0.0.1:1/?directConnection=true"
    progress, followed = ReceiptProgress(), list[int]()

    async def follow(failed: Sequence[Any]) -> None:
        followed.append(len(failed))

    batch = ABatch(
        [ARecord(a_receipt(delivery_id=delivery_of("elsewhere"))), ARecord(a_receipt(state="failed"))],
        topic="receipts",
        partition=partition,
    )
    async with DeliveryEnvironment(msgspec.structs.replace(env.settings, shards=tuple(addresses))) as half:
        writer = receipt_writer(half.shards, timeout_s=0.2, on_failed=follow)
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await writer.apply(batch, progress)
    assert (await env.state())["state"] == "failed"
    assert [row["count"] for row in await rows(env)] == [1]
    assert sum(followed) == 1


async def test_an_unavailable_shard_is_reported() -> None:
    settings = Settings(
        region="us",
        kafka="n",
        redis="n",
        shards=("mongodb://127.0.0.1:1/?directConnection=true",),
    )
    async with DeliveryEnvironment(settings) as env:
        with pytest.raises(StoreUnavailable):
            await receipt_writer(env.shards, timeout_s=0.2).apply(
                ABatch([ARecord(a_receipt())], topic="receipts"), ReceiptProgress()
            )
