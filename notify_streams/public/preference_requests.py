"""Answers the requests of the preference page for one person.

The link was read before, and the person is served here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import parse_qs, urlencode, urlsplit

from notify_streams.public.pages.rendering import (
    CONTENT_TYPE,
    message_page,
    page_headers,
    preferences_page,
    question_page,
)
from notify_streams.public.pages.texts import texts_for
from notify_streams.public.preference_form import ACTION, STOP_ALL, changes_of, sections_of
from notify_streams.web.responses import RETRY_AFTER, Content

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp.web import Request

    from notify_streams.preferences.categories import Categories
    from notify_streams.public.pages.texts import Texts
    from notify_streams.public.preference_form import Change

#: The longest form: 20 bytes for each of 240 categories on 3 channels, ticked before and after.
MAX_FORM_BYTES: Final = 32 * 1024
_MAX_FIELDS: Final = 2_000
_FORM: Final = "application/x-www-form-urlencoded"
#: Query parameters: the language, what to ask before it is done, what was done.
_LANG, _CONFIRM, _DONE = "lang", "confirm", "done"


class Choices(Protocol):
    """The choices of one person."""

    async def row(self) -> bytes:
        """The present choices, from the durable record.

        Raises:
            RetryLater
        """
        ...

    async def change(self, changes: Sequence[Change]) -> None:
        """Store these; every check that begins after the return sees them.

        Raises:
            RetryLater: they may or may not be stored; repeating the call is safe.
        """
        ...


def texts_of(request: Request, locale: str | None) -> Texts:
    """The words for this request; `locale`: the link's."""
    return texts_for(request.query.get(_LANG), locale, request.headers.get("Accept-Language", ""))


async def show(request: Request, texts: Texts, categories: Categories, choices: Choices) -> Content:
    """GET: the choices in a form, or the question before everything is stopped. Changes nothing, since mail scanners open links."""
    if request.query.get(_CONFIRM) == STOP_ALL:
        fields = {ACTION: STOP_ALL}
        body = question_page(
            texts, texts.confirm_title, texts.confirm_text, texts.confirm, fields=fields, cancel=texts.cancel
        )
        return html(body)
    done = {"save": texts.saved, STOP_ALL: texts.stopped}.get(request.query.get(_DONE, ""))
    return html(preferences_page(texts, sections_of(categories, await choices.row(), texts), done))


def refusal(request: Request, texts: Texts, own_url: str) -> Content | None:
    """403: a POST that is not from a form of our own pages; `own_url`: the public URL of this region."""
    if comes_from(own_url, request.headers) and request.content_type == _FORM:
        return None
    return html(message_page(texts, texts.refused, texts.refused_text), 403)


async def change(texts: Texts, body: bytes, categories: Categories, choices: Choices) -> Content:
    """POST: store what was changed on the page, then send the browser to the page, so that a reload changes nothing."""
    try:
        fields = parse_qs(body.decode(), max_num_fields=_MAX_FIELDS)
    except ValueError:
        return html(message_page(texts, texts.refused, texts.refused_text), 400)
    await choices.change(changes_of(categories, fields))
    done = STOP_ALL if STOP_ALL in fields.get(ACTION, ()) else "save"
    return html("", 303, {"Location": f"?{urlencode({_LANG: texts.locale, _DONE: done})}"})


def comes_from(own_url: str, headers: Mapping[str, str]) -> bool:
    """Whether a form was sent from a page of `own_url`, as far as the browser says. The token in the path is what gives the right.

    Because of ``Referrer-Policy: no-referrer`` browsers send ``Origin: null`` with the page's own form, so what counts is
    ``Sec-Fetch-Site`` (https://www.w3.org/TR/fetch-metadata/), and `Origin` where a browser does not send that.
    """
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    own = urlsplit(own_url)
    return headers.get("Origin", "null") in ("null", f"{own.scheme}://{own.netloc}")


def bad_link(texts: Texts) -> Content:
    """404: the token is not valid, or there is no such person any more."""
    return html(message_page(texts, texts.bad_link, texts.bad_link_text), 404)


def unavailable(texts: Texts) -> Content:
    """503: a store or the person's region does not answer."""
    return html(message_page(texts, texts.unavailable, texts.unavailable_text), 503, RETRY_AFTER)


def html(body: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Content:
    """A page with the headers that all of them have."""
    return Content(body.encode(), CONTENT_TYPE, status, page_headers() | dict(headers or {}))
