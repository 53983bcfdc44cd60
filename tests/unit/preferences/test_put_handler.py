"""PUT of a preference: what is answered, and that 503 promises nothing."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from notify_streams.errors import RetryLater
from notify_streams.preferences.put_handler import put_preference
from notify_streams.preferences.writer import StoredChoice
from notify_streams.records.choice_sources import ChoiceSource
from tests.unit.preferences.preference_builders import NOON, the_categories


@dataclass
class WriterThatNotes:
    """Takes every choice, or none."""

    error: Exception | None = None
    taken: list[Any] = field(default_factory=list)

    async def put(self, *choice: Any) -> Any:
        if self.error is not None:
            raise self.error
        self.taken.append(choice)
        return StoredChoice(7, NOON)


async def put(writer: Any, **but: Any) -> Any:
    asked: dict[str, Any] = {
        "user_id": "u-1",
        "bucket": 3,
        "category": "marketing",
        "channel": "push",
        "body": b'{"opted_in":false}',
    }
    return await put_preference(writer, the_categories(), now=NOON, **(asked | but))


async def test_a_stored_choice_is_answered_with_its_version() -> None:
    writer = WriterThatNotes()
    answer = await put(writer)
    assert answer.status == 200
    assert answer.body == {
        "user_id": "u-1",
        "category": "marketing",
        "channel": "push",
        "opted_in": False,
        "version": 7,
        "updated_at": "2026-11-22T12:00:00+00:00",
    }
    assert writer.taken == [("u-1", 3, "marketing", "push", False, NOON, ChoiceSource.API)]


REFUSED = {
    "unknown category": ({"category": "spam"}, 404),
    "channel that is none": ({"channel": "fax"}, 404),
    "channel that the category lacks": ({"channel": "sms"}, 404),
    "no JSON": ({"body": b"out"}, 400),
    "not said": ({"body": b"{}"}, 400),
    "something else said": ({"body": b'{"opted_in":false,"updated_at":"2030-01-01T00:00:00Z"}'}, 400),
    "not a truth value": ({"body": b'{"opted_in":0}'}, 400),
    "not UTF-8": ({"body": b'{"opted_in":\xff}'}, 400),
    "no user": ({"user_id": ""}, 400),
    "user id too long": ({"user_id": "u" * 129}, 400),
    "cannot be turned off": ({"category": "security"}, 409),
}


@pytest.mark.parametrize(("but", "status"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_cannot_be_is_refused_and_not_stored(but: Any, status: Any) -> None:
    writer = WriterThatNotes()
    answer = await put(writer, **but)
    assert (answer.status, writer.taken) == (status, [])
    assert answer.body["error"]


async def test_what_is_always_sent_may_be_turned_on() -> None:
    assert (await put(WriterThatNotes(), category="security", body=b'{"opted_in":true}')).status == 200


async def test_503_says_when_to_try_again() -> None:
    answer = await put(WriterThatNotes(error=RetryLater("no store")))
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert "version" not in answer.body
