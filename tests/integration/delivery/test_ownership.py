"""One worker owns a partition. A worker that was replaced cannot settle; its successor repeats only what has no stored outcome, marked."""

import asyncio
import time
from functools import partial
from typing import Any

import pytest

from notify_streams.delivery.delivery_ledger import DeliveryLedger, Token
from notify_streams.delivery.partition import Advance, Partition
from notify_streams.delivery.providers import ProviderResult
from notify_streams.delivery.settlement import Settlement, SettlementStore, TokenRefused
from notify_streams.errors import RetryLater
from notify_streams.failpoints import FailpointReached, armed
from notify_streams.records.outcomes import Reason
from notify_streams.stores.mongo import ATTEMPTS, LEDGER
from tests.integration.delivery.delivery_fixtures import (
    ACCEPTED,
    BUCKET,
    REJECTED,
    RETRY,
    Check,
    DeliveryEnvironment,
    Provider,
)
from tests.waiting import until


class SlowProvider(Provider):
    """Each call waits until `answer` is set, but those for the trigger "done"."""

    def __init__(self, **results: Any) -> None:
        super().__init__(**results)
        self.answer = asyncio.Event()

    async def send(self, message: Any) -> ProviderResult:
        result = await super().send(message)
        if not message.notification_id.startswith("done"):
            await self.answer.wait()
        return result


async def test_a_successor_marks_a_call_without_a_stored_outcome(env: DeliveryEnvironment) -> None:
    batch = await env.notify("t")
    first, second = SlowProvider(), Provider()
    async with env.engine(first) as one:
        await one.begin(batch)
        await until(lambda: first.calls)
        async with env.engine(second, generation=2) as other:
            await other.deliver(batch)
    assert [call.possible_duplicate for call in second.calls] == [True]
    assert await env.counts() == {"taken": 1, "fresh": 1, "sent": 1} and await env.books_close()


@pytest.mark.parametrize("stops", [True, False], ids=["stopped", "rebalanced"])
async def test_a_successor_doubts_no_call_that_was_only_claimed_ahead(env: DeliveryEnvironment, stops: bool) -> None:
    """Else each restart marks the next messages of all partitions as possible duplicates, and looks them up."""
    second = Provider()
    async with env.engine(Provider()) as one:
        await one.deliver(await env.notify("before"))
        assert (await env.ledger())["claimed_to"] > 1
        if stops:
            await one.engine.stop()
        else:
            one.engine.release_all()
        await until(lambda: is_claimed_to(env, 1))
        async with env.engine(second, generation=2) as other:
            await other.deliver(await env.notify("after"))
    assert [call.possible_duplicate for call in second.calls] == [False]
    assert await env.counts() == {"taken": 2, "fresh": 2, "sent": 2} and await env.books_close()


async def is_claimed_to(env: DeliveryEnvironment, offset: int) -> bool:
    return bool((await env.ledger())["claimed_to"] == offset)


async def test_what_is_given_back_leaves_out_a_call_that_has_no_answer(env: DeliveryEnvironment) -> None:
    batch = await env.notify("t", "u")
    first, second = SlowProvider(), Provider()
    async with env.engine(first) as one:
        await one.begin(batch)
        await until(lambda: len(first.calls) == 2)
        one.engine.release_all()
        await until(lambda: is_claimed_to(env, 2))
        async with env.engine(second, generation=2) as other:
            await other.deliver(batch)
            await other.deliver(await env.notify("later"))
    marks = dict(zip(second.ids(), [call.possible_duplicate for call in second.calls], strict=True))
    assert marks == {"t": True, "u": True, "later": False}


async def test_a_successor_does_not_repeat_what_is_stored(env: DeliveryEnvironment) -> None:
    """The offset of the second message is not counted yet, because the first has no outcome."""
    batch = await env.notify("slow", "done")
    first, second = SlowProvider(), Provider()
    async with env.engine(first) as one:
        await one.begin(batch)
        await until(partial(env.is_in, "sent", "done"))
        async with env.engine(second, generation=2) as other:
            await other.deliver(batch)
    assert second.ids() == ["slow"]
    assert await env.counts() == {"taken": 2, "fresh": 2, "sent": 2} and await env.books_close()


@pytest.mark.parametrize(("result", "state"), [(ACCEPTED, "sent"), (REJECTED, "failed")])
async def test_the_end_of_a_call_of_a_replaced_worker_is_stored_and_not_counted(
    env: DeliveryEnvironment, result: ProviderResult, state: str
) -> None:
    batch = await env.notify("t")
    first = SlowProvider(t=[result])
    async with env.engine(first) as one:
        event = await one.begin(batch)
        await until(lambda: first.calls)
        await DeliveryLedger(env.shards, "push", 5.0).acquire([BUCKET], Token(2))
        first.answer.set()
        await until(partial(env.is_in, state))
    assert not event.acknowledged
    assert await env.counts() == {}


async def test_a_replaced_worker_does_not_decide_about_the_next_attempt(env: DeliveryEnvironment) -> None:
    batch = await env.notify("t")
    first = SlowProvider(t=[RETRY])
    async with env.engine(first) as one:
        await one.begin(batch)
        await until(lambda: first.calls)
        async with env.engine(Provider(), generation=2) as other:
            first.answer.set()
            await other.deliver(batch)
            await until(partial(env.is_in, "sent"))
    assert not await env.timers() and await env.books_close()


async def test_a_worker_of_an_earlier_generation_gets_no_partition(env: DeliveryEnvironment) -> None:
    async with env.engine(Provider(), generation=7), env.engine(Provider(), owns=False) as late:
        with pytest.raises(RetryLater, match="later generation"):
            await late.own(BUCKET, 6)
        assert await late.own(BUCKET, 7) == 0


async def test_an_owner_that_was_silent_for_a_minute_may_be_replaced_by_an_earlier_generation(
    env: DeliveryEnvironment,
) -> None:
    async with env.engine(Provider(), generation=7), env.engine(Provider(), owns=False) as late:
        await env.shards.collection(LEDGER, BUCKET).update_one(
            {"role": "push"}, [{"$set": {"token.at": {"$subtract": ["$$NOW", 61_000]}}}]
        )
        assert await late.own(BUCKET, 1) == 0


async def test_a_token_is_proved_from_the_beginning_of_the_reading_on(env: DeliveryEnvironment) -> None:
    """Another worker may have written its own while the answer was on its way."""
    ledger, token = DeliveryLedger(env.shards, "push", 5.0), Token(1)
    await ledger.create({BUCKET: 0}, token)
    reading = asyncio.create_task(ledger.owned(env.shards.of(BUCKET), {BUCKET: token}))
    await asyncio.sleep(0)
    asked_at = time.monotonic()
    owned, proved_at = await reading
    assert owned == {BUCKET} and proved_at <= asked_at


async def test_a_replaced_worker_begins_no_call(env: DeliveryEnvironment) -> None:
    """Its token was proved more than half a second ago, so it reads it again before the next call."""
    provider = Provider()
    async with env.engine(provider) as one:
        await one.deliver(await env.notify("t"))
        await DeliveryLedger(env.shards, "push", 5.0).acquire([BUCKET], Token(2))
        (partition,) = one.engine._ownership.partitions.values()
        partition.proved_at -= 0.6
        await one.begin(await env.notify("late"))
        await until(lambda: not partition.active)
    assert provider.ids() == ["t"]


async def test_the_same_worker_owns_its_partition_again_after_a_rebalance(env: DeliveryEnvironment) -> None:
    """Its own calls under way are settled first, so none is repeated."""
    batch = await env.notify("t")
    provider = SlowProvider()
    async with env.engine(provider) as one:
        await one.begin(batch)
        await until(lambda: provider.calls)
        one.engine.release_all()
        owning = asyncio.create_task(one.own(BUCKET, 2))
        provider.answer.set()
        assert await owning == 1
    assert provider.ids() == ["t"] and await env.counts() == {"taken": 1, "fresh": 1, "sent": 1}


async def test_what_was_checked_before_a_rebalance_changes_nothing_after_it(env: DeliveryEnvironment) -> None:
    """The worker keeps its partition: one flush may have the results of both assignments."""
    checked, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        if not checked.is_set():
            checked.set()
            await go_on.wait()

    batch = await env.notify("a", "b")
    async with env.engine(Provider(), Check({"a": Reason.OPTED_OUT}, before=wait)) as engine:
        old = asyncio.create_task(engine.begin(batch))
        await checked.wait()
        await engine.own(BUCKET, 2)
        go_on.set()
        assert not (await old).acknowledged
        await engine.deliver(batch)
    assert await env.counts() == {"taken": 2, "fresh": 2, "sent": 1, "suppressed": 1} and await env.books_close()


async def test_a_flush_with_two_assignments_of_a_partition_refuses_the_earlier(env: DeliveryEnvironment) -> None:
    ledger = DeliveryLedger(env.shards, "push", 5.0)
    shard = env.shards.of(BUCKET)
    store = SettlementStore(env.shards, shard, ledger, 5.0)
    await ledger.open({BUCKET: 0})
    both = []
    for token in (Token(1), Token(2)):
        owned = await ledger.acquire([BUCKET], token)
        both.append(Partition(owned[BUCKET], token, shard, 0.0))
    with pytest.raises(TokenRefused) as refused:
        await store.write("both", [Settlement(one, step=Advance(0, 5), claimed_to=64) for one in both])
    assert refused.value.partitions == {both[0]}
    await store.write("later", [Settlement(both[1], step=Advance(0, 5), claimed_to=64)])
    assert await env.is_at(5)


#: The third and fourth flush move no position: they claim the timer, and settle its attempt.
@pytest.mark.parametrize(
    "point",
    ["before_settlement=raise@1", "inside_settlement=raise@1", *(f"after_settlement=raise@{n}" for n in (1, 2, 3, 4))],
)
async def test_after_an_error_at_a_failpoint_nothing_is_lost_or_counted_twice(
    env: DeliveryEnvironment, point: str
) -> None:
    batch = await env.notify("t", "s")
    provider = Provider(s=[RETRY])
    with armed(point) as points:
        async with env.engine(provider) as engine:
            await engine.deliver(batch)
            await until(partial(env.is_in, "sent", "s"))
    assert all(one.passed for one in points.values())
    assert await env.counts() == {
        "taken": 2,
        "fresh": 2,
        "sent": 1,
        "retrying": 1,
        "resolved_sent": 1,
    }
    assert await env.books_close() and provider.ids().count("t") == 1


@pytest.mark.parametrize("stale", ["token", "next_offset", "last_flush"])
async def test_a_step_of_the_ledger_needs_token_position_and_previous_flush(
    env: DeliveryEnvironment, stale: str
) -> None:
    ledger = DeliveryLedger(env.shards, "push", 5.0)
    shard = env.shards.of(BUCKET)
    store = SettlementStore(env.shards, shard, ledger, 5.0)
    owned = await ledger.create({BUCKET: 0}, Token(1))
    token = Token(1)
    await ledger.acquire(owned, token)
    partition = Partition(owned[BUCKET], token, shard, 0.0)
    await store.write("first", [Settlement(partition, step=Advance(0, 5), claimed_to=64)])
    start = 0 if stale == "next_offset" else 5
    partition.last_flush = "another" if stale == "last_flush" else "first"
    if stale == "token":
        partition.token = Token(1)
    with pytest.raises(TokenRefused):
        await store.write("second", [Settlement(partition, step=Advance(start, 9), claimed_to=64)])
    assert await env.is_at(5)


@pytest.mark.parametrize("name", ["before_token", "after_token"])
async def test_an_error_at_a_failpoint_of_the_take_over_is_repeated(env: DeliveryEnvironment, name: str) -> None:
    async with env.engine(Provider()):
        pass
    async with env.engine(Provider(), owns=False) as engine:
        with armed(f"{name}=raise@1"), pytest.raises(FailpointReached):
            await engine.own(BUCKET, 2)
        assert await engine.own(BUCKET, 2) == 0


async def test_a_delivery_is_stored_once_for_each_call(env: DeliveryEnvironment) -> None:
    provider = Provider(t=[RETRY, RETRY])
    async with env.engine(provider) as engine:
        await engine.deliver(await env.notify("t"))
        await until(partial(env.is_in, "sent"))
    assert await env.shards.collection(ATTEMPTS, BUCKET).count_documents({"bucket": BUCKET}) == 3
