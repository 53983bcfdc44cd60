"""The pages of a running region in Chromium: after a login, as an operator sees them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import partial
from uuid import uuid4

import msgspec
import pytest
from playwright.async_api import Browser

from tests.browser import chromium
from tests.integration.web.views_region import ARegion, eventually
from tests.pages_browser import check_page, open_page


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


async def send(region: ARegion, person: str) -> str:
    """A trigger and a record that becomes a dead letter; returns the trigger's id."""
    trigger = {"id": f"t-{uuid4()}", "user_id": person, "category": "payments"}
    records = (msgspec.json.encode(trigger), b"not json, but ours")
    await region.upstream.send([("triggers.payments", person, value, ()) for value in records])
    await eventually(partial(region.get, f"/notifications/{trigger['id']}"), lambda got: got[0] == 200)
    await eventually(
        partial(region.get, "/dead-letters?limit=1"), lambda got: got[0] == 200 and got[1]["newest"][0]["key"] == person
    )
    return str(trigger["id"])


async def test_pages_of_people_open_after_a_login_and_nothing_is_cut(region: ARegion, browser: Browser) -> None:
    ann = region.person("ann")
    trigger = await send(region, ann)
    errors: list[str] = []
    page = await open_page(browser, region.url("/dead-letters"), errors)
    token = region.settings.web_read_token
    assert token is not None
    await page.get_by_label("Token").fill(token.reveal())
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_role("heading", level=1, name="dead letter").wait_for()
    await check_page(page, "running-dead-letters")
    for wanted, heading in ((ann, f"Person {ann}"), (trigger, trigger)):
        search = page.get_by_role("searchbox")
        await search.fill(wanted)
        await search.press("Enter")
        await page.get_by_text(heading).first.wait_for()
    await page.goto(region.url(f"/users/{ann}"))
    await page.get_by_text(f"{ann}@example.org").wait_for()
    await check_page(page, "running-person")
    await page.context.close()
    assert errors == []


async def test_the_page_of_the_region_counts_what_happens_without_a_reload(region: ARegion, browser: Browser) -> None:
    errors: list[str] = []
    page = await open_page(browser, region.url("/"), errors)
    await page.get_by_role("table", name="Workers of this region").wait_for()
    await page.evaluate("window.isTheSame = true")
    taken = page.get_by_text(re.compile(r"^[\d,]+ in all$"))
    before = await taken.text_content()
    await send(region, region.person("ann"))
    await page.wait_for_function("before => !document.body.innerText.includes(before)", arg=before, timeout=60_000)
    assert await page.evaluate("window.isTheSame")
    # An event in the midst of a check would take away what is being checked.
    await page.get_by_role("button", name="Pause").click()
    await check_page(page, "running-region")
    await page.context.close()
    assert errors == []
