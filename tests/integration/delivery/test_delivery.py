"""A batch is acknowledged when each message has a durable attempt; what was not accepted is tried again."""

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest

from notify_streams import metrics
from notify_streams.admin.audit.provider_log import AcceptedMessage
from notify_streams.delivery import message_reader
from notify_streams.delivery.providers import Outgoing, ProviderOutcome, ProviderResult, unsendable
from notify_streams.failpoints import armed
from notify_streams.records.ids import notification_id
from notify_streams.roles import Channel
from tests.builders import ABatch, a_message, templates
from tests.integration.delivery.delivery_fixtures import (
    ACCEPTED,
    BUCKET,
    DEAD,
    NOT_BEGUN,
    REJECTED,
    RETRY,
    UNSURE,
    Check,
    DeliveryEnvironment,
    Provider,
    Sandbox,
)
from tests.waiting import until


def refused_records(topic: str, reason: str) -> float:
    labels = {"topic": topic, "reason": reason}
    return metrics.REGISTRY.get_sample_value("notify_rejected_records_total", labels) or 0


ENDS = [
    pytest.param([ACCEPTED], {"state": "sent", "attempts": 1, "provider_id": "p-1"}, id="accepted"),
    pytest.param([REJECTED], {"state": "failed", "attempts": 1, "reason": "provider_rejected"}, id="rejected"),
    pytest.param([DEAD], {"state": "failed", "attempts": 1, "reason": "dead_token"}, id="dead token"),
    *(
        pytest.param([unsendable("fake", ours, "")], {"state": "failed", "attempts": 1, "reason": reason}, id=reason)
        for ours, reason in (
            (ProviderOutcome.RENDERING, "rendering"),
            (ProviderOutcome.TOO_LARGE, "too_large"),
            (ProviderOutcome.BAD_ADDRESS, "bad_address"),
        )
    ),
    pytest.param([RETRY, ACCEPTED], {"state": "sent", "attempts": 2, "provider_id": "p-1"}, id="at the second try"),
    pytest.param([RETRY] * 4 + [ACCEPTED], {"state": "sent", "attempts": 5}, id="at the fifth try"),
    pytest.param(
        [RETRY, DEAD], {"state": "failed", "attempts": 2, "reason": "dead_token"}, id="dead at the second try"
    ),
    pytest.param([NOT_BEGUN, ACCEPTED], {"state": "sent", "attempts": 2, "provider_id": "p-1"}, id="not begun"),
    pytest.param([ValueError("once"), ACCEPTED], {"state": "sent", "attempts": 2}, id="raises once"),
]


@pytest.mark.parametrize(("results", "expected"), ENDS)
async def test_the_providers_results_decide_the_state(
    env: DeliveryEnvironment, results: list[ProviderResult | Exception], expected: dict[str, Any]
) -> None:
    provider = Provider(t=results)
    began_ms = int(time.time() * 1000)
    async with env.engine(provider) as engine:
        await engine.deliver(await env.notify("t"))
        await until(partial(env.is_in, expected["state"]))
        reported = engine.dead_addresses
    assert [one[:3] for one in reported] == [(BUCKET, "u-42", "contact-u-42")] * results.count(DEAD)
    assert all(began_ms <= called_ms <= time.time() * 1000 for *_, called_ms in reported)
    found = await env.state()
    assert {name: found.get(name) for name in expected} == expected
    assert found["provider"] == "fake" and len(provider.calls) == len(results)
    assert await env.books_close() and not await env.timers()


async def test_what_has_an_outcome_counts_as_progress_before_its_batch_is_acknowledged(
    env: DeliveryEnvironment,
) -> None:
    provider, answers = Provider(), asyncio.Event()

    async def before(message: Outgoing) -> None:
        if message.notification_id.startswith(notification_id("slow", "u-42", "payments")):
            await answers.wait()

    provider.before = before
    async with env.engine(provider) as engine:
        batch = await env.notify("t", "slow")
        event = await engine.begin(batch)
        await until(lambda: engine.engine.counted_to(BUCKET) == batch.start + 1)
        assert event.acknowledged == 0
        answers.set()
        await until(lambda: event.acknowledged)
        assert engine.engine.counted_to(BUCKET) == batch.end
        assert engine.engine.counted_to(BUCKET + 1) is None


async def test_a_call_contains_the_rendered_message_and_its_metadata(env: DeliveryEnvironment) -> None:
    provider = Provider()
    batch = await env.notify("t", data={"amount": "12.50"}, collapse_key="c", critical=True)
    async with env.engine(provider) as engine:
        await engine.deliver(batch)
    (call,) = provider.calls
    assert (call.title, call.body, call.data) == ("Payment received", "You received 12.50.", {"amount": "12.50"})
    assert call.delivery_id == f"{notification_id('t', 'u-42', 'payments')}.push"
    assert (call.to, call.channel, call.collapse_key, call.critical) == ("contact-u-42", "push", "c", True)
    assert (call.attempt, call.possible_duplicate) == (1, False)
    assert call.expires_at_ms is not None and call.decided_at_ms is not None
    assert call.expires_at_ms > call.decided_at_ms > 1_600_000_000_000


async def test_each_attempt_says_which_text_was_rendered(env: DeliveryEnvironment) -> None:
    async with env.engine(Provider(t=[RETRY, ACCEPTED])) as engine:
        await engine.deliver(await env.notify("t"))
        await until(partial(env.is_in, "sent"))
    version = templates().locales("payment_received")["en"].version
    assert [attempt["template_version"] for attempt in await env.history()] == [version] * 2


async def test_attempts_are_numbered_and_marked_after_doubt(env: DeliveryEnvironment) -> None:
    provider = Provider(t=[RETRY, UNSURE, RETRY, ACCEPTED])
    async with env.engine(provider) as engine:
        await engine.deliver(await env.notify("t"))
        await until(partial(env.is_in, "sent"))
    assert [call.attempt for call in provider.calls] == [1, 2, 3, 4]
    assert [call.possible_duplicate for call in provider.calls] == [False, False, True, True]


@pytest.mark.parametrize("result", [RETRY, RuntimeError("Session is closed")], ids=["cut off", "closed"])
async def test_a_call_that_fails_while_the_worker_stops_is_repeated_and_marked(
    env: DeliveryEnvironment, running: Callable[[Any], Any], result: ProviderResult | Exception
) -> None:
    batch = await env.notify("t")
    provider = Provider(t=[result])
    async with env.engine(provider) as engine:
        stop = asyncio.Event()

        async def wait(_: object) -> None:
            running(engine.engine.stop())
            await asyncio.sleep(0)
            stop.set()

        provider.before = wait
        event = await engine.begin(batch)
        await stop.wait()
    assert provider.closed and len(provider.calls) == 1 and not event.acknowledged
    successor = Provider()
    async with env.engine(successor, generation=2) as engine:
        await engine.deliver(batch)
    assert [call.possible_duplicate for call in successor.calls] == [True]
    assert (await env.state())["state"] == "sent" and await env.books_close()


async def test_a_message_twice_in_a_batch_is_one_call(env: DeliveryEnvironment) -> None:
    batch = await env.notify("t")
    env.forget(batch)
    provider = Provider()
    async with env.engine(provider) as engine:
        await engine.deliver(env.batch(*[record.value for record in (*batch.records, *batch.records)]))
    assert provider.ids() == ["t"]
    assert await env.counts() == {"taken": 2, "fresh": 1, "duplicate": 1, "sent": 1} and await env.books_close()


async def test_a_message_twice_in_the_topic_is_one_call(env: DeliveryEnvironment) -> None:
    batch = await env.notify("t", "s")
    again = [record.value for record in batch.records]
    provider = Provider(s=[REJECTED])
    async with env.engine(provider) as engine:
        await engine.deliver(batch)
        await engine.deliver(env.batch(*again))
    async with env.engine(provider, generation=2) as engine:
        await engine.deliver(env.batch(*again))
    assert sorted(provider.ids()) == ["s", "t"]
    assert (await env.state("s"))["state"] == "failed"
    assert await env.counts() == {"taken": 6, "fresh": 2, "duplicate": 4, "sent": 1, "failed": 1}


async def test_a_message_without_a_notification_is_counted_and_not_sent(env: DeliveryEnvironment) -> None:
    before = refused_records("push", "unknown_notification")
    provider = Provider()
    good = await env.notify("t")
    env.forget(good)
    strange = msgspec.json.encode(a_message(trigger_id="forged"))
    async with env.engine(provider) as engine:
        await engine.deliver(env.batch(strange, good.records[0].value))
    assert provider.ids() == ["t"]
    assert refused_records("push", "unknown_notification") == before + 1
    assert await env.counts() == {"taken": 2, "fresh": 1, "foreign": 1, "sent": 1}


NOT_MESSAGES = [
    pytest.param(b"", "invalid", id="empty"),
    pytest.param(b"hello", "invalid", id="text"),
    pytest.param(b"{}", "invalid", id="empty object"),
    pytest.param(b"\xff", "invalid", id="not UTF-8"),
    pytest.param(b'{"data":' + b"[" * 100_000, "invalid", id="very deep"),
    pytest.param(msgspec.json.encode(a_message(channel="sms")), "other_channel", id="for another channel"),
    pytest.param(msgspec.json.encode(a_message()).replace(b"00:00Z", b"00:00"), "invalid", id="no time zone"),
]


@pytest.mark.parametrize(("value", "reason"), NOT_MESSAGES)
async def test_an_unusable_record_is_counted_and_the_others_are_sent(
    env: DeliveryEnvironment, value: bytes, reason: str
) -> None:
    before = refused_records("push", reason)
    provider = Provider()
    good = await env.notify("good")
    env.forget(good)
    async with env.engine(provider) as engine:
        await engine.deliver(env.batch(value, good.records[0].value))
    assert provider.ids() == ["good"] and refused_records("push", reason) == before + 1
    assert await env.counts() == {"taken": 2, "fresh": 1, "foreign": 1, "sent": 1}


@pytest.mark.parametrize(
    "but",
    [{"template": "gone"}, {"category": "gone"}, {"data": msgspec.Raw(b"[1]")}, {"data": msgspec.Raw(b'{"a":1e999}')}],
    ids=["template", "category", "data", "number"],
)
async def test_a_message_that_cannot_be_rendered_fails_alone(env: DeliveryEnvironment, but: dict[str, Any]) -> None:
    batch = await env.notify("t", "good")
    changed = msgspec.json.decode(batch.records[0].value or b"") | but
    provider = Provider()
    env.forget(batch)
    async with env.engine(provider) as engine:
        await engine.deliver(env.batch(msgspec.json.encode(changed), batch.records[1].value))
    assert provider.ids() == ["good"]
    found = await env.state()
    assert (found["state"], found["reason"], found["attempts"]) == ("failed", "rendering", 1)


@pytest.mark.parametrize("decided_at", ["1969-12-31T23:59:59Z", "2106-02-07T06:28:16Z"])
async def test_a_message_of_an_impossible_time_is_counted_and_stops_nothing(
    env: DeliveryEnvironment, decided_at: str
) -> None:
    batch = await env.notify("t", "good")
    changed = msgspec.json.decode(batch.records[0].value or b"") | {"decided_at": decided_at}
    provider = Provider()
    env.forget(batch)
    async with env.engine(provider) as engine:
        await engine.deliver(env.batch(msgspec.json.encode(changed), batch.records[1].value))
    assert provider.ids() == ["good"]
    assert await env.counts() == {"taken": 2, "fresh": 1, "sent": 1, "foreign": 1} and await env.books_close()


async def test_a_batch_that_could_not_be_read_is_read_again(
    env: DeliveryEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect holds one batch of one partition, and no place of other deliveries."""
    provider = Provider(max_in_flight=1)
    batch = await env.notify("a", "b")
    async with env.engine(provider) as engine:
        with monkeypatch.context() as broken:
            broken.setattr(message_reader, "read_channel_message", None)
            for _ in range(3):
                with pytest.raises(TypeError):
                    await engine.begin(batch)
                await until(lambda: all(one.active for one in engine.engine._ownership.partitions.values()))
        await engine.deliver(batch)
    assert sorted(provider.ids()) == ["a", "b"]
    assert await env.counts() == {"taken": 2, "fresh": 2, "sent": 2} and await env.books_close()


async def test_a_call_whose_end_is_lost_stops_its_partition_until_the_worker_is_restarted(
    env: DeliveryEnvironment,
) -> None:
    """Reading it again at once would send it again, and again if the error comes again."""
    provider = Provider()
    with armed("after_provider=raise@2"):
        async with env.engine(provider) as engine:
            await engine.deliver(await env.notify("s"))
            batch = await env.notify("t")
            event = await engine.begin(batch)
            await until(lambda: engine.engine.failed is not None)
            await engine.begin(await env.notify("u"))
            await asyncio.sleep(0.3)
            assert not event.done.is_set() and len(provider.calls) == 2
    provider = Provider()
    async with env.engine(provider, generation=2) as engine:
        await engine.deliver(batch)
        await until(partial(env.is_in, "sent"))
    assert [call.possible_duplicate for call in provider.calls] == [True]


async def test_an_empty_batch_is_not_checked(env: DeliveryEnvironment) -> None:
    check = Check()
    async with env.engine(Provider(), check) as engine:
        await engine.begin(env.batch())
    assert check.checked == []


async def test_positions_without_a_record_are_counted_as_holes_and_lost_ones_as_lost(env: DeliveryEnvironment) -> None:
    batch = await env.notify("t")
    late = dataclasses.replace(batch.records[0], offset=7)
    async with env.engine(Provider()) as engine:
        await engine.deliver(ABatch([late], topic="push", partition=BUCKET, start=0, end=9, lost=3))
        await engine.deliver(ABatch([], topic="push", partition=BUCKET, start=9, end=12))
        await until(partial(env.is_at, 12))
    assert await env.counts() == {"taken": 1, "fresh": 1, "sent": 1, "lost": 3, "holes": 8} and await env.books_close()


async def test_concurrent_calls_are_limited_by_the_provider(env: DeliveryEnvironment) -> None:
    provider, running, most = Provider(max_in_flight=3), 0, 0

    async def count(_: object) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1

    provider.before = count
    async with env.engine(provider) as engine:
        await engine.deliver(await env.notify(*[f"t{number}" for number in range(20)]))
    assert most == 3 and len(provider.calls) == 20


async def test_no_log_line_contains_a_contact(env: DeliveryEnvironment, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    batch = await env.notify("t", "s", "gone")
    bad = (batch.records[2].value or b"").replace(b'"critical"', b'"x"').replace(b"payment_received", b"gone")
    provider = Provider(t=[ValueError("no: contact-u-42"), REJECTED], s=[DEAD])
    wrong = msgspec.json.encode(a_message(to="contact-u-42", channel="sms"))
    env.forget(batch)
    async with env.engine(provider) as engine:
        await engine.deliver(env.batch(batch.records[0].value, batch.records[1].value, bad, wrong, b'{"to":5}'))
        await until(lambda: len(provider.calls) == 3)
    assert caplog.records
    assert not [record for record in caplog.records if "contact-u-42" in repr(vars(record))]


CHANNELS = [("push", "fcm", "tok-1"), ("sms", "twilio", "+15551234567"), ("email", "smtp", "a@example.org")]


@pytest.mark.parametrize(("channel", "name", "to"), CHANNELS, ids=["push", "sms", "email"])
async def test_with_the_real_clients_each_message_arrives_once(
    env: DeliveryEnvironment, providers: Sandbox, channel: Channel, name: str, to: str
) -> None:
    prefix = f"{env.settings.database}-{channel}"
    ids = [f"{prefix}-{number}" for number in range(40)]
    batch = await env.notify(*ids, channel=channel, data={"amount": 10**25})
    env.forget(batch)
    batch = env.batch(
        *[(record.value or b"").replace(b"contact-u-42", to.encode()) for record in batch.records], topic=channel
    )
    await providers.control(provider=name, fail={"status": 451 if name == "smtp" else 503, "share": 0.2}, seed=7)
    async with env.engine(providers.client(channel), channel=channel) as engine:
        await engine.deliver(batch)
        for one in ids:
            await until(partial(env.is_in, "sent", one, channel))
    found = providers.accepted(prefix)
    assert len(found) == len({one.delivery_id for one in found}) == 40


async def test_a_call_after_a_lost_response_is_marked(env: DeliveryEnvironment, providers: Sandbox) -> None:
    prefix = f"{env.settings.database}-lost"
    await providers.control(provider="fcm", lose_answer=0.4, seed=3)
    ids = [f"{prefix}-{number}" for number in range(20)]
    async with env.engine(providers.client("push", timeout_s=2.0)) as engine:
        await engine.deliver(await env.notify(*ids))
        for one in ids:
            await until(partial(env.is_in, "sent", one))
    by_delivery: dict[str, list[AcceptedMessage]] = {}
    for accepted in providers.accepted(prefix):
        by_delivery.setdefault(accepted.delivery_id, []).append(accepted)
    assert len(by_delivery) == 20 and any(len(calls) > 1 for calls in by_delivery.values())
    for calls in by_delivery.values():
        assert [one.possible_duplicate for one in calls] == [False] + [True] * (len(calls) - 1)
        assert [one.attempt for one in calls] == list(range(1, len(calls) + 1))
    assert await env.books_close()


async def test_a_check_that_ends_unexpectedly_leaves_its_messages_to_another_reading(env: DeliveryEnvironment) -> None:
    """The first one is good for no time, so they are checked again before their calls."""
    check, provider = Check(good_s=0.0), Provider()

    async def fail_once() -> None:
        if len(check.checked) == 2:
            check.good_s = 60.0
            raise KeyError("a defect")

    check.before = fail_once
    batch = await env.notify("t")
    async with env.engine(provider, check) as engine:
        event = await engine.begin(batch)
        await until(lambda: event.refused == [batch.start])
        await engine.deliver(batch)
    assert provider.ids() == ["t"] and await env.books_close()
