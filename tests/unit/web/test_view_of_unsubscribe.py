"""The link of a mail: POST stops what it names before the answer, GET stops nothing."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import FormData
from aiohttp.test_utils import TestServer
from aiohttp.web import Application, Request, Response
from cryptography.fernet import Fernet

from notify_streams.errors import RetryLater
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.records.link_token import LinkTokens
from tests.unit.web.test_view_of_choices import AT_HOME, GONE, LEAVING
from tests.unit.web.test_view_of_preference_page import AT_EU, TOKENS
from tests.unit.web.test_view_of_preference_page import opened as opened  # the fixture

LINK = f"/unsubscribe/{TOKENS.make('ann', 'marketing', 'email', 'de')}"
STOPPED = ("ann", "marketing", "email", False, ChoiceSource.ONE_CLICK)
#: What RFC 8058 §3.1 says that mail programs send, in both forms that it allows.
BODIES: dict[str, Any] = {
    "urlencoded": {"List-Unsubscribe": "One-Click"},
    "multipart": FormData({"List-Unsubscribe": "One-Click"}, default_to_multipart=True),
    "nothing": None,
}


@pytest.mark.parametrize("body", BODIES)
async def test_a_post_stops_the_category_and_channel(opened: Any, body: str) -> None:
    page = await opened()
    response = await page.client.post(LINK, data=BODIES[body], allow_redirects=False)
    assert response.status == 200, "never a redirect: RFC 8058, 3.2"
    assert "Sie haben abbestellt" in await response.text()
    assert page.store.stored == [STOPPED]


async def test_a_get_shows_a_button_and_stops_nothing(opened: Any) -> None:
    page = await opened()
    status, text, headers = await page.get(LINK)
    assert status == 200
    assert '<form method="post"' in text and "<button>Abbestellen</button>" in text and "<script" not in text
    assert 'name="List-Unsubscribe" value="One-Click"' in text
    assert "ann" not in text and headers["Cache-Control"] == "no-store"
    assert (await page.get(f"{LINK}?lang=en"))[1].count("Unsubscribe?") >= 1
    assert page.store.stored == []


OTHERS = {
    "nonsense": ("nonsense", 404),
    "another key": (LinkTokens([Fernet.generate_key().decode()]).make("ann", "marketing", "email", "de"), 404),
    "a preference page's": (TOKENS.make("ann", "*", "*", "de"), 404),
    "of an unknown person": (TOKENS.make("bob", "marketing", "email", "de"), 503),  # the registry does not answer
    "cannot be turned off": (TOKENS.make("ann", "security", "email", "de"), 409),
    "no category any more": (TOKENS.make("ann", "gone", "email", "de"), 409),
    "too long": ("A" * 3000, 404),
}


@pytest.mark.parametrize("case", OTHERS)
async def test_other_links_stop_nothing(opened: Any, case: str) -> None:
    page = await opened()
    token, expected = OTHERS[case]
    status, _, headers = await page.post("List-Unsubscribe=One-Click", f"/unsubscribe/{token}")
    assert status == expected
    assert (status == 503) is ("Retry-After" in headers)
    assert page.store.stored == []


@pytest.mark.parametrize(
    ("placements", "stored"),
    [((AT_HOME,), True), ((AT_HOME, LEAVING), True), ((LEAVING,), False)],
    ids=["served here", "released during the write", "served nowhere"],
)
async def test_only_the_region_that_serves_the_person_says_yes(opened: Any, placements: Any, stored: bool) -> None:
    page = await opened(placements=placements)
    status, _, headers = await page.post("List-Unsubscribe=One-Click", LINK)
    assert status == (200 if placements == (AT_HOME,) else 503)
    assert (status == 503) is ("Retry-After" in headers)
    assert bool(page.store.stored) is stored


async def test_a_store_that_does_not_answer_is_no_yes(opened: Any) -> None:
    page = await opened()

    async def fails(*_: Any) -> Any:
        raise RetryLater("the choices are stored but not published")

    page.store.put = fails
    status, text, headers = await page.post("List-Unsubscribe=One-Click", LINK)
    assert status == 503 and headers["Retry-After"] and "noch einmal" in text


async def test_the_region_of_the_person_answers(opened: Any) -> None:
    """Of a person at home in eu, and of one of us while eu serves us."""
    seen: list[tuple[str, bytes]] = []

    async def answer(request: Request) -> Response:
        seen.append((request.raw_path, await request.read()))
        return Response(text="<p>abbestellt", content_type="text/html")

    app = Application()
    app.router.add_post("/unsubscribe/{token}", answer)
    async with TestServer(app) as eu:
        urls = {"eu": str(eu.make_url("")).rstrip("/")}
        for home, placement in (("eu", AT_EU), ("us", GONE)):
            page = await opened(home, (placement,), urls)
            assert (await page.post("List-Unsubscribe=One-Click", LINK))[:2] == (200, "<p>abbestellt")
            assert page.store.stored == []
    assert seen == [(LINK, b"List-Unsubscribe=One-Click")] * 2
    page = await opened("eu", (AT_EU,), urls)
    assert (await page.post("List-Unsubscribe=One-Click", LINK))[0] == 503, "eu does not answer"


async def test_a_body_that_is_too_long_is_refused(opened: Any) -> None:
    page = await opened()
    assert (await page.post("x" * 5000, LINK))[0] == 413
    assert page.store.stored == []
