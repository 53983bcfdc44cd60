"""`/unsubscribe/{token}`: stops the kind of mail that has the link (RFC 8058).

POST acts: it is what a mail program sends when its user presses "unsubscribe", and what the button of the page sends. GET only shows that
page, because scanners of mails open links.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from notify_streams.errors import RetryLater
from notify_streams.public import preference_requests as requests
from notify_streams.public.links import link_tokens
from notify_streams.public.pages.rendering import message_page, question_page
from notify_streams.public.relayed_page import relayed_page
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.roles import CHANNELS, channel_named
from notify_streams.web.placement import current_placement, require_still_served_here
from notify_streams.web.request_body import read_body
from notify_streams.web.responses import Content, WebView
from notify_streams.web.user_lookup import user_lookup

if TYPE_CHECKING:
    from aiohttp.web import Request, Response

    from notify_streams.public.pages.texts import Texts
    from notify_streams.records.link_token import Link

log = logging.getLogger(__name__)

#: The body that RFC 8058 §3.1 asks for, as the page's button sends it. Whatever a POST has, the token is what gives the right.
_FIELDS: Final = {"List-Unsubscribe": "One-Click"}
_MAX_BODY_BYTES: Final = 4 * 1024
#: Shorter than the view's own time-out, after which there is no page.
_TIMEOUT_S: Final = 12.0


class Unsubscribe(WebView):
    """404 for a link that is not valid and of a person who is not known any more, 409 for what cannot be turned off.

    200 to a POST: every check that begins from then on sees the choice. A person whom another region serves: that region's answer.
    """

    timeout_s = 15.0

    async def get(self, request: Request, token: str) -> Response:
        link, texts = self._link(request, token)
        if isinstance(link, Content):
            return link.response()
        page = question_page(texts, texts.unsubscribe_title, texts.unsubscribe_text, texts.unsubscribe, fields=_FIELDS)
        return requests.html(page).response()

    async def post(self, request: Request, token: str) -> Response:
        body = await read_body(request, _MAX_BODY_BYTES)
        link, texts = self._link(request, token)
        if isinstance(link, Content):
            return link.response()
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await self._stop(request, body, link, texts)
        except (RetryLater, TimeoutError) as error:
            log.warning("unsubscribe unavailable", extra={"action": "unsubscribe.unavailable", "error": error})
            return requests.unavailable(texts).response()

    def _link(self, request: Request, token: str) -> tuple[Link | Content, Texts]:
        """What the link stops, or the answer to one that stops nothing; and the words of its page."""
        tokens = link_tokens(self.worker)
        link = None if tokens is None else tokens.read(token)
        texts = requests.texts_of(request, None if link is None else link.locale)
        if tokens is None:
            return requests.unavailable(texts), texts
        if link is None or link.channel not in CHANNELS:
            return requests.bad_link(texts), texts
        if not self.worker.preferences.stops.can_be_turned_off(link.category, link.channel):
            return requests.html(message_page(texts, texts.refused, texts.always_because), 409), texts
        return link, texts

    async def _stop(self, request: Request, body: bytes, link: Link, texts: Texts) -> Response:
        worker, here = self.worker, self.worker.settings.region
        user = await user_lookup(worker).find(link.user_id)
        if user is None:
            return requests.bad_link(texts).response()
        served_by = current_placement(worker).server_of(user.region)
        if served_by != here:
            return await relayed_page(worker, served_by, request, body)
        channel = channel_named(link.channel)
        assert channel is not None, "the link was checked"
        await worker.preferences.stops.stop_choice(link.user_id, link.category, channel, ChoiceSource.ONE_CLICK)
        require_still_served_here(worker, user.region)
        return requests.html(message_page(texts, texts.unsubscribed, texts.unsubscribed_text)).response()
