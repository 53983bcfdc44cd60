"""The preference page behind an HTTP server, with choices in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.test_utils import TestServer

from notify_streams.preferences.row_codec import encode_row
from notify_streams.public import preference_requests
from notify_streams.roles import Channel
from tests.builders import categories

if TYPE_CHECKING:
    from notify_streams.public.preference_form import Change

CATEGORIES = categories()


@dataclass
class Person:
    """One person's choices, and the address of their page."""

    url: str
    locale: str = "en"
    choices: dict[int, dict[Channel, bool]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    async def row(self) -> bytes:
        return encode_row(1, self.choices)

    async def change(self, changes: Sequence[Change]) -> None:
        for category, channel, opted_in in changes:
            self.choices.setdefault(CATEGORIES[category].number, {})[channel] = opted_in


@asynccontextmanager
async def page_of_a_person() -> AsyncIterator[Person]:
    """A person whose link is `url`; any other link is a bad one."""

    async def answer(request: web.Request) -> web.StreamResponse:
        person.requests.append(request.method)
        if request.match_info["token"] != "good":
            content = preference_requests.bad_link(preference_requests.texts_of(request, None))
        else:
            texts = preference_requests.texts_of(request, person.locale)
            if request.method == "POST":
                content = preference_requests.refusal(request, texts, person.url) or await preference_requests.change(
                    texts, await request.read(), CATEGORIES, person
                )
            else:
                content = await preference_requests.show(request, texts, CATEGORIES, person)
        return content.response()

    app = web.Application()
    app.router.add_route("*", "/preferences/{token}", answer)
    async with TestServer(app) as server:
        person = Person(str(server.make_url("/preferences/good")))
        yield person
