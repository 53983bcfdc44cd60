"""Asks all regions for the story of a trigger, a person, or a provider's message."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from notify_streams.admin.regions_asked import AWAY, why_away
from notify_streams.admin.why.aftermath import with_what_came_later
from notify_streams.admin.why.reader import StoryReader
from notify_streams.admin.why.rules import PersonChoices
from notify_streams.admin.why.search import Found, RegionSearch
from notify_streams.admin.why.story import Notification, OtherOutcome, RegionAnswer, Story, Waiting
from notify_streams.delivery.attempt_reader import AttemptReader
from notify_streams.errors import SettingsError
from notify_streams.preferences.repository import PreferenceRepository
from notify_streams.records.outcomes import TriggerOutcome
from notify_streams.stores.mongo import Shards

if TYPE_CHECKING:
    from notify_streams.preferences.categories import Categories
    from notify_streams.registry.user import User
    from notify_streams.settings import Settings

#: Another region that has not answered by then is named, and the others are shown; so is a query to a shard of the own one.
TIMEOUT_S: Final = 0.9
#: For the own region as a whole, which may take several queries, and for the registry.
OWN_TIMEOUT_S: Final = 4.0
#: To a shard of any region.
CONNECT_S: Final = 0.7
DEFAULT_LIMIT: Final = 10
MAX_LIMIT: Final = 100

#: The user's row in the registry; None: no user with this id has signed up.
FindUser = Callable[[str], Awaitable["User | None"]]
#: Opens a region's shards.
OpenShards = Callable[["Settings"], AbstractAsyncContextManager[Shards]]


class By(StrEnum):
    """What a question names."""

    TRIGGER = "trigger"
    PERSON = "person"
    PROVIDER_MESSAGE = "provider_message"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for. `limit`: of a person, the newest so many."""

    by: By
    asked: str
    limit: int = DEFAULT_LIMIT


@dataclass(frozen=True, slots=True)
class RegionPart:
    """What one region knows."""

    notifications: list[Notification]
    outcomes: list[OtherOutcome]
    waiting: list[Waiting]
    problems: list[str]


@asynccontextmanager
async def open_shards(settings: Settings, connect_s: float = CONNECT_S) -> AsyncIterator[Shards]:
    """Clients for one question; a shard that does not answer is named after `connect_s`."""
    async with Shards(settings, serverSelectionTimeoutMS=int(connect_s * 1000)) as shards:
        await shards.refresh_directory()
        yield shards


async def ask(
    question: Question,
    regions: Sequence[str],
    settings_of: Callable[[str], Settings],
    categories: Categories,
    find_user: FindUser | None,
    opened: OpenShards = open_shards,
    timeout_s: float = TIMEOUT_S,
    own_timeout_s: float = OWN_TIMEOUT_S,
) -> Story:
    """The story over all `regions`, the first of which is the own one. A region that does not answer is named in it.

    Args:
        settings_of: raises `SettingsError` for a region whose settings are not here.
        find_user: asks the registry what became of an unknown user; None: it is not asked.
    """
    began = time.perf_counter()
    own = regions[0]

    async def part(region: str) -> RegionPart:
        within_s = own_timeout_s if region == own else timeout_s
        try:
            async with asyncio.timeout(within_s):
                settings = settings_of(region)
                if region != own and settings.shards == settings_of(own).shards:
                    return _nothing(f"its settings are not here: ask there with `notify-streams why --region {region}`")
                async with opened(settings) as shards:
                    return await _read(question, settings, shards, categories, timeout_s)
        except SettingsError:
            return _nothing(f"its settings are not here: ask there with `notify-streams why --region {region}`")
        except TimeoutError:
            return _nothing(f"no answer within {within_s:g} s")
        except AWAY as error:
            return _nothing(why_away(error))

    parts = dict(zip(regions, await asyncio.gather(*map(part, regions)), strict=True))
    notifications = [one for found in parts.values() for one in found.notifications]
    outcomes = [one for found in parts.values() for one in found.outcomes]
    dead = [one for one in outcomes if one.outcome == TriggerOutcome.DEAD]
    dead = await with_what_came_later(dead, notifications, find_user, own_timeout_s)
    more = question.by is By.PERSON and len(notifications) > question.limit
    return Story(
        asked=question.asked,
        by=question.by.value,
        at=datetime.now(UTC),
        notifications=sorted(notifications, key=lambda one: one.decided_at, reverse=True)[: _shown(question)],
        dead_letters=_newest(dead),
        others=_newest([one for one in outcomes if one.outcome != TriggerOutcome.DEAD]),
        waiting=[one for found in parts.values() for one in found.waiting],
        regions=[RegionAnswer(region=region, problems=found.problems) for region, found in parts.items()],
        more=more,
        took_ms=int((time.perf_counter() - began) * 1000),
    )


async def _read(
    question: Question, settings: Settings, shards: Shards, categories: Categories, timeout_s: float
) -> RegionPart:
    search = RegionSearch(settings, shards, timeout_s)
    found = await _search(question, search)
    choices = PersonChoices(shards, PreferenceRepository(shards, timeout_s), timeout_s)
    reader = StoryReader(settings.region, shards, AttemptReader(shards, timeout_s), choices, categories, timeout_s)
    notifications = await reader.notifications(found)
    return RegionPart(notifications, reader.outcomes(found), reader.waiting(found), found.problems)


async def _search(question: Question, search: RegionSearch) -> Found:
    if question.by is By.PERSON:
        return await search.by_person(question.asked, question.limit)
    if question.by is By.PROVIDER_MESSAGE:
        return await search.by_provider_id(question.asked)
    return await search.by_trigger(question.asked)


def _shown(question: Question) -> int:
    return question.limit if question.by is By.PERSON else MAX_LIMIT


def _newest(outcomes: list[OtherOutcome]) -> list[OtherOutcome]:
    return sorted(outcomes, key=lambda one: one.at, reverse=True)[:MAX_LIMIT]


def _nothing(problem: str) -> RegionPart:
    return RegionPart([], [], [], [problem])
