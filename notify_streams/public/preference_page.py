"""`/preferences/{token}`: the page where a person makes choices, without a log-in.

A choice is stored as by ``PUT /users/{id}/preferences/…``: when the browser gets its answer, every later check sees it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from notify_streams.errors import RetryLater
from notify_streams.public import preference_requests as requests
from notify_streams.public.links import link_tokens
from notify_streams.public.relayed_page import relayed_page
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.user_records import ALL
from notify_streams.web.placement import current_placement, require_still_served_here
from notify_streams.web.request_body import read_body
from notify_streams.web.responses import WebView
from notify_streams.web.user_lookup import user_lookup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.web import Request, Response

    from notify_streams.app import NotifyApp
    from notify_streams.public.pages.texts import Texts
    from notify_streams.public.preference_form import Change

log = logging.getLogger(__name__)

#: Shorter than the view's own time-out, after which there is no page.
_TIMEOUT_S: Final = 12.0


class PreferencePage(WebView):
    """404 for a link that is not valid, and of a person who is not known any more. A person whom another region serves: its page."""

    timeout_s = 15.0

    async def get(self, request: Request, token: str) -> Response:
        return await self._answer(request, token)

    async def post(self, request: Request, token: str) -> Response:
        return await self._answer(request, token)

    async def _answer(self, request: Request, token: str) -> Response:
        tokens = link_tokens(self.worker)
        link = None if tokens is None else tokens.read(token)
        texts = requests.texts_of(request, None if link is None else link.locale)
        if tokens is None:
            return requests.unavailable(texts).response()
        # A token of one category, as in the header of a mail, does not open the page.
        if link is None or (link.category, link.channel) != (ALL, ALL):
            return requests.bad_link(texts).response()
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await self._of_person(request, texts, link.user_id)
        except (RetryLater, TimeoutError) as error:
            log.warning("preference page unavailable", extra={"action": "preference_page.unavailable", "error": error})
            return requests.unavailable(texts).response()

    async def _of_person(self, request: Request, texts: Texts, user_id: str) -> Response:
        worker = self.worker
        body = b""
        if request.method == "POST":
            own_url = worker.settings.public.urls.get(worker.settings.region, "")
            if (refusal := requests.refusal(request, texts, own_url)) is not None:
                return refusal.response()
            body = await read_body(request, requests.MAX_FORM_BYTES)
        user = await user_lookup(worker).find(user_id)
        if user is None:
            return requests.bad_link(texts).response()
        served_by = current_placement(worker).server_of(user.region)
        if served_by != worker.settings.region:
            return await relayed_page(worker, served_by, request, body)
        choices = _StoredChoices(worker, user_id, user.region)
        if request.method == "POST":
            return (await requests.change(texts, body, worker.categories, choices)).response()
        return (await requests.show(request, texts, worker.categories, choices)).response()


class _StoredChoices:
    """The choices of one person whom this region serves."""

    def __init__(self, worker: NotifyApp, user_id: str, home: str) -> None:
        self._worker = worker
        self._user_id = user_id
        self._home = home

    async def row(self) -> bytes:
        bucket = bucket_of(self._user_id, self._worker.settings.partitions)
        return (await self._worker.preferences.repository.read(bucket, self._user_id)).row()

    async def change(self, changes: Sequence[Change]) -> None:
        stops = self._worker.preferences.stops
        await asyncio.gather(
            *(stops.choose(self._user_id, *change, ChoiceSource.PREFERENCE_PAGE) for change in changes)
        )
        require_still_served_here(self._worker, self._home)
