"""After an erasure the history counts as before and names the person nowhere."""

from datetime import UTC, datetime
from functools import partial

import bson
import pytest

from notify_streams.erasure.history import History
from notify_streams.erasure.store import OpenErasure
from notify_streams.errors import RetryLater
from notify_streams.failpoints import armed
from notify_streams.records.outcomes import Reason
from notify_streams.stores.mongo import ATTEMPTS, NOTIFICATIONS, TIMERS
from tests.integration.delivery.delivery_fixtures import (
    BUCKET,
    RETRY,
    Check,
    DeliveryEnvironment,
    EventTopics,
    Provider,
)
from tests.waiting import until

PERSON = OpenErasure("person:1f", "u-42", BUCKET, datetime(2026, 11, 28, tzinfo=UTC), frozenset())


class Notes(list[int]):
    """What a step has found."""

    async def note(self, found: int) -> None:
        self.append(found)


async def test_a_waiting_attempt_ends_as_suppressed_and_the_books_close(env: DeliveryEnvironment) -> None:
    topics = EventTopics()
    async with env.engine(Provider(t=[RETRY]), pace=10.0, topics=topics) as engine:
        await engine.deliver(await env.notify("t", "done"))
        history, notes = History(env.settings, env.shards, EventTopics()), Notes()
        await history.timers(PERSON, notes.note)
        await history.timers(PERSON, notes.note)
        assert notes == [1, 0]
        ended = await env.state()
        assert (ended["state"], ended["reason"], ended["attempts"]) == ("suppressed", "erased", 2)
        assert not await env.timers() and await env.books_close()
    async with env.engine(Provider(), generation=2, topics=topics):  # or its sweep, some seconds later
        await until(lambda: ("t", "suppressed", "erased", 2) in topics.states())


async def test_a_claimed_attempt_is_left_to_its_worker(env: DeliveryEnvironment) -> None:
    with armed("after_timer_claim=raise@1") as points:
        async with env.engine(Provider(t=[RETRY])) as engine:
            await engine.deliver(await env.notify("t"))
            await until(lambda: points["after_timer_claim"].passed)
    history = History(env.settings, env.shards, EventTopics())
    with pytest.raises(RetryLater):
        await history.timers(PERSON, Notes().note)
    provider = Provider()
    async with env.engine(provider, Check(refused={"t": Reason.ERASED}), generation=2):
        await until(partial(env.is_in, "suppressed"))
    await history.timers(PERSON, Notes().note)
    assert provider.calls == [] and await env.books_close()


async def test_notifications_and_attempts_name_the_person_no_more_however_often_it_is_begun(
    env: DeliveryEnvironment,
) -> None:
    await env.send("t", "done")
    before = await env.state()
    history, notes = History(env.settings, env.shards, EventTopics()), Notes()
    for _ in range(2):
        await history.notifications(PERSON, notes.note)
    assert notes == [2, 2]
    assert before.pop("provider_id") == "p-1" and await env.state() == before
    for name in (NOTIFICATIONS, ATTEMPTS, TIMERS):
        for document in await env.shards.collection(name, BUCKET).find().to_list():
            assert b"u-42" not in bson.encode(document) and b"p-1" not in bson.encode(document)
    assert await env.books_close()
