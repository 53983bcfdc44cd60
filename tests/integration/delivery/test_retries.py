"""A delivery that was not accepted waits in a timer, until it is accepted, refused or expired. Outages fail nothing."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from typing import Any

import msgspec
import pytest

from notify_streams.delivery import engine as engine_module
from notify_streams.delivery.attempts import Attempt, Phase, Rank, attempt_document, delivery_key
from notify_streams.delivery.providers import ProviderOutcome, ProviderResult
from notify_streams.delivery.settlement import Settlement, SettlementStore
from notify_streams.delivery.timers import Timer, new_timer
from notify_streams.failpoints import armed
from notify_streams.preferences.choices import in_whole_ms
from notify_streams.preferences.provider_check import SendPermission
from notify_streams.records.channel_message import ChannelMessage, read_channel_message
from notify_streams.records.outcomes import Reason
from notify_streams.stores.mongo import ATTEMPTS, TIMERS
from notify_streams.stores.shard_clocks import ShardClocks
from tests.builders import ShardsWithClock
from tests.integration.delivery.delivery_fixtures import (
    ACCEPTED,
    BUCKET,
    RETRY,
    UNSURE,
    Check,
    DeliveryEnvironment,
    Provider,
)
from tests.integration.delivery.test_ownership import SlowProvider
from tests.waiting import until


async def test_a_batch_is_acknowledged_while_a_delivery_waits_for_its_next_attempt(env: DeliveryEnvironment) -> None:
    provider = Provider(t=[RETRY])
    async with env.engine(provider, pace=10.0) as engine:
        await engine.deliver(await env.notify("t", "other"))
    assert await env.is_in("retrying") and await env.is_in("sent", "other")
    (timer,) = await env.timers()
    assert (timer["attempt"], timer["in_doubt"], timer["claim"], timer["role"]) == (1, False, None, "push")
    assert await env.books_close()


async def test_the_next_owner_makes_the_next_attempt(env: DeliveryEnvironment) -> None:
    async with env.engine(Provider(t=[UNSURE]), pace=0.05) as engine:
        await engine.deliver(await env.notify("t"))
    provider = Provider()
    async with env.engine(provider, generation=2):
        await until(partial(env.is_in, "sent"))
    assert [(call.attempt, call.possible_duplicate) for call in provider.calls] == [(2, True)]
    assert not await env.timers() and await env.books_close()


async def test_a_claimed_timer_of_a_stopped_worker_is_in_doubt(env: DeliveryEnvironment) -> None:
    provider = Provider(t=[RETRY])
    with armed("after_timer_claim=raise@1") as points:
        async with env.engine(provider) as engine:
            await engine.deliver(await env.notify("t"))
            await until(lambda: points["after_timer_claim"].passed)
    assert (await env.timers())[0]["claim"] is not None
    async with env.engine(provider, generation=2):
        await until(partial(env.is_in, "sent"))
    assert [(call.attempt, call.possible_duplicate) for call in provider.calls] == [(1, False), (2, True)]
    assert await env.books_close()


async def test_the_time_that_the_provider_asks_for_is_kept(env: DeliveryEnvironment) -> None:
    later = msgspec.structs.replace(RETRY, retry_after_s=1.0)
    provider = Provider(t=[later])
    async with env.engine(provider) as engine:
        await engine.deliver(await env.notify("t"))
        await until(partial(env.is_in, "sent"))
    first, second = provider.called_at
    assert second - first >= 1.0


async def test_timers_are_due_by_the_shards_clock(env: DeliveryEnvironment) -> None:
    """The shard's clock is an hour behind that of the worker."""
    behind: Any = ShardsWithClock(lambda: datetime.now(UTC) - timedelta(hours=1))
    provider = Provider(t=[msgspec.structs.replace(RETRY, retry_after_s=1.0)])
    async with env.engine(provider, clocks=ShardClocks(behind, 5.0)) as engine:
        await engine.deliver(await env.notify("t"))
        (timer,) = await env.timers()
        assert timer["due_at"] < datetime.now(UTC) - timedelta(minutes=59)
        await until(partial(env.is_in, "sent"))
    first, second = provider.called_at
    assert second - first >= 1.0


@pytest.mark.parametrize("behind", [timedelta(hours=1), timedelta(hours=-1)], ids=["behind", "ahead"])
async def test_a_worker_with_a_wrong_clock_takes_no_message_for_younger_than_it_is(
    env: DeliveryEnvironment, behind: timedelta
) -> None:
    """An opt-out since its decision may have no delta any more: see `ProviderCheck`."""

    class Dated(Check):
        at = datetime.min.replace(tzinfo=UTC)

        async def still_allowed(self, bucket: int, messages: Sequence[ChannelMessage], now: datetime) -> SendPermission:
            self.at = now
            return await super().still_allowed(bucket, messages, now)

    check, began = Dated(), datetime.now(UTC)
    right: Any = ShardsWithClock(lambda: datetime.now(UTC) + behind)
    async with env.engine(Provider(), check, clocks=ShardClocks(right, 5.0)) as engine:
        await engine.deliver(await env.notify("t"))
        await until(partial(env.is_in, "sent"))
    assert check.at >= began + max(behind, timedelta()) - timedelta(seconds=1)


@pytest.mark.parametrize("retry_after_s", [None, 3600.0])
async def test_a_message_expires_between_attempts(env: DeliveryEnvironment, retry_after_s: float | None) -> None:
    """It ends when it expires, however long its provider asks to wait."""
    later = msgspec.structs.replace(RETRY, retry_after_s=retry_after_s)
    batch = await env.notify("t")
    soon = datetime.now(UTC) + timedelta(seconds=1)
    message = msgspec.structs.replace(read_channel_message(batch.records[0].value or b""), expires_at=soon)
    env.forget(batch)
    async with env.engine(Provider(t=[later] * 100), pace=0.02) as engine:
        await engine.deliver(env.batch(msgspec.json.encode(message)))
        await until(partial(env.is_in, "expired"))
    assert (await env.state())["reason"] == "expired" and not await env.timers() and await env.books_close()


async def test_an_opt_out_while_a_checked_message_waits_for_its_call_ends_the_delivery(
    env: DeliveryEnvironment,
) -> None:
    check, provider = Check(good_s=0.1), SlowProvider(max_in_flight=1)
    async with env.engine(provider, check) as engine:
        event = await engine.begin(await env.notify("first", "second"))
        await until(lambda: len(provider.calls) == 1 and "second" in chain.from_iterable(check.checked))
        await asyncio.sleep(check.good_s)
        check.refused["second"] = Reason.OPTED_OUT
        provider.answer.set()
        await asyncio.wait_for(event.done.wait(), 20)
    assert provider.ids() == ["first"] and (await env.state("second"))["reason"] == "opted_out"


async def test_an_opt_out_between_two_attempts_ends_the_delivery(env: DeliveryEnvironment) -> None:
    check = Check()
    provider = Provider(t=[RETRY, ACCEPTED])

    async def opt_out(_: object) -> None:
        check.refused["t"] = Reason.OPTED_OUT

    provider.before = opt_out
    async with env.engine(provider, check) as engine:
        await engine.deliver(await env.notify("t"))
        await until(partial(env.is_in, "suppressed"))
    assert len(provider.calls) == 1 and (await env.state())["reason"] == "opted_out" and await env.books_close()


async def test_a_retry_does_not_replace_a_newer_message_with_its_collapse_key(env: DeliveryEnvironment) -> None:
    now = in_whole_ms(datetime.now(UTC))
    old = await env.notify("old", collapse_key="c", now=now - timedelta(seconds=5))
    new = await env.notify("new", collapse_key="c", now=now)
    provider = Provider(old=[RETRY])
    async with env.engine(provider, pace=0.05) as engine:
        await engine.deliver(old)
        await engine.deliver(new)
        await until(partial(env.is_in, "suppressed", "old"))
    assert (await env.state("old"))["reason"] == "superseded" and provider.ids() == ["old", "new"]


async def test_a_retry_does_not_replace_a_newer_message_whose_answer_came_late(env: DeliveryEnvironment) -> None:
    now = in_whole_ms(datetime.now(UTC))
    new = await env.notify("t", collapse_key="c", now=now)
    old = await env.notify("done", collapse_key="c", now=now - timedelta(seconds=5))
    provider = SlowProvider(done=[msgspec.structs.replace(RETRY, retry_after_s=2.0)])
    async with env.engine(provider) as engine:
        await engine.deliver(new)
        await engine.deliver(old)
        provider.answer.set()
        await until(partial(env.is_in, "sent"))
        await until(partial(env.is_in, "suppressed", "done"))
    assert (await env.state("done"))["reason"] == "superseded"


async def test_a_call_without_an_answer_is_parked_and_its_answer_ends_the_delivery(
    env: DeliveryEnvironment,
) -> None:
    provider = SlowProvider()
    async with env.engine(provider, pace=10.0) as engine:
        await engine.deliver(await env.notify("t", "done"))
        assert await env.is_in("retrying")
        (timer,) = await env.timers()
        assert timer["in_doubt"] is True
        provider.answer.set()
        await until(partial(env.is_in, "sent"))
    assert not await env.timers() and provider.ids() == ["t", "done"]
    assert await env.counts() == {"taken": 2, "fresh": 2, "sent": 1, "retrying": 1, "resolved_sent": 1}


async def test_the_timer_of_a_parked_call_waits_as_long_as_its_provider_may_take(env: DeliveryEnvironment) -> None:
    provider = SlowProvider()
    async with env.engine(provider, pace=0.001, call_timeout_s={"fake": 60.0}) as engine:
        await engine.deliver(await env.notify("t"))
        (timer,) = await env.timers()
        assert timedelta(seconds=50) < timer["due_at"] - datetime.now(UTC) < timedelta(seconds=61)


async def test_a_parked_call_that_was_answered_just_before_a_stop_is_not_repeated(
    env: DeliveryEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = SettlementStore.resolve

    async def slow(*of_answer: Any) -> frozenset[bytes]:
        await asyncio.sleep(0.2)
        return await at_once(*of_answer)

    monkeypatch.setattr(SettlementStore, "resolve", slow)
    provider = SlowProvider()
    async with env.engine(provider, pace=10.0) as engine:
        await engine.deliver(await env.notify("t"))
        provider.answer.set()
        await until(lambda: engine.engine.provider_state().calls == 0)
    assert await env.is_in("sent") and not await env.timers()


async def test_late_answers_end_their_deliveries_while_others_go_on(
    env: DeliveryEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They waited for a pause of the load, and each had a transaction on the same ledger."""
    resolve, write, groups = SettlementStore.resolve, SettlementStore.write, list[int]()

    async def counted(store: SettlementStore, bucket: int, answers: Any, *rows: Any) -> frozenset[bytes]:
        groups.append(len(answers))
        return await resolve(store, bucket, answers, *rows)

    async def busy(store: SettlementStore, flush_id: str, settlements: Any, *rows: Any, **options: Any) -> None:
        """At the end of each flush more waits."""
        await write(store, flush_id, settlements, *rows, **options)
        for one in settlements:
            engine.engine._loops[one.partition.shard].add_counted(one.partition)

    late = [f"late-{number}" for number in range(50)]
    provider = SlowProvider(**{one: [ACCEPTED] for one in late})
    async with env.engine(provider, pace=10.0) as engine:
        monkeypatch.setattr(SettlementStore, "resolve", counted)
        monkeypatch.setattr(SettlementStore, "write", busy)
        await engine.deliver(await env.notify(*late))
        provider.answer.set()
        await until(partial(_has_no_timer, env))
    assert sum(groups) == 50 and len(groups) <= 5
    assert await env.books_close()


async def test_the_answer_to_a_parked_call_after_a_later_attempt_began_is_evidence_only(
    env: DeliveryEnvironment,
) -> None:
    provider = SlowProvider(t=[ACCEPTED, ACCEPTED])
    first_answer = provider.answer
    async with env.engine(provider, pace=0.001, call_timeout_s=0.2) as engine:
        await engine.deliver(await env.notify("t"))
        provider.answer = asyncio.Event()
        await until(lambda: len(provider.calls) == 2)
        first_answer.set()
        await until(partial(env.is_in, "sent"))
        assert await env.timers() and await env.books_close(), "the second attempt settles it"
        provider.answer.set()
        await until(partial(_has_no_timer, env))
    assert [call.possible_duplicate for call in provider.calls] == [False, True]
    assert await env.books_close()


async def test_the_answer_to_a_parked_call_leaves_the_timer_of_a_later_attempt(env: DeliveryEnvironment) -> None:
    """That attempt has failed, and its timer has no claim: the answer is evidence only, and is not counted."""
    later = msgspec.structs.replace(RETRY, retry_after_s=3600.0)
    provider = SlowProvider(t=[ACCEPTED, later])
    first_answer = provider.answer
    async with env.engine(provider, pace=0.001, call_timeout_s=0.2) as engine:
        await engine.deliver(await env.notify("t"))
        provider.answer = asyncio.Event()
        provider.answer.set()
        await until(partial(_waits_after, env, 2))
        first_answer.set()
        await until(partial(env.is_in, "sent"))
    assert await _waits_after(env, 2) and await env.books_close()


async def _waits_after(env: DeliveryEnvironment, attempt: int) -> bool:
    """Whether the delivery's timer is that of the attempt after this one, and without a claim."""
    return [(one["attempt"], one["claim"]) for one in await env.timers()] == [(attempt, None)]


async def _has_no_timer(env: DeliveryEnvironment) -> bool:
    return not await env.timers()


@pytest.mark.parametrize("name", ["after_park", "before_resolve", "after_resolve"])
async def test_after_a_stop_at_a_failpoint_of_a_parked_call_the_books_close(
    env: DeliveryEnvironment, name: str
) -> None:
    provider = SlowProvider()
    with armed(f"{name}=raise@1") as points:
        async with env.engine(provider, pace=0.01, call_timeout_s=0.5) as engine:
            await engine.begin(await env.notify("t"))
            await until(partial(env.is_in, "retrying"))
            provider.answer.set()
            await until(lambda: points[name].passed)
    async with env.engine(Provider(), generation=2):
        await until(partial(env.is_in, "sent"))
        await until(partial(_has_no_timer, env))
    assert await env.books_close()


class Outage(Provider):
    """Answers with `result` until it is None."""

    result: ProviderResult | None = ProviderResult(outcome=ProviderOutcome.RETRY, provider="fake", maybe_accepted=True)

    async def send(self, message: Any) -> ProviderResult:
        await super().send(message)
        return self.result or ACCEPTED


async def test_an_outage_fails_nothing_and_opens_the_breaker(env: DeliveryEnvironment) -> None:
    provider = Outage()
    ids = [f"t{number}" for number in range(40)]
    async with env.engine(provider, pace=0.02) as engine:
        event = await engine.begin(await env.notify(*ids[:20]))
        delivering = asyncio.create_task(engine.begin(await env.notify(*ids[20:])))
        await until(lambda: engine.engine.held)
        calls = len(provider.calls)
        await asyncio.sleep(0.5)
        assert len(provider.calls) <= calls + 1, "an open breaker lets probes pass only"
        provider.result = None
        for one in ids:
            await until(partial(env.is_in, "sent", one), within_s=30)
        await delivering
        await until(lambda: event.acknowledged)
    assert await env.books_close() and not await env.timers()


async def test_a_replay_is_counted_and_is_the_next_attempt(env: DeliveryEnvironment) -> None:
    batch = await env.notify("t")
    record = batch.records[0].value or b""
    message = read_channel_message(record)
    key = delivery_key(message.delivery_id, message.decided_at.timestamp())
    provider = Provider()
    async with env.engine(provider) as engine:
        await engine.deliver(batch)
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        await env.shards.collection(TIMERS, BUCKET).insert_one(
            new_timer(key, BUCKET, "push", now_ms, 1, False, record, replay=True)
        )
        await engine.own(BUCKET, 2)
        await until(lambda: len(provider.calls) == 2)
        await until(partial(_has_no_timer, env))
    assert [call.attempt for call in provider.calls] == [1, 2]
    assert await env.counts() == {"taken": 1, "fresh": 1, "sent": 1, "replayed": 1, "resolved_sent": 1}


async def test_while_too_much_is_not_settled_no_call_begins(
    env: DeliveryEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "MAX_UNSETTLED", 10)
    provider = Provider(max_in_flight=4)
    async with env.engine(provider) as engine:
        with armed("before_settlement=stall:0.5@2"):
            event = await engine.deliver(await env.notify(*[f"t{number}" for number in range(60)]))
    during = sum(at < provider.called_at[0] + 0.4 for at in provider.called_at)
    assert 10 < during <= 10 + 2 * provider.max_in_flight, "those under way may end"
    assert event.acknowledged == 1 and len(provider.calls) == 60


async def test_while_a_result_is_not_settled_for_long_no_call_begins(
    env: DeliveryEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "MAX_UNSETTLED_S", 0.1)
    write, goes_on, is_old = SettlementStore.write, asyncio.Event(), asyncio.Event()

    async def stall(
        self: SettlementStore, flush_id: str, settlements: Sequence[Settlement], *rest: Any, **how: Any
    ) -> None:
        if any(one.attempts for one in settlements):
            await goes_on.wait()
        await write(self, flush_id, settlements, *rest, **how)

    async def second(message: Any) -> None:
        if len(provider.calls) == 2:
            await asyncio.sleep(0.2)  # the result of the first one is old then
            is_old.set()

    monkeypatch.setattr(SettlementStore, "write", stall)
    provider = Provider(max_in_flight=1)
    provider.before = second
    async with env.engine(provider) as engine:
        delivered = asyncio.create_task(engine.deliver(await env.notify(*[f"t{number}" for number in range(20)])))
        await asyncio.wait_for(is_old.wait(), 10)
        await asyncio.sleep(0.2)
        assert len(provider.calls) == 2, "no other begins"
        goes_on.set()
        assert (await delivered).acknowledged == 1 and len(provider.calls) == 20


async def test_attempts_are_deleted_after_their_notifications(
    env: DeliveryEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_EXPIRE_EVERY_S", 0.05)
    now = in_whole_ms(datetime.now(UTC))
    old = await env.notify("old", now=now - timedelta(days=90, hours=3))
    async with env.engine(Provider()) as engine:
        await engine.deliver(old)
        await engine.deliver(await env.notify("young"))
        await until(partial(env.is_in, "queued", "old"))
    assert await env.is_in("sent", "young")


async def test_attempts_are_deleted_by_the_clock_that_deletes_their_notifications(
    env: DeliveryEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By that of a worker that is ahead they would be gone before those, and with them what proves each call."""
    monkeypatch.setattr(engine_module, "_EXPIRE_EVERY_S", 0.05)
    ahead: Any = ShardsWithClock(lambda: datetime.now(UTC) + timedelta(days=91))
    async with env.engine(Provider(), clocks=ShardClocks(ahead, 5.0)) as engine:
        await engine.deliver(await env.notify("t"))
        await until(partial(env.is_in, "queued"))


async def test_a_timer_is_not_claimed_again_by_the_flush_that_settles_its_attempt(env: DeliveryEnvironment) -> None:
    """Both would match it, and the attempt would be made again without a timer."""
    provider = SlowProvider(t=[RETRY])
    provider.answer.set()
    async with env.engine(provider) as engine:
        await engine.deliver(await env.notify("t"))
        provider.answer.clear()
        await until(lambda: len(provider.calls) == 2)
        (timer,) = await env.timers()
        (delivery,) = engine.engine._calls._calls
        loop = engine.engine._loops[delivery.partition.shard]
        loop.add(delivery, Attempt(Rank.SENT, 1, provider="fake"), None)
        read = Timer(timer["_id"], BUCKET, 1, "fake", False, timer["record"], timer["claim"], timer["due_at"], False)
        assert not await loop.claim_timers(delivery.partition, [read])
    assert await env.is_in("sent") and not await env.timers() and await env.books_close()


@pytest.mark.parametrize("changed", [{}, {"attempt": 0}, {"claim": b"another"}], ids=str)
async def test_a_timer_that_has_changed_since_it_was_read_is_not_claimed(
    env: DeliveryEnvironment, changed: dict[str, Any]
) -> None:
    async with env.engine(Provider(t=[RETRY]), pace=100.0) as engine:
        await engine.deliver(await env.notify("t"))
        (timer,) = [one | changed for one in await env.timers()]
        read = Timer(
            timer["_id"],
            BUCKET,
            timer["attempt"],
            "fake",
            False,
            timer["record"],
            timer["claim"],
            timer["due_at"],
            replay=False,
        )
        partition = engine.engine._ownership.partitions[BUCKET]
        assert await engine.engine._loops[partition.shard].claim_timers(partition, [read]) is (not changed)
    assert ((await env.timers())[0]["claim"] is None) is bool(changed)


async def test_an_attempt_that_is_stored_already_stops_nothing(env: DeliveryEnvironment) -> None:
    """It can only come from a defect."""
    batch = await env.notify("t", "other")
    provider = SlowProvider()
    async with env.engine(provider) as engine:
        event = await engine.begin(batch)
        await until(lambda: len(provider.calls) == 2)
        (partition,) = engine.engine._ownership.partitions.values()
        message = read_channel_message(batch.records[0].value or b"")
        key = delivery_key(message.delivery_id, message.decided_at.timestamp())
        attempt = Attempt(Rank.SENT, 1, provider="fake")
        await env.shards.collection(ATTEMPTS, BUCKET).insert_one(
            attempt_document(key, BUCKET, 1, Phase.CALL, partition.token.random, attempt)
        )
        provider.answer.set()
        await asyncio.wait_for(event.done.wait(), 20)
    assert await env.is_in("sent") and await env.is_in("sent", "other") and await env.books_close()


async def test_a_message_whose_address_cannot_be_checked_waits_and_holds_up_no_other(env: DeliveryEnvironment) -> None:
    provider, check = Provider(), Check(unchecked={"unknown"})
    async with env.engine(provider, check, pace=0.0002) as engine:
        await engine.deliver(await env.notify("unknown", "known"))
        assert await env.is_in("sent", "known") and await env.is_in("retrying", "unknown")
        assert provider.ids() == ["known"]
        assert {(one["code"], one["in_doubt"]) for one in await env.history("unknown")} == {
            ("address not checked", False)
        }
        check.unchecked.clear()
        await until(partial(env.is_in, "sent", "unknown"))
    assert provider.ids() == ["known", "unknown"]
    assert await env.books_close() and not await env.timers()
