"""The preference page is shown for a valid link alone, and stores choices only where the person is served."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request, Response, StreamResponse
from cryptography.fernet import Fernet

from notify_streams.errors import RetryLater
from notify_streams.preferences.choices import Choice, PreferenceRecord
from notify_streams.preferences.repository import PreferenceRepository
from notify_streams.preferences.stops import Stops
from notify_streams.preferences.writer import PreferenceWriter, StoredChoice
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.records.link_token import LinkTokens
from notify_streams.regions.failover.placement import Placement
from notify_streams.regions.failover.placement_follower import PlacementFollower
from notify_streams.regions.failover.protocol import HomeRegion
from notify_streams.regions.locations import Location
from notify_streams.secret import Secret
from notify_streams.settings_public import PublicSettings
from tests.builders import categories
from tests.unit.web.conftest import NewWorker, Visit
from tests.unit.web.test_view_of_choices import AT_HOME, LEAVING, FakeFollower

KEY = Fernet.generate_key().decode()
TOKENS = LinkTokens([KEY])
LINK = f"/preferences/{TOKENS.make('ann', '*', '*', 'de')}"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
AT_EU = Placement("us", {"us": HomeRegion("us"), "eu": HomeRegion("eu")})


@dataclass
class Store:
    """A fake writer and repository of one person: payments by push is off."""

    stored: list[tuple[Any, ...]] = field(default_factory=list)
    fails: bool = False

    async def read(self, bucket: int, user_id: str) -> PreferenceRecord:
        if self.fails:
            raise RetryLater("MongoDB does not respond")
        return PreferenceRecord(1, {1: {"push": Choice(False, NOW, 1)}})

    async def put(self, user_id: str, bucket: int, *choice: Any) -> StoredChoice:
        self.stored.append((user_id, *choice[:3], choice[4]))
        return StoredChoice(2, NOW)


@dataclass
class Page:
    client: TestClient[Any, Any]
    store: Store

    async def get(self, path: str = LINK, **headers: str) -> tuple[int, str, Any]:
        response = await self.client.get(path, headers=headers)
        return response.status, await response.text(), response.headers

    async def post(self, form: str, path: str = LINK, **headers: str) -> tuple[int, str, Any]:
        sent = FORM | {name.replace("_", "-"): value for name, value in headers.items()}
        response = await self.client.post(path, data=form, headers=sent, allow_redirects=False)
        return response.status, await response.text(), response.headers


@pytest.fixture
def opened(visit: Visit, new_worker: NewWorker) -> Any:
    """Opens the views of a worker for ann, whose home is `home`."""

    async def opened(
        home: str = "us", placements: tuple[Placement, ...] = (AT_HOME,), urls: dict[str, str] | None = None
    ) -> Page:
        public = PublicSettings(urls={"us": "https://us.example", **(urls or {})}, link_keys=Secret(KEY))
        worker = new_worker("webhooks", public=public)
        worker.locate = {"ann": Location(home, 0, 1, None)}.get
        worker.placement_follower = cast("PlacementFollower", FakeFollower(list(placements)))
        store = Store()
        worker.preferences.repository = cast("PreferenceRepository", store)
        worker.preferences.stops = Stops(cast("PreferenceWriter", store), categories(), 8, None)
        return Page(await visit(worker), store)

    return opened


async def test_a_valid_link_shows_the_choices_in_the_persons_language_and_not_who_it_is(opened: Any) -> None:
    page = await opened()
    status, text, headers = await page.get()
    assert status == 200
    assert "Ihre Benachrichtigungen" in text
    assert 'value="1.push">' in text
    assert 'value="1.email" checked>' in text
    assert "ann" not in text
    assert page.store.stored == []
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Robots-Tag"] == "noindex, nofollow"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "script" not in policy


OTHER_TOKENS = {
    "no token": "nonsense",
    "another key": LinkTokens([Fernet.generate_key().decode()]).make("ann", "*", "*", "de"),
    "a token that stops one category": TOKENS.make("ann", "marketing", "email", "de"),
    "all categories by mail": TOKENS.make("ann", "*", "email", "de"),
}


async def test_no_other_link_shows_or_stores_anything(opened: Any) -> None:
    page = await opened()
    for name, token in OTHER_TOKENS.items():
        for status, text, headers in (
            await page.get(f"/preferences/{token}"),
            await page.post("on=1.push", f"/preferences/{token}"),
        ):
            assert status == 404, name
            assert "<h1>" in text
            assert "checkbox" not in text
            assert headers["Cache-Control"] == "no-store"
    assert page.store.stored == []


async def test_without_keys_the_page_is_unavailable(visit: Visit, new_worker: NewWorker) -> None:
    client = await visit(new_worker("webhooks"))
    response = await client.get(f"{LINK}?lang=en")
    assert response.status == 503
    assert "Please try again" in await response.text()


async def test_a_form_stores_what_changed_and_leads_back_to_the_page(opened: Any) -> None:
    page = await opened()
    status, _, headers = await page.post("was=1.email&on=1.push&action=save", Sec_Fetch_Site="same-origin")
    assert (status, headers["Location"]) == (303, "?lang=de&done=save")
    assert sorted(page.store.stored) == [
        ("ann", "payments", "email", False, ChoiceSource.PREFERENCE_PAGE),
        ("ann", "payments", "push", True, ChoiceSource.PREFERENCE_PAGE),
    ]


async def test_stop_all_stores_every_choice_that_can_be_turned_off(opened: Any) -> None:
    page = await opened()
    status, _, headers = await page.post("action=stop_all", f"{LINK}?lang=ar")
    assert (status, headers["Location"]) == (303, "?lang=ar&done=stop_all")
    assert len(page.store.stored) == 6
    assert {choice[3] for choice in page.store.stored} == {False}


ORIGINS: list[tuple[dict[str, str], int]] = [
    ({"Sec_Fetch_Site": "cross-site", "Origin": "https://us.example"}, 403),
    ({"Sec_Fetch_Site": "same-site"}, 403),
    ({"Origin": "https://evil.example"}, 403),
    ({"Content_Type": "text/plain"}, 403),
    ({"Origin": "https://us.example"}, 303),
    ({"Origin": "null"}, 303),
    ({"Sec_Fetch_Site": "same-origin", "Origin": "null"}, 303),
]


async def test_the_form_of_another_site_is_refused(opened: Any) -> None:
    page = await opened()
    for headers, expected in ORIGINS:
        page.store.stored.clear()
        assert (await page.post("on=1.push", **headers))[0] == expected, headers
        assert bool(page.store.stored) is (expected == 303)


async def test_a_form_that_is_none_changes_nothing(opened: Any) -> None:
    page = await opened()
    for form, expected in (("on=1.push&" * 4000, 413), ("a=b&" * 3000, 400), ("on=%ff&on=9.push", 303)):
        assert (await page.post(form))[0] == expected
    assert page.store.stored == []


async def test_a_region_that_is_left_during_the_write_does_not_say_that_it_is_saved(opened: Any) -> None:
    page = await opened(placements=(AT_HOME, LEAVING))
    status, text, headers = await page.post("on=1.push")
    assert status == 503
    assert "Retry-After" in headers
    assert "noch einmal" in text


async def test_a_store_that_is_unavailable_is_said_in_a_sentence(opened: Any) -> None:
    page = await opened()
    page.store.fails = True
    status, text, headers = await page.get()
    assert status == 503
    assert "Retry-After" in headers
    assert "MongoDB" not in text


async def test_the_region_of_the_person_answers_by_one_hop(opened: Any) -> None:
    seen: list[tuple[str, str, str]] = []

    async def answer(request: Request) -> StreamResponse:
        seen.append((request.method, request.path_qs.rpartition("?")[2], await request.text()))
        if request.method == "POST":
            return Response(status=303, headers={"Location": "?lang=de&done=save"}, content_type="text/html")
        page = StreamResponse(headers={"Content-Type": "text/html"})
        await page.prepare(request)
        for half in (b"<p>", b"x" * 100_000):
            await page.write(half)
            await asyncio.sleep(0.05)  # the halves arrive one after the other
        return page

    there = Application()
    there.router.add_route("*", "/preferences/{token}", answer)
    async with TestServer(there) as server:
        page = await opened("eu", (AT_EU,), {"eu": str(server.make_url("")).rstrip("/")})
        status, text, headers = await page.get(f"{LINK}?lang=ar")
        assert (status, len(text)) == (200, 100_003)
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        status, _, headers = await page.post("on=1.push", f"{LINK}?lang=ar", Sec_Fetch_Site="same-origin")
        assert (status, headers["Location"]) == (303, "?lang=de&done=save")
        assert (await page.post("on=1.push", Sec_Fetch_Site="cross-site"))[0] == 403
    assert seen == [("GET", "lang=ar", ""), ("POST", "lang=ar", "on=1.push")]
    status, text, _ = await page.get()  # the other region is away
    assert status == 503
    assert "noch einmal" in text
    assert page.store.stored == []
