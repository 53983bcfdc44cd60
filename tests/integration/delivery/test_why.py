"""`why` tells the story of a delivery from what real flushes and engines have stored."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec

from notify_streams.admin.why import By, Question, Story, ask, story_lines
from notify_streams.delivery.delivery_ledger import DeliveryLedger, Token
from notify_streams.delivery.providers import ProviderOutcome, ProviderResult
from notify_streams.delivery.timers import arm, new_timer
from notify_streams.errors import StoreUnavailable
from notify_streams.failpoints import armed
from notify_streams.outbox.decided_batch import DecidedBatch, RecordOutcome
from notify_streams.outbox.transaction import FlushStore
from notify_streams.records.ids import delivery_id, notification_id
from notify_streams.records.outcomes import DeadReason, DeliveryState, Reason, TriggerOutcome
from notify_streams.registry.user import User
from notify_streams.routing.decision import ChannelDecision
from notify_streams.routing.outcome_records import dead_letter, forwarded
from notify_streams.settings import Settings
from notify_streams.stores.mongo import ATTEMPTS, LEDGER, TIMERS, Shards
from tests.builders import ARecord, a_decided_batch, an_outcome, categories, trigger_json
from tests.integration.delivery.delivery_fixtures import BUCKET, DeliveryEnvironment, Provider
from tests.integration.delivery.test_receipts import apply
from tests.integration.outbox.outbox_fixtures import flush_of
from tests.waiting import until

#: In `BUCKET` of 8.
PERSON = "u-10"
AWAY = ProviderResult(outcome=ProviderOutcome.RETRY, provider="fake", detail="HTTP 503", maybe_accepted=True)


@asynccontextmanager
async def opened(env: DeliveryEnvironment, settings: Settings) -> AsyncIterator[Shards]:
    if settings is not env.settings:
        raise StoreUnavailable("MongoDB of region eu failed: ServerSelectionTimeoutError")
    yield env.shards


async def why(
    env: DeliveryEnvironment, asked: str, by: By = By.TRIGGER, user: User | None = None, limit: int = 10
) -> Story:
    """The story over us, and over eu, which does not answer."""
    eu = msgspec.structs.replace(env.settings, region="eu", shards=("mongodb://none/",))

    async def find_user(user_id: str) -> User | None:
        return user

    settings = {"us": env.settings, "eu": eu}
    return await ask(
        Question(by, asked, limit),
        ["us", "eu"],
        settings.__getitem__,
        categories(),
        find_user,
        partial(opened, env),
        5.0,
    )


async def test_each_attempt_is_told_with_its_call_its_receipt_and_the_next_one(env: DeliveryEnvironment) -> None:
    batch = await env.notify("t", channel="sms", user_id=PERSON)
    provider = Provider(t=[AWAY])
    async with env.engine(provider, channel="sms") as engine:
        await engine.deliver(batch)
        await until(lambda: _has_attempts(env, 2), "the second attempt")
    delivery = delivery_id(notification_id("t", PERSON, "payments"), "sms")
    receipt = {"delivery_id": delivery, "state": "delivered", "at": datetime.now(UTC), "attempt": 2, "provider": "fake"}
    await apply(env, msgspec.json.encode(receipt))
    timer = new_timer(await _key(env), BUCKET, "sms", 10**13, 2, True, b"", replay=True)
    await env.shards.collection(TIMERS, BUCKET).update_one(arm(timer)["q"], {"$set": timer}, upsert=True)

    story = await why(env, "payments/t")
    (notification,) = story.notifications
    (sms,) = notification.deliveries
    assert sms.state == "delivered" and sms.why.startswith("payments by sms was allowed")
    assert [(one.kind, one.number, one.state, one.code) for one in sms.history] == [
        ("call", 1, "retrying", "HTTP 503"),
        ("call", 2, "sent", None),
        ("receipt", 2, "delivered", None),
    ]
    first, second, _ = sms.history
    assert (first.possible_duplicate, first.in_doubt) == (False, True)
    assert (second.possible_duplicate, second.replay) == (True, False)
    assert first.to == second.to == "co•••10" and first.took_ms is not None and first.took_ms < 5_000
    assert sms.published_at == datetime.fromtimestamp(0, UTC), "the time of the record"
    assert sms.next_attempt is not None and (sms.next_attempt.number, sms.next_attempt.replay) == (3, True)
    assert notification.entry.offset == 0 and notification.entry.topic == "triggers.payments"
    assert [one.region for one in story.regions if one.problems] == ["eu"]
    assert "region eu: MongoDB of region eu failed: ServerSelectionTimeoutError" in story_lines(story)
    assert f"contact-{PERSON}" not in str(story_lines(story)), "no address is whole"

    assert second.provider_id is not None
    by_message = await why(env, second.provider_id, By.PROVIDER_MESSAGE)
    assert [one.notification_id for one in by_message.notifications] == [notification.notification_id]
    assert (await why(env, "m-unknown", By.PROVIDER_MESSAGE)).is_empty


async def test_an_attempt_whose_worker_has_ended_is_not_under_way(env: DeliveryEnvironment) -> None:
    provider = Provider(t=[AWAY])
    with armed("after_timer_claim=raise@1") as points:
        async with env.engine(provider, channel="sms") as engine:
            await engine.deliver(await env.notify("t", channel="sms", user_id=PERSON))
            await until(lambda: points["after_timer_claim"].passed)
    assert "         attempt 2 is under way" in story_lines(await why(env, "t")), "its worker has the bucket"

    await DeliveryLedger(env.shards, "sms", 5.0).acquire([BUCKET], Token(2))
    story = await why(env, "t")
    timer = story.notifications[0].deliveries[0].next_attempt
    assert timer is not None and (timer.number, timer.under_way, timer.may_have_begun) == (2, False, True)
    assert any("a worker ended while attempt 2 may have been under way" in line for line in story_lines(story))


async def _has_attempts(env: DeliveryEnvironment, count: int) -> bool:
    (notification,) = (await why(env, "t")).notifications
    return len(notification.deliveries[0].history) == count


async def _key(env: DeliveryEnvironment) -> bytes:
    document = await env.shards.collection(ATTEMPTS, BUCKET).find_one({})
    assert document is not None
    return bytes(document["_id"][:16])


async def test_a_person_is_shown_the_newest_and_what_was_suppressed(env: DeliveryEnvironment) -> None:
    now = datetime.now(UTC)
    for hours in (1, 30, 300, 3_000):
        await env.notify(f"t-{hours}", user_id=PERSON, now=now.replace(microsecond=0) - timedelta(hours=hours))
    await env.notify("t-other", user_id="u-someone")
    opted_out = (ChannelDecision("push", DeliveryState.SUPPRESSED, Reason.OPTED_OUT),)
    await env.notify("t-out", user_id=PERSON, decisions=opted_out)
    story = await why(env, PERSON, By.PERSON)
    assert [one.trigger_id for one in story.notifications] == ["t-out", "t-1", "t-30", "t-300"], (
        "the last one has expired"
    )
    assert not story.more
    (push,) = story.notifications[0].deliveries
    assert (push.state, push.reason) == ("suppressed", "opted_out") and "opted out as of version 7" in push.why
    newest = await why(env, PERSON, By.PERSON, limit=2)
    assert [one.trigger_id for one in newest.notifications] == ["t-out", "t-1"] and newest.more


async def test_dead_forwarded_and_duplicate_triggers_are_told_with_what_came_later(env: DeliveryEnvironment) -> None:
    entered = int(datetime.now(UTC).timestamp() * 1000)
    records = {
        name: ARecord(trigger_json(id=name, user_id=PERSON), offset=offset, timestamp=entered)
        for offset, name in enumerate(("dead", "gone", "twice"))
    }
    entries = [
        dead_letter(
            records["dead"], "triggers.payments", BUCKET, DeadReason.UNKNOWN_USER, "no such user has signed up"
        ),
        forwarded(records["gone"], "triggers.payments", BUCKET, PERSON, "eu", ()),
        RecordOutcome(TriggerOutcome.DUPLICATE, records["twice"]),
    ]
    batch = a_decided_batch(*entries, partition=BUCKET)
    await _flush(env, batch)
    story = await why(env, "dead")
    (dead,) = story.dead_letters
    assert (dead.reason, dead.detail, dead.entry.offset) == ("unknown_user", "no such user has signed up", 0)
    assert dead.entry.at is not None and dead.entry.at.timestamp() * 1000 == entered
    assert dead.later == ["the user has not signed up until now"]
    assert [(one.outcome, one.to_region) for one in (await why(env, "gone")).others] == [("forwarded", "eu")]
    assert [one.outcome for one in (await why(env, "twice")).others] == ["duplicate"]

    signed_up = User(PERSON, "eu", 1, datetime(2026, 11, 28, 3, tzinfo=UTC))
    again = an_outcome(
        "dead",
        user_id=PERSON,
        bucket=BUCKET,
        offset=9,
        now=datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1),
    )
    await _flush(env, a_decided_batch(again, partition=BUCKET, start=9))
    (dead,) = (await why(env, "dead", user=signed_up)).dead_letters
    assert dead.later[0] == "the user is in the registry: home region eu, version 1, written at 2026-11-28T03:00:00Z"
    assert dead.later[1].startswith("sent again and notified in us at ")
    person = await why(env, PERSON, By.PERSON)
    assert {one.trigger_id for one in (*person.dead_letters, *person.others)} == set(records)


async def test_the_registry_is_asked_as_long_as_the_own_region(env: DeliveryEnvironment) -> None:
    record = ARecord(trigger_json(id="dead", user_id=PERSON))
    await _flush(env, a_decided_batch(dead_letter(record, "triggers.payments", BUCKET, DeadReason.UNKNOWN_USER, "no")))

    async def later_than_another_region_may(user_id: str) -> User | None:
        await asyncio.sleep(1.5)
        return None

    question = Question(By.TRIGGER, "dead")
    opened_us = partial(opened, env)
    story = await ask(
        question, ["us"], lambda _: env.settings, categories(), later_than_another_region_may, opened_us, 1.0, 20.0
    )
    assert story.dead_letters[0].later == ["the user has not signed up until now"]


async def _flush(env: DeliveryEnvironment, batch: DecidedBatch) -> None:
    ledger = {"_id": f"standard:{batch.topic}:{batch.partition}", "bucket": batch.partition, "next_offset": batch.start}
    collection = env.shards.collection(LEDGER, batch.partition)
    await collection.replace_one({"_id": ledger["_id"], "bucket": batch.partition}, ledger, upsert=True)
    await FlushStore(env.shards, env.shards.of(batch.partition), 5.0).write(flush_of(batch, role="standard"), [])
