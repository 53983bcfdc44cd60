"""The sentences of a story, and of regions that do not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
import pytest

from notify_streams.admin.why import By, Question, ask
from notify_streams.admin.why.story import Attempt, Entry, NextAttempt
from notify_streams.admin.why.words import attempt_words, entry_words, next_words
from notify_streams.delivery.call_outcomes import DELIVERED_BEFORE
from notify_streams.preferences.categories import Categories
from notify_streams.settings import Settings, load_settings
from notify_streams.stores.mongo import Shards

AT = datetime(2026, 11, 28, 3, tzinfo=UTC)
ENTRY = Entry(topic="triggers.payments", partition=3, offset=17, at=AT)
PLACE = "triggers.payments 3:17, Kafka 2026-11-28T03:00:00.000Z"
COPY = "triggers.payments:3:5"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, PLACE),
        ({"offset": None, "at": None}, "triggers.payments 3:?, Kafka's time not known"),
        (
            {"copied_because": "forwarded", "copied_from": COPY, "origin_region": "us", "hops": 1},
            f"{PLACE}, forwarded from us, 1 hop ({COPY})",
        ),
        (
            {"copied_because": "forwarded", "copied_from": COPY, "hops": 2},
            f"{PLACE}, forwarded from another region, 2 hops ({COPY})",
        ),
        ({"copied_because": "waited", "copied_from": COPY}, f"{PLACE}, waited for its user ({COPY})"),
        ({"replayed_from": "0:7"}, f"{PLACE}, replayed from dead letter 0:7"),
    ],
    ids=["as it came", "not known", "forwarded", "twice", "waited", "replayed"],
)
def test_where_a_trigger_came_from(changes: dict[str, object], words: str) -> None:
    assert entry_words(msgspec.structs.replace(ENTRY, **changes)) == words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "next attempt 2 at 2026-11-28T03:00:00.000Z"),
        ({"replay": True}, "next attempt 2 at 2026-11-28T03:00:00.000Z, a replay"),
        ({"under_way": True}, "attempt 2 is under way"),
        (
            {"may_have_begun": True},
            "a worker ended while attempt 2 may have been under way: the next owner repeats it, marked as a possible duplicate",
        ),
    ],
    ids=["due", "replay", "under way", "of a worker that ended"],
)
def test_what_is_said_of_the_next_attempt(changes: dict[str, bool], words: str) -> None:
    assert next_words(NextAttempt(number=2, due_at=AT, **changes)) == words


def a_device(name: str, provider: str, outcome: str, code: str | None = None) -> dict[str, object]:
    return {"token_sha": name, "provider": provider, "outcome": outcome, "code": code, "template_version": None}


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (
            {"number": 1, "state": "retrying", "provider": "apns", "code": "503", "provider_id": "p-1", "took_ms": 7}
            | {"devices": [a_device("1f", "fcm", "accepted"), a_device("2e", "apns", "retry", "503")]},
            "1: retrying, apns, 503, message p-1, took 7 ms, 2026-11-28T03:00:00.000Z, "
            "device 1f (fcm) accepted, device 2e (apns) retry 503",
        ),
        (
            {"number": 2, "state": "sent", "provider": "apns", "provider_id": "p-2", "took_ms": 8}
            | {"devices": [a_device("2e", "apns", "accepted")]},
            "2: sent, apns, message p-2, took 8 ms, 2026-11-28T03:00:00.000Z, device 2e (apns) accepted",
        ),
        (
            {"number": 2, "state": "sent", "provider": "apns", "code": "410", "took_ms": 8}
            | {"devices": [a_device("2e", "apns", "dead_token", "410")]},
            "2: sent, apns, 410, took 8 ms, 2026-11-28T03:00:00.000Z, device 2e (apns) dead_token 410, "
            "a device has it from an earlier attempt",
        ),
        (
            {"number": 2, "state": "sent", "code": "expired"},
            "2: sent, expired, 2026-11-28T03:00:00.000Z, a device has it from an earlier attempt",
        ),
        (
            {"number": 2, "state": "sent", "code": DELIVERED_BEFORE},
            "2: sent, delivered before, says a receipt, 2026-11-28T03:00:00.000Z",
        ),
        (
            {"number": 1, "state": "sent", "provider": "twilio", "to": "+1•••42", "took_ms": 9},
            "1: sent, twilio, to +1•••42, took 9 ms, 2026-11-28T03:00:00.000Z",
        ),
    ],
    ids=["one device took it", "then the other", "the other is gone", "it expired", "it was delivered", "one address"],
)
def test_what_an_attempt_led_to(attempt: dict[str, object], words: str) -> None:
    assert attempt_words(msgspec.convert({"kind": "call", "at": AT} | attempt, Attempt)) == words


async def test_a_region_without_an_answer_is_named_with_its_own_limit() -> None:
    @asynccontextmanager
    async def hanging(_: Settings) -> AsyncIterator[Shards]:
        await asyncio.Event().wait()
        yield Shards(load_settings("us", environ={}))

    question = Question(By.TRIGGER, "t")
    story = await ask(question, ["us", "eu"], settings_of, Categories(()), None, hanging, 0.01, 0.05)
    assert [one.problems for one in story.regions] == [["no answer within 0.05 s"], ["no answer within 0.01 s"]]
    assert not story.is_complete


def settings_of(region: str) -> Settings:
    """Each region has shards of its own."""
    return load_settings(region, environ={"NOTIFY_SHARDS": f'["mongodb://{region}:1"]'})
