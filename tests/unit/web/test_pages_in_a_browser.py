"""The operators' pages in Chromium: accessibility, phones, both themes, the keyboard, and changes without a reload."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any, Final

import msgspec
import pytest
from aiohttp.test_utils import TestServer
from aiohttp.web import Application, Request, Response, get
from playwright.async_api import Browser, Page

from notify_streams.app import NotifyApp
from notify_streams.web.pages.rendering import CONTENT_TYPE, Frame, page_headers, render
from notify_streams.web.region_events import RegionEvents
from notify_streams.web.search import SearchResult, SearchResults
from notify_streams.web.verdict.collector import region_collector
from notify_streams.web.verdict.region_status import RegionStatus
from notify_streams.web.worker_objects import one_for
from tests.browser import chromium
from tests.pages_browser import check_page, open_page
from tests.unit.web.conftest import READ_TOKEN, NewWorker, Visit
from tests.unit.web.sample_pages import a_story, a_user, dead_letters, story_page
from tests.unit.web.sample_region import KAFKA, NOW, REDIS, a_bad_status, a_status, some_totals
from tests.waiting import until

#: Pages of a worker without services, by name.
SERVED: Final = {
    "region_good": "/",
    "region_bad": "/",
    "login": "/login",
    "templates": "/templates",
    "template": "/templates/new_device",
    "runbooks": "/runbooks",
    "error": "/ledger",
}
LETTER: Final = dead_letters()["newest"][0] | {"value": '{"id": "t-1", "user_id": "ann"' + "x" * 500}
LETTERS: Final = [LETTER, LETTER | {"place": "dead_letters-3@42"}]
FOUND: Final = SearchResults(
    [SearchResult("trigger", "a" * 90, "/"), SearchResult("person", "ann", "/")], ["shard 1 is away"]
)
#: Pages with what stores would hold.
SAMPLES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "person": ("user.html", {"user": a_user(user_id="ann" * 30), "done": "The choice is stored and applies now."}),
    "dead_letters": (
        "dead_letters.html",
        {"found": dead_letters(newest=[LETTER, LETTER | {"place": "dead_letters-3@42"}]), "with_values": True},
    ),
    "why": ("why.html", story_page(a_story())),
    "why_unknown": (
        "why.html",
        story_page(
            a_story(asked="t" * 90, by="trigger", notifications=[], dead_letters=[], others=[], waiting=[], more=False)
        ),
    ),
    "why_nothing_asked": ("why.html", story_page(None)),
    "search": ("search.html", {"wanted": "a" * 90, "results": FOUND}),
}


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest.fixture
def worker(new_worker: NewWorker) -> NotifyApp:
    return new_worker()


@pytest.fixture
async def url(visit: Visit, worker: NotifyApp) -> AsyncIterator[Callable[[str], str]]:
    """The address of a path of the worker."""
    client = await visit(worker)
    yield lambda path: str(client.make_url(path))
    await worker.stop()


def show(worker: NotifyApp, status: RegionStatus) -> None:
    region_collector(worker).status = status


@pytest.mark.parametrize("name", SERVED)
async def test_no_rule_of_accessibility_is_broken_and_nothing_is_cut(
    browser: Browser, worker: NotifyApp, url: Callable[[str], str], name: str
) -> None:
    show(worker, a_bad_status() if name == "region_bad" else a_status())
    errors: list[str] = []
    page = await open_page(browser, url(SERVED[name]), errors)
    await check_page(page, name)
    await page.context.close()
    assert [one for one in errors if not (name == "error" and "503" in one)] == []


@pytest.mark.parametrize("name", SAMPLES)
async def test_the_same_holds_for_pages_of_people(browser: Browser, name: str) -> None:
    template, values = SAMPLES[name]

    async def answer(request: Request) -> Response:
        frame = Frame("us", request.path, ("read", "write"))
        return Response(
            body=render(template, frame, **values).encode(),
            headers={"Content-Type": CONTENT_TYPE} | page_headers(frame),
        )

    app = Application()
    app.add_routes([get("/page", answer)])
    errors: list[str] = []
    async with TestServer(app) as server:
        page = await open_page(browser, str(server.make_url("/page")), errors)
        await check_page(page, name)
        await page.context.close()
    assert errors == []


async def test_the_page_follows_the_region_and_keeps_focus_and_selection(
    browser: Browser, worker: NotifyApp, url: Callable[[str], str]
) -> None:
    show(worker, a_status([REDIS]))
    errors: list[str] = []
    page = await open_page(browser, url("/"), errors)
    runbook = page.get_by_role("link", name="Runbook about Redis")
    await runbook.focus()
    await page.evaluate("getSelection().selectAllChildren(document.getElementById('h-deliveries'))")
    show(worker, a_status([KAFKA, REDIS], totals=some_totals(outbox_rows=71, deliveries={})))
    await page.get_by_role("heading", level=1, name=KAFKA.text).wait_for()
    assert await page.title() == f"✕ {KAFKA.text} · us · notify-streams"
    assert await page.locator("#announced").text_content() == KAFKA.text
    assert await page.get_by_text("71", exact=True).count() == 1
    assert (await page.evaluate("document.activeElement.textContent")).startswith("Runbook about")
    # What is selected stays until the selection is removed.
    assert await page.evaluate("getSelection().toString()") == "Deliveries"
    assert await page.get_by_text("No delivery was made yet.").count() == 0
    await page.evaluate("getSelection().removeAllRanges()")
    await page.get_by_text("No delivery was made yet.").wait_for()
    await page.context.close()
    assert errors == []


async def test_a_paused_page_changes_nothing_until_it_is_resumed(
    browser: Browser, worker: NotifyApp, url: Callable[[str], str]
) -> None:
    show(worker, a_status())
    page = await open_page(browser, url("/"), [])
    await page.get_by_role("button", name="Pause").press("Enter")

    def has_gone() -> bool:
        show(worker, a_status([KAFKA]))  # a client that has gone is found at the next event
        return one_for(worker, RegionEvents).clients == 0

    await until(has_gone)
    assert await page.get_by_role("heading", level=1).text_content() == "✓Everything works."
    # In a row of tabs it must not look as if that were so now.
    assert await page.title() == "– 03:04:05 UTC: Everything works. · us · notify-streams"
    assert await page.locator(".old .verdict").count() == 1
    await page.get_by_role("button", name="Resume").press("Enter")
    await page.get_by_role("heading", level=1, name=KAFKA.text).wait_for()
    assert await page.title() == f"✕ {KAFKA.text} · us · notify-streams"
    assert await page.locator(".old .verdict").count() == 0
    await page.context.close()


async def test_a_page_that_gets_no_events_says_so_and_tries_again(
    browser: Browser, worker: NotifyApp, url: Callable[[str], str]
) -> None:
    show(worker, a_status())
    page = await open_page(browser, url("/"), [])
    await page.context.set_offline(True)
    await page.route("**/region/events", lambda route: route.abort())
    await page.get_by_role("button", name="Pause").click()
    await page.get_by_role("button", name="Resume").click()
    await page.get_by_text("no response since 03:04:05 UTC").wait_for()
    assert await page.title() == "– 03:04:05 UTC: Everything works. · us · notify-streams"
    await page.unroute("**/region/events")
    await page.context.set_offline(False)
    later = msgspec.structs.replace(a_status([KAFKA]).verdict, at=NOW + timedelta(seconds=5))
    show(worker, a_status(verdict=later))
    await page.get_by_role("heading", level=1, name=KAFKA.text).wait_for()
    await page.get_by_text("as of 03:04:10 UTC").wait_for()
    assert await page.title() == f"✕ {KAFKA.text} · us · notify-streams"
    await page.context.close()


async def test_the_memory_of_an_open_page_does_not_grow(
    browser: Browser, worker: NotifyApp, url: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notify_streams.web.region_events._LOOK_EVERY_S", 0.01)
    show(worker, a_status())
    page = await open_page(browser, url("/"), [])
    client = await page.context.new_cdp_session(page)
    await client.send("Performance.enable")

    async def size_after(events: int) -> dict[str, float]:
        for number in range(events):
            rows = 1_000 + number
            show(worker, a_bad_status() if number % 2 else a_status(totals=some_totals(outbox_rows=rows)))
            text = KAFKA.text if number % 2 else f"{rows:,}"
            await page.get_by_text(text).first.wait_for()
        # One collection may leave nodes that only the next one can free.
        sizes = [await collected()]
        while len(sizes) < 2 or sizes[-1]["Nodes"] < sizes[-2]["Nodes"]:
            sizes.append(await collected())
        return sizes[-1]

    async def collected() -> dict[str, float]:
        await client.send("HeapProfiler.collectGarbage")
        metrics = (await client.send("Performance.getMetrics"))["metrics"]
        return {one["name"]: one["value"] for one in metrics}

    before, after = await size_after(7), await size_after(31)
    assert after["Nodes"] <= before["Nodes"] * 1.05
    assert after["JSHeapUsedSize"] <= before["JSHeapUsedSize"] * 1.2
    await page.context.close()


async def test_a_browser_logs_in_with_the_keyboard_alone_and_out_again(
    browser: Browser, url: Callable[[str], str]
) -> None:
    page = await open_page(browser, url("/users/ann"), [], java_script_enabled=False)
    await page.get_by_role("heading", name="Log in").wait_for()
    assert await page.get_by_label("Token").evaluate("one => one === document.activeElement")
    await page.keyboard.type("wrong")
    await page.keyboard.press("Enter")
    await page.get_by_role("alert").wait_for()
    await page.get_by_label("Token").fill(READ_TOKEN)
    await page.keyboard.press("Enter")
    await page.get_by_text("try again").wait_for()  # the person's page, whose stores do not run
    assert page.url == url("/users/ann")
    cookies = await page.context.cookies()
    assert [(one["name"], one["httpOnly"], one["sameSite"]) for one in cookies] == [("notify_us_read", True, "Strict")]
    await page.get_by_role("button", name="Log out").press("Enter")
    await page.get_by_role("link", name="Log in").wait_for()
    assert await page.context.cookies() == []
    await page.context.close()


async def test_the_keyboard_reaches_the_content_first(
    browser: Browser, worker: NotifyApp, url: Callable[[str], str]
) -> None:
    show(worker, a_bad_status())
    page: Page = await open_page(browser, url("/"), [])
    await page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    assert await skip.evaluate("one => one === document.activeElement && one.getBoundingClientRect().left >= 0")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    assert await page.get_by_role("button", name="Pause").evaluate("one => one === document.activeElement")
    outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    await page.context.close()
