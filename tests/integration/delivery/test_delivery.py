"""A batch of messages in; each one's state durable when `deliver` returns, and at most the calls that it needed."""

import asyncio
import logging
from datetime import UTC, datetime

import msgspec
import pytest

from notify_streams import metrics
from notify_streams.records.ids import notification_id
from tests.builders import a_message
from tests.integration.delivery.delivery_fixtures import (
    ACCEPTED,
    BUCKET,
    DEAD,
    NOT_BEGUN,
    REJECTED,
    RETRY,
    UNSURE,
    Check,
    Provider,
    batch_of,
)


def refused_records(topic, reason):
    return metrics.REJECTED_RECORDS.labels(topic, reason)._value.get()


ENDS = [
    pytest.param([ACCEPTED], {"state": "sent", "attempts": 1, "provider_id": "p-1"}, id="accepted"),
    pytest.param([REJECTED], {"state": "failed", "attempts": 1, "reason": "provider_rejected"}, id="rejected"),
    pytest.param([DEAD], {"state": "failed", "attempts": 1, "reason": "dead_token"}, id="dead token"),
    pytest.param([RETRY, ACCEPTED], {"state": "sent", "attempts": 2, "provider_id": "p-1"}, id="at the second try"),
    pytest.param([RETRY] * 4, {"state": "failed", "attempts": 4, "reason": "provider_exhausted"}, id="exhausted"),
    pytest.param([NOT_BEGUN] * 5 + [ACCEPTED], {"state": "sent", "attempts": 1, "provider_id": "p-1"}, id="not begun"),
    pytest.param([RuntimeError("a defect")] * 4, {"state": "failed", "reason": "provider_exhausted"}, id="raises"),
    pytest.param([ValueError("once"), ACCEPTED], {"state": "sent", "attempts": 2}, id="raises once"),
]


@pytest.mark.parametrize(("answers", "expected"), ENDS)
async def test_what_the_provider_says_decides_the_state(room, answers, expected):
    provider = Provider(t=answers)
    await room.delivery(provider).deliver(await room.notify("t"))
    found = await room.state()
    assert {name: found.get(name) for name in expected} == expected
    assert "claim" not in found
    assert found["provider"] == "fake" and len(provider.calls) == len(answers)


async def test_the_call_says_all_that_the_provider_needs(room):
    provider = Provider()
    batch = await room.notify("t", data={"amount": "12.50"}, collapse_key="c", critical=True)
    await room.delivery(provider).deliver(batch)
    (call,) = provider.calls
    assert (call.title, call.body, call.data) == ("Payment received", "You received 12.50.", {"amount": "12.50"})
    assert call.delivery_id == f"{notification_id('t', 'u-42')}.push"
    assert (call.to, call.channel, call.collapse_key, call.critical) == ("contact-u-42", "push", "c", True)
    assert (call.attempt, call.possible_duplicate) == (1, False)
    assert call.expires_at_ms > call.decided_at_ms > 1_600_000_000_000


async def test_tries_are_numbered_one_after_the_other(room):
    provider = Provider(t=[RETRY, UNSURE, RETRY, ACCEPTED])
    await room.delivery(provider).deliver(await room.notify("t"))
    assert [call.attempt for call in provider.calls] == [1, 2, 3, 4]
    assert [call.possible_duplicate for call in provider.calls] == [False, False, True, True]


async def test_a_call_that_never_began_is_no_try(room):
    provider = Provider(t=[NOT_BEGUN, NOT_BEGUN, RETRY, NOT_BEGUN, ACCEPTED])
    await room.delivery(provider).deliver(await room.notify("t"))
    assert [call.attempt for call in provider.calls] == [1, 1, 1, 2, 2]


@pytest.mark.parametrize("answer", [RETRY, RuntimeError("Session is closed")], ids=["cut off", "closed"])
async def test_a_call_that_fails_because_the_worker_ends_ends_nothing(room, answer):
    batch = await room.notify("t")
    provider = Provider(t=[answer] * 4)
    ending = room.delivery(provider)

    async def close(_):
        await ending.close()

    provider.before = close
    with pytest.raises(asyncio.CancelledError):
        await ending.deliver(batch)
    assert provider.closed and len(provider.calls) == 1
    assert (await room.state())["state"] == "sending"
    successor = Provider()
    await room.delivery(successor).deliver(batch)
    assert (await room.state())["state"] == "sent"


async def test_a_delivery_taken_over_is_marked_and_counted_on(room):
    batch = await room.notify("t")
    await room.claims().take(BUCKET, [notification_id("t", "u-42")], "gone", datetime.now(UTC))
    provider = Provider()
    await room.delivery(provider).deliver(batch)
    assert [(call.attempt, call.possible_duplicate) for call in provider.calls] == [(2, True)]
    assert (await room.state())["attempts"] == 2


async def test_a_message_twice_in_a_batch_is_one_call(room):
    batch = await room.notify("t")
    provider = Provider()
    twice = batch_of(*[record.value for record in (*batch.records, *batch.records)])
    await room.delivery(provider).deliver(twice)
    assert provider.ids() == ["t"]


async def test_a_message_twice_in_the_topic_is_one_call(room):
    batch = await room.notify("t", "s")
    provider = Provider(s=[REJECTED])
    for _ in range(3):
        await room.delivery(provider).deliver(batch)
    assert sorted(provider.ids()) == ["s", "t"]
    assert (await room.state("s"))["state"] == "failed"


async def test_messages_without_a_notification_are_counted_and_not_sent(room):
    before = refused_records("push", "unknown_notification")
    provider = Provider()
    good = await room.notify("t")
    strange = msgspec.json.encode(a_message(trigger_id="forged"))
    await room.delivery(provider).deliver(batch_of(strange, good.records[0].value))
    assert provider.ids() == ["t"]
    assert refused_records("push", "unknown_notification") == before + 1


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
async def test_what_is_no_message_for_this_channel_stops_nobody(room, value, reason):
    before = refused_records("push", reason)
    provider = Provider()
    good = await room.notify("good")
    await room.delivery(provider).deliver(batch_of(value, good.records[0].value))
    assert provider.ids() == ["good"] and refused_records("push", reason) == before + 1


@pytest.mark.parametrize(
    "but",
    [{"template": "gone"}, {"category": "gone"}, {"data": msgspec.Raw(b"[1]")}, {"data": msgspec.Raw(b'{"a":1e999}')}],
    ids=["template", "category", "data", "number"],
)
async def test_a_message_that_cannot_be_put_into_words_fails_alone(room, but):
    batch = await room.notify("t", "good")
    changed = msgspec.json.decode(batch.records[0].value) | but
    provider = Provider()
    await room.delivery(provider).deliver(batch_of(msgspec.json.encode(changed), batch.records[1].value))
    assert provider.ids() == ["good"]
    assert await room.state() == {"state": "failed", "reason": "provider_rejected", "attempts": 1, "provider": "fake"}


async def test_an_empty_batch_asks_nobody(room):
    check = Check()
    await room.delivery(Provider(), check).deliver(batch_of())
    assert check.asked == []


async def test_no_more_calls_at_once_than_the_provider_takes(room):
    provider, under_way, most = Provider(max_in_flight=3), 0, 0

    async def count(_):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.005)
        under_way -= 1

    provider.before = count
    await room.delivery(provider).deliver(await room.notify(*[f"t{number}" for number in range(20)]))
    assert most == 3 and len(provider.calls) == 20


async def test_no_log_line_names_a_contact(room, caplog):
    caplog.set_level(logging.DEBUG)
    batch = await room.notify("t", "s", "gone")
    bad = batch.records[2].value.replace(b'"critical"', b'"x"').replace(b"payment_received", b"gone")
    provider = Provider(t=[ValueError("no: contact-u-42"), REJECTED], s=[DEAD])
    wrong = msgspec.json.encode(a_message(to="contact-u-42", channel="sms"))
    await room.delivery(provider).deliver(
        batch_of(batch.records[0].value, batch.records[1].value, bad, wrong, b'{"to":5}')
    )
    assert caplog.records
    assert not [record for record in caplog.records if "contact-u-42" in repr(vars(record))]


CHANNELS = [("push", "fcm", "tok-1"), ("sms", "twilio", "+15551234567"), ("email", "smtp", "a@example.org")]


@pytest.mark.parametrize(("channel", "name", "to"), CHANNELS, ids=["push", "sms", "email"])
async def test_through_the_real_clients_each_message_arrives_once(room, providers, channel, name, to):
    prefix = f"{room.settings.database}-{channel}"
    batch = await room.notify(*[f"{prefix}-{number}" for number in range(40)], channel=channel, data={"amount": 10**25})
    batch = batch_of(*[record.value.replace(b"contact-u-42", to.encode()) for record in batch.records], topic=channel)
    client = providers.client(channel)
    await client.start()
    try:
        await providers.order(provider=name, fail={"status": 451 if name == "smtp" else 503, "share": 0.2}, seed=7)
        await room.delivery(client, channel=channel).deliver(batch)
    finally:
        await client.close()
    found = providers.accepted(prefix)
    states = [(await room.state(f"{prefix}-{number}", channel))["state"] for number in range(40)]
    assert len(found) == states.count("sent") == len({one.delivery_id for one in found}) >= 38
    assert not [one for one in found if one.possible_duplicate]


async def test_an_answer_that_is_lost_doubles_with_a_mark(room, providers):
    prefix = f"{room.settings.database}-lost"
    client = providers.client("push", timeout_s=2.0)
    await client.start()
    try:
        await providers.order(provider="fcm", lose_answer=0.4, seed=3)
        batch = await room.notify(*[f"{prefix}-{number}" for number in range(20)])
        await room.delivery(client).deliver(batch)
    finally:
        await client.close()
    by_delivery = {}
    for one in providers.accepted(prefix):
        by_delivery.setdefault(one.delivery_id, []).append(one)
    assert len(by_delivery) == 20 and any(len(calls) > 1 for calls in by_delivery.values())
    for calls in by_delivery.values():
        assert [one.possible_duplicate for one in calls] == [False] + [True] * (len(calls) - 1)
        assert [one.attempt for one in calls] == list(range(1, len(calls) + 1))
