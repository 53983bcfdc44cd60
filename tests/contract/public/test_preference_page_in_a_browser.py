"""The preference page in Chromium: accessibility rules (axe-core), a phone, the keyboard alone, without JavaScript."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page, ViewportSize

from tests.browser import chromium
from tests.contract.public.page_server import Person, page_of_a_person
from tests.pages_browser import axe

#: Folder for screenshots of each page, to be looked at; without it none are taken.
SCREENSHOTS = os.environ.get("NOTIFY_TEST_SCREENSHOTS")
LOCALES = ("en", "de", "ar")
PHONE: ViewportSize = {"width": 375, "height": 800}
#: Query of each kind of page.
PAGES = {"choices": "", "saved": "&done=save", "question": "&confirm=stop_all", "bad link": ""}


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest.fixture
async def person() -> AsyncIterator[Person]:
    async with page_of_a_person() as found:
        yield found


async def new_page(browser: Browser, **options: Any) -> tuple[Page, list[str]]:
    """A page on a phone, and what the browser complains of."""
    context = await browser.new_context(viewport=PHONE, **options)
    page = await context.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("requestfailed", lambda request: errors.append(request.url))
    return page, errors


@pytest.mark.parametrize("locale", LOCALES)
async def test_no_rule_of_accessibility_is_broken_and_a_phone_shows_it_whole(
    person: Person, browser: Browser, locale: str
) -> None:
    # axe-core is injected into the page, which the page's own policy would forbid.
    page, errors = await new_page(browser, bypass_csp=True)
    for name, query in PAGES.items():
        answer = await page.goto(
            f"{person.url.replace('good', 'bad') if name == 'bad link' else person.url}?lang={locale}{query}"
        )
        assert answer is not None
        assert answer.status == (404 if name == "bad link" else 200)
        assert await page.evaluate("[document.documentElement.lang, getComputedStyle(document.body).direction]") == [
            locale,
            "rtl" if locale == "ar" else "ltr",
        ]
        await page.add_script_tag(path=axe())
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            assert await page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
            background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (background == "rgb(246, 247, 249)") is (scheme == "light")
            if SCREENSHOTS:
                await page.screenshot(path=f"{SCREENSHOTS}/{name}-{locale}-{scheme}.png", full_page=True)
            found = await page.evaluate("axe.run()")
            for kind in ("violations", "incomplete"):
                assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found[kind]] == []
            assert len(found["passes"]) > 15
    assert [one for one in errors if "404" not in one] == []
    await page.context.close()


async def test_choices_are_made_with_the_keyboard_alone_without_javascript(person: Person, browser: Browser) -> None:
    page, errors = await new_page(browser, java_script_enabled=False)
    await page.goto(person.url)
    await page.keyboard.press("Tab")
    for _ in range(3):  # the languages
        await page.keyboard.press("Tab")
    await page.keyboard.press("Space")  # payments: push, email, sms
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Space")
    for _ in range(4):  # two of offers, one of security, the button
        await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.get_by_role("status").wait_for()
    assert await page.get_by_role("status").text_content() == "Your choices are saved and apply now."
    assert (await page.title()).startswith("Your choices are saved")
    assert person.choices == {1: {"push": False, "sms": True}}
    assert person.requests == ["GET", "POST", "GET"]
    await page.reload()
    assert person.requests[-1] == "GET"
    assert errors == []
    await page.context.close()


async def test_everything_is_stopped_after_a_question_with_the_keyboard_alone(person: Person, browser: Browser) -> None:
    page, errors = await new_page(browser, java_script_enabled=False)
    await page.goto(person.url)
    for _ in range(11):
        await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="Stop all messages?").wait_for()
    assert person.choices == {}
    for _ in range(5):  # the three languages, yes, no
        await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="Your notifications").wait_for()
    assert person.choices == {}
    await page.get_by_role("button", name="Stop all").press("Enter")
    await page.get_by_role("button", name="Yes, stop all").press("Enter")
    await page.get_by_role("status").wait_for()
    assert person.choices == {
        1: {"push": False, "email": False, "sms": False},
        2: {"push": False, "email": False},
        3: {"sms": False},
    }
    assert await page.get_by_role("checkbox", checked=True).count() == 0
    assert errors == []
    await page.context.close()


async def test_what_a_screen_reader_says(person: Person, browser: Browser) -> None:
    page, _ = await new_page(browser)
    await page.goto(f"{person.url}?lang=de&done=save")
    assert await page.get_by_role("status").evaluate("one => one === document.activeElement")
    group = page.get_by_role("group", name="Sicherheit")
    assert await group.get_by_role("checkbox", name="SMS", checked=True).count() == 1
    assert await group.get_by_role("checkbox").count() == 1
    assert await group.get_by_text("E-Mail (immer an)").count() == 1
    assert await group.get_by_text("lässt sich nicht abschalten").count() == 1
    snapshot = await page.locator("body").aria_snapshot()
    assert snapshot.count("heading") == 5
    await page.context.close()


async def test_the_persons_language_is_used_until_another_is_chosen_and_kept_after_saving(
    person: Person, browser: Browser
) -> None:
    person.locale = "de-CH"
    page, _ = await new_page(browser, locale="en-US")
    await page.goto(person.url)
    await page.get_by_role("heading", name="Ihre Benachrichtigungen").wait_for()
    await page.get_by_role("link", name="العربية").click()
    await page.get_by_role("checkbox").first.click()
    await page.get_by_role("button", name="حفظ").click()
    await page.get_by_role("status").wait_for()
    assert await page.evaluate("document.documentElement.lang") == "ar"
    assert person.choices == {1: {"push": False}}
    await page.context.close()


async def test_another_site_can_neither_frame_the_page_nor_send_its_form(person: Person, browser: Browser) -> None:
    page, _ = await new_page(browser)
    other = person.url.replace("127.0.0.1", "localhost")  # another site
    form = f'<form method="post" action="{person.url}"><input name="on" value="1.sms"><button>Win</button></form>'
    await page.route(
        other, lambda route: route.fulfill(content_type="text/html", body=f'{form}<iframe src="{person.url}">')
    )
    await page.goto(other)
    assert page.frames[1].url.startswith("chrome-error:")
    async with page.expect_response(person.url) as refused:
        await page.get_by_role("button", name="Win").click()
    assert (await refused.value).status == 403
    await page.get_by_role("heading", name="Nothing was changed").wait_for()
    assert person.choices == {}
    await page.context.close()
