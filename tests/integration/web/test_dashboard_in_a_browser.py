"""The dashboard in a real browser: narrow screens, themes, refresh and pause."""

from collections.abc import AsyncIterator
from typing import Literal

import pytest
from playwright.async_api import Browser

from tests.browser import chromium
from tests.integration.web.views_region import ARegion


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_fits_a_phone_in_both_themes_without_errors(
    region: ARegion, browser: Browser, scheme: Literal["light", "dark"]
) -> None:
    page = await browser.new_page(color_scheme=scheme, viewport={"width": 360, "height": 800})
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    await page.goto(region.url("/"))
    assert await page.evaluate("document.documentElement.scrollWidth") == 360
    background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    ink = await page.evaluate("getComputedStyle(document.body).color")
    assert (sum(rgb(ink)) > sum(rgb(background))) is (scheme == "dark")
    assert await page.get_by_role("heading", level=1).count() == 1
    assert await page.get_by_role("table", name="Workers of this region").count() == 1
    assert errors == []
    await page.close()


async def test_it_refreshes_itself_and_keeps_the_focus_until_it_is_paused(region: ARegion, browser: Browser) -> None:
    page = await browser.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    await page.clock.install()
    await page.goto(region.url("/"))
    link = page.get_by_role("link", name="push", exact=True)
    await link.focus()
    await page.evaluate("document.getElementById('main').firstElementChild.remove()")
    async with page.expect_response(lambda answer: answer.url == region.url("/")):
        await page.clock.fast_forward(5_000)
    await page.get_by_role("heading", name="The ledger").wait_for()  # what was removed is there again
    assert await link.evaluate("one => one === document.activeElement")
    await page.get_by_role("button", name="Pause").click()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    await page.clock.fast_forward(5_000)
    await page.clock.fast_forward(5_000)
    await page.get_by_role("button", name="Resume").click()
    assert asked == []
    async with page.expect_response(lambda answer: answer.url == region.url("/")):
        await page.clock.fast_forward(5_000)
    assert errors == []
    await page.close()


def rgb(colour: str) -> list[int]:
    return [int(part) for part in colour[4:-1].split(",")]
