"""`/notifications/…`: what became of a trigger, as JSON or as a page.

``/notifications/{id}`` or ``{system}/{id}``; ``/notifications?user=`` shows the newest of a person, ``?provider_id=`` the one that a provider's
message was for. Other regions are asked through their settings, if those are on this machine.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec

from notify_streams.admin.why import By, Question, ask
from notify_streams.admin.why.ask import CONNECT_S, DEFAULT_LIMIT, MAX_LIMIT
from notify_streams.admin.why.words import attempt_words, entry_words, next_words, other_words
from notify_streams.errors import StoreUnavailable
from notify_streams.settings import load_settings
from notify_streams.settings_folder import local_overlay
from notify_streams.stores.mongo import Shards
from notify_streams.web.pages.rendering import wants_page
from notify_streams.web.responses import WebView, json_response
from notify_streams.web.user_lookup import user_lookup
from notify_streams.web.worker_objects import one_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.web import Request, Response

    from notify_streams.admin.why import Story
    from notify_streams.app import NotifyApp
    from notify_streams.settings import Settings

#: Characters of an id in a question.
_LONGEST: Final = 512
_EMPTY: Final = "no notification and no dead letter is known of it"


class OtherRegions:
    """Keeps the settings and the shards of other regions."""

    def __init__(self, worker: NotifyApp) -> None:
        self._worker = worker
        self._settings: dict[str, Settings] = {worker.settings.region: worker.settings}
        self._shards: dict[str, Shards] = {}
        worker.add_stop(self.close)

    def settings_of(self, region: str) -> Settings:
        """Read once.

        Raises:
            SettingsError: they are not on this machine, or not valid.
        """
        if region not in self._settings:
            self._settings[region] = load_settings(region, overlay=local_overlay(region))
        return self._settings[region]

    @asynccontextmanager
    async def opened(self, settings: Settings) -> AsyncIterator[Shards]:
        """The region's shards, which stay open.

        Raises:
            Refused: the region has another number of buckets than its settings say.
        """
        if settings.region == self._worker.settings.region:
            yield self._worker.shards
            return
        if settings.region not in self._shards:
            started = Shards(settings, serverSelectionTimeoutMS=int(1000 * CONNECT_S))
            await started.start()  # one that fails, as without its file of authorities, is tried again
            self._shards[settings.region] = started
        shards = self._shards[settings.region]
        await shards.refresh_directory()
        yield shards

    async def close(self) -> None:
        for shards in self._shards.values():
            await shards.close()


class Notifications(WebView):
    """404 if no region knows of it: the trigger may be in flight."""

    right = "read"

    async def get(self, request: Request, trigger_id: str = "") -> Response:
        question = question_of(trigger_id, request.query.get("user"), request.query.get("provider_id"), request)
        if question is None:
            if wants_page(request.headers):
                return self.page(request, "why.html", story=None, question=None)
            return json_response({"error": "say one of: `/notifications/{id}`, `?user=`, `?provider_id=`"}, 400)
        worker = self.worker
        own, others = worker.settings, one_for(worker, OtherRegions)
        regions = [own.region, *(one for one in own.regions if one != own.region)]
        find_user = user_lookup(worker).find
        story = await ask(question, regions, others.settings_of, worker.categories, find_user, others.opened)
        if story.is_empty and (problems := story.regions[0].problems):
            raise StoreUnavailable("; ".join(problems))
        status = 404 if story.is_empty else 200
        if wants_page(request.headers):
            return self.page(
                request,
                "why.html",
                status,
                story=story,
                question=question,
                entry=entry_words,
                attempt=attempt_words,
                next_attempt=next_words,
                other=other_words,
            )
        return json_response(payload_of(story, own.region), status)


class NotificationSearch(Notifications):
    """The same by person or provider's message."""


def question_of(trigger_id: str, user: str | None, provider_id: str | None, request: Request) -> Question | None:
    """What is asked for; None if it is nothing, or too long."""
    asked = trigger_id or user or provider_id or ""
    if not 0 < len(asked) <= _LONGEST:
        return None
    if trigger_id:
        return Question(By.TRIGGER, trigger_id)
    if provider_id and not user:
        return Question(By.PROVIDER_MESSAGE, provider_id)
    limit = request.query.get("limit", "")
    wanted = int(limit) if limit.isascii() and limit.isdigit() and len(limit) <= len(str(MAX_LIMIT)) else DEFAULT_LIMIT
    return Question(By.PERSON, asked, max(1, min(wanted, MAX_LIMIT)))


def payload_of(story: Story, region: str) -> dict[str, Any]:
    """The story as JSON, of the view of this region."""
    payload: dict[str, Any] = {"region": region} | msgspec.structs.asdict(story)
    if story.is_empty:
        payload["error"] = _EMPTY
    return payload
