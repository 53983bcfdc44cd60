"""A router with known users: `HERE[:3]` and `ELSEWHERE` have their home here, `HERE[3]` in eu, `HERE[4]` is unknown."""

from typing import Any

from notify_streams.outbox.decided_batch import DecidedBatch
from notify_streams.routing.router import Router
from tests.builders import (
    AckRecorder,
    FakePlacements,
    FakeRecipients,
    categories,
    some_settings,
    templates,
    trigger_json,
    users_of,
)

CATEGORIES = categories()
TEMPLATES = templates()
SETTINGS = some_settings(max_trigger_bytes=10_000)
HERE, ELSEWHERE = users_of(3, 9)[:5], users_of(5, 3)


def known_people() -> Any:
    people = FakeRecipients()
    for user in HERE[:3] + ELSEWHERE:
        people.add(user)
    people.add(HERE[3], region="eu")
    return people


async def route(batch: Any, lane: Any = "standard", people: Any = None, placed: Any = None) -> DecidedBatch:
    router = Router(SETTINGS, CATEGORIES, TEMPLATES, lane, people or known_people(), placed or FakePlacements())
    return await router.decide_batch(batch, AckRecorder())


def for_user(user_id: Any, **but: Any) -> bytes:
    return trigger_json(user_id=user_id, **but)
