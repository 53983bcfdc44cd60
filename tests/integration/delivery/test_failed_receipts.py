"""A failure by receipt begins what its category asks for, and the books stay closed."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from notify_streams.delivery.failed_receipts import FailedReceipts, MessagePlace, NotSettled
from notify_streams.delivery.receipts import ReceiptProgress
from notify_streams.outbox.relay import Relay
from notify_streams.preferences.categories import OnFailedReceipt
from notify_streams.records.channel_message import ChannelMessage, read_channel_message
from notify_streams.records.ids import notification_id
from notify_streams.records.trigger import Trigger, read_trigger
from notify_streams.stores.shard_clocks import FollowedClocks
from tests.builders import ABatch, ARecord, ShardsWithClock, categories, some_settings
from tests.integration.delivery.delivery_fixtures import (
    BUCKET,
    NOT_BEGUN,
    DeliveryEnvironment,
    Provider,
    receipt_events,
    receipt_writer,
)
from tests.integration.delivery.test_failover import Named
from tests.integration.delivery.test_ownership import SlowProvider
from tests.waiting import until

DELIVERY = f"{notification_id('t', 'u-42', 'payments')}.push"
Apply = Callable[..., Awaitable[None]]


def a_receipt(state: str = "failed", attempt: int = 1, **but: Any) -> bytes:
    at = datetime.now(UTC).isoformat()
    return json.dumps({"delivery_id": DELIVERY, "state": state, "attempt": attempt, "at": at} | but).encode()


class Follow:
    """Applies receipts where the category asks for `policy`; keeps the triggers that follow when they are published."""

    def __init__(self, env: DeliveryEnvironment, messages: ABatch, policy: str, **but: Any) -> None:
        self.triggers: list[tuple[str, int, Trigger]] = []
        self._env = env
        payments = msgspec.structs.replace(categories()["payments"], on_failed_receipt=OnFailedReceipt(policy))
        settings = some_settings(providers={"retry_pace": 0.002})
        events = receipt_events(env.shards)
        failed = FailedReceipts(settings, env.shards, {"payments": payments}, self._find, events, **but)
        self._messages = {
            one.delivery_id: one for one in (read_channel_message(record.value or b"") for record in messages.records)
        }
        self._writer = receipt_writer(env.shards, events, event_systems=(), on_failed=failed.follow)

    async def apply(self, *values: bytes) -> None:
        batch = ABatch(
            [ARecord(value, offset=at) for at, value in enumerate(values)], topic="receipts", partition=BUCKET
        )
        assert await self._writer.apply(batch, ReceiptProgress()) == []
        await Relay("receipts", self._env.shards, self, 5.0).drain([BUCKET])

    async def is_applied(self, *values: bytes) -> bool:
        """Apply them, unless their calls are not settled yet."""
        try:
            await self.apply(*values)
        except NotSettled:
            return False
        return True

    async def _find(self, wanted: Mapping[str, MessagePlace]) -> dict[str, ChannelMessage]:
        assert all(place.topic == "push" and place.buckets == (BUCKET,) for place in wanted.values())
        return {identity: self._messages[identity] for identity in wanted}

    async def send_batch(self, topic: str, partition: int, records: Sequence[Any]) -> None:
        for _, value, headers in records:
            trigger = read_trigger(value, headers)
            assert isinstance(trigger, Trigger)
            self.triggers.append((topic, partition, trigger))


async def test_another_attempt_is_made_once_and_counted(env: DeliveryEnvironment) -> None:
    batch = await env.notify("t")
    follow = Follow(env, batch, "retry")
    provider = Provider()
    async with env.engine(provider) as engine:
        await engine.deliver(batch)
    for _ in range(2):
        await follow.apply(a_receipt(temporary=True, code="30003"), a_receipt(temporary=True, code="30003"))
    assert len(await env.timers()) == 1
    async with env.engine(provider, generation=2):
        await until(lambda: env.is_in("sent"), "the second attempt")
    await follow.apply(a_receipt(temporary=True), a_receipt("delivered", attempt=2))
    assert (await env.state())["state"] == "delivered"
    assert [call.possible_duplicate for call in provider.calls] == [False, True]
    assert await env.counts() == {"taken": 1, "fresh": 1, "sent": 1, "replayed": 1, "resolved_sent": 1}
    assert await env.books_close()
    states = {(one["number"], one["state"], one["code"]) for one in await env.history()}
    assert states == {
        (1, "sent", None),
        (1, "failed", "30003"),
        (1, "retrying", "30003"),
        (2, "sent", None),
        (2, "delivered", None),
    }


async def test_it_is_open_until_the_attempt_and_failed_again_by_the_next_receipt(env: DeliveryEnvironment) -> None:
    batch = await env.notify("t")
    follow = Follow(env, batch, "retry")
    async with env.engine(Provider()) as engine:
        await engine.deliver(batch)
    await follow.apply(a_receipt(temporary=True))
    assert (await env.state())["state"] == "retrying" and len(await env.timers()) == 1
    async with env.engine(Provider(), generation=2):
        await until(lambda: env.is_in("sent"), "the second attempt")
    await follow.apply(a_receipt(attempt=2, reason="dead_token"))
    found = await env.state()
    assert (found["state"], found["reason"], found["attempts"]) == ("failed", "dead_token", 2)
    assert await env.books_close() and not await env.timers()


async def test_the_other_attempt_is_made_at_the_provider_that_took_the_first(env: DeliveryEnvironment) -> None:
    batch = await env.notify("t")
    async with env.engine(Named("one", NOT_BEGUN), failover=[Named("two")]) as engine:
        await engine.deliver(batch)
        await until(lambda: env.is_in("sent"), "the second attempt")
    await Follow(env, batch, "retry").apply(a_receipt(temporary=True, attempt=2))
    first, second = Named("one"), Named("two")
    async with env.engine(first, generation=2, failover=[second]):
        await until(lambda: env.is_in("sent"), "the third attempt")
    assert not first.calls and [call.possible_duplicate for call in second.calls] == [True]


@pytest.mark.parametrize(("policy", "temporary"), [("end", True), ("retry", False)])
async def test_nothing_follows(env: DeliveryEnvironment, policy: str, temporary: bool) -> None:
    batch = await env.notify("t")
    async with env.engine(Provider()) as engine:
        await engine.deliver(batch)
    follow = Follow(env, batch, policy)
    await follow.apply(a_receipt(temporary=temporary))
    assert (await env.state())["state"] == "failed" and not await env.timers() and not follow.triggers


async def test_a_receipt_before_its_call_is_settled_is_applied_again(env: DeliveryEnvironment) -> None:
    batch = await env.notify("t")
    follow = Follow(env, batch, "retry")
    with pytest.raises(NotSettled):
        await follow.apply(a_receipt(temporary=True))
    async with env.engine(Provider()) as engine:
        await engine.deliver(batch)
    await follow.apply(a_receipt(temporary=True))
    assert (await env.state())["state"] == "retrying" and len(await env.timers()) == 1


@pytest.mark.parametrize(
    ("policy", "state", "timers", "triggers"), [("retry", "retrying", 1, 0), ("next_channel", "failed", 0, 2)]
)
async def test_a_receipt_for_a_parked_call_waits_for_its_answer(
    env: DeliveryEnvironment, policy: str, state: str, timers: int, triggers: int
) -> None:
    """The answer deletes the timer of the parked call."""
    batch = await env.notify("t")
    follow, provider = Follow(env, batch, policy), SlowProvider()
    async with env.engine(provider, pace=10.0) as engine:
        await engine.deliver(batch)
        receipt = a_receipt(temporary=True)
        with pytest.raises(NotSettled):
            await follow.apply(receipt)
        assert await env.is_in("retrying") and not follow.triggers
        provider.answer.set()
        await until(lambda: env.is_in("failed"), "the answer")
    for _ in range(2):
        await follow.apply(receipt)
    # A second trigger of the same id is a duplicate.
    assert await env.is_in(state) and (len(await env.timers()), len(follow.triggers)) == (timers, triggers)
    async with env.engine(Provider(), generation=2):
        if timers:
            await until(lambda: env.is_in("sent"), "the second attempt")
        assert await env.books_close()


async def test_a_parked_call_without_an_answer_holds_other_receipts_up_for_seconds_only(
    env: DeliveryEnvironment,
) -> None:
    """Then its own timer makes the next attempt."""
    batch = await env.notify("t", "done")
    follow = Follow(env, batch, "retry")
    other = f"{notification_id('done', 'u-42', 'payments')}.push"
    at = (datetime.now(UTC) - timedelta(seconds=8)).isoformat()
    receipts = a_receipt(temporary=True, at=at), a_receipt(temporary=True, at=at, delivery_id=other)

    async with env.engine(SlowProvider(), pace=10.0) as engine:
        await engine.deliver(batch)
        await until(lambda: follow.is_applied(*receipts), "the receipts are applied", within_s=10)
        assert await env.is_in("retrying", "done")
        assert sorted(one["replay"] for one in await env.timers()) == [False, True]


async def test_a_receipt_of_a_clock_that_is_ahead_holds_others_up_no_longer(env: DeliveryEnvironment) -> None:
    """Kafka's clock, or this machine's after a step back: its partition stood still until the time of the receipt."""
    batch = await env.notify("t", "done")
    follow = Follow(env, batch, "retry", settled_s=0.2)
    other = f"{notification_id('done', 'u-42', 'payments')}.push"
    at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    receipts = a_receipt(temporary=True, at=at), a_receipt(temporary=True, at=at, delivery_id=other)

    async with env.engine(SlowProvider(), pace=10.0) as engine:
        await engine.deliver(batch)
        assert not await follow.is_applied(*receipts), "it waits for the call at first"
        await until(lambda: follow.is_applied(*receipts), "the receipts are applied", within_s=5)
        assert await env.is_in("retrying", "done")


async def test_a_receipt_is_old_by_the_earlier_one_of_two_clocks(env: DeliveryEnvironment) -> None:
    """By that of a worker that is ahead each receipt would be old, and nothing would follow one that is quicker than its call."""
    batch = await env.notify("t")
    right: Any = ShardsWithClock(lambda: datetime.now(UTC) - timedelta(hours=1))
    env.shards.clocks = clocks = FollowedClocks(right, 5.0)
    for shard in range(len(env.shards)):
        await clocks.read(shard)
    receipt = a_receipt(temporary=True, at=(datetime.now(UTC) - timedelta(minutes=30)).isoformat())
    follow = Follow(env, batch, "retry")
    async with env.engine(SlowProvider(), pace=10.0) as engine:
        await engine.deliver(batch)
        assert not await follow.is_applied(receipt), "it waits for the call"


async def test_a_receipt_for_a_call_before_the_last_one_waits_for_nothing(env: DeliveryEnvironment) -> None:
    batch = await env.notify("t")
    follow = Follow(env, batch, "retry")
    async with env.engine(SlowProvider(), pace=0.001, call_timeout_s=0.2) as engine:
        await engine.deliver(batch)
        await until(lambda: _attempts(env, 2), "the second call is parked")
    await follow.apply(a_receipt(temporary=True))
    assert await env.is_in("retrying")


async def _attempts(env: DeliveryEnvironment, count: int) -> bool:
    return len(await env.history()) >= count


async def test_a_call_that_is_never_settled_holds_nothing_up(env: DeliveryEnvironment) -> None:
    follow = Follow(env, await env.notify("t"), "retry")
    await follow.apply(a_receipt(temporary=True, at="2026-11-22T12:00:00Z"))
    assert not await env.timers()


async def test_the_next_channel_is_a_trigger_of_the_same_system(env: DeliveryEnvironment) -> None:
    batch = await env.notify("t")
    async with env.engine(Provider()) as engine:
        await engine.deliver(batch)
    follow = Follow(env, batch, "next_channel")
    await follow.apply(a_receipt(), a_receipt())
    await follow.apply(a_receipt())
    assert {(topic, bucket, one.id, one.channels) for topic, bucket, one in follow.triggers} == {
        ("triggers.payments", BUCKET, "t~push~email", ("email",))
    }
    assert (await env.state())["state"] == "failed" and await env.books_close()
