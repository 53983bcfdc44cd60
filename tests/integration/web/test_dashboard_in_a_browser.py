"""The dashboard in a real browser: it refreshes itself, fits a phone, has no errors, and can be stopped from moving."""

import os
import shutil

import pytest
from playwright.async_api import async_playwright

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@pytest.fixture(scope="module")
async def browser():
    if CHROMIUM is None:
        if os.environ.get("CI"):
            raise AssertionError("there is no chromium")
        pytest.skip("there is no chromium")
    async with async_playwright() as driver:
        started = await driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        await started.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_fits_a_phone_in_both_themes_and_complains_of_nothing(region, browser, scheme):
    page = await browser.new_page(color_scheme=scheme, viewport={"width": 360, "height": 800})
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(region.url("/"))
    assert await page.evaluate("document.documentElement.scrollWidth") == 360
    ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    ink = await page.evaluate("getComputedStyle(document.body).color")
    assert (sum(rgb(ink)) > sum(rgb(ground))) is (scheme == "dark")
    assert await page.get_by_role("heading", level=1).count() == 1
    assert await page.get_by_role("table", name="Workers on this machine, one of each role").count() == 1
    assert complaints == []
    await page.close()


async def test_it_refreshes_itself_and_keeps_the_focus_until_it_is_paused(region, browser):
    page = await browser.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
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
    assert complaints == []
    await page.close()


def rgb(colour: str) -> list[int]:
    return [int(part) for part in colour[4:-1].split(",")]
