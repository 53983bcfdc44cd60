"""The sandbox's page `/seen`: what the real clients sent is on it, escaped and bounded."""

from __future__ import annotations

import re
from functools import partial
from html import unescape
from random import randrange
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import aiohttp
import orjson
import pytest

from notify_streams.delivery.providers import CHANNELS, ProviderOutcome
from notify_streams.records.ids import delivery_id, notification_id
from notify_streams.settings_providers import ProviderSettings
from tests.browser import chromium
from tests.contract.providers.conftest import CHANNEL_OF

SCRIPT = "<script>document.title='run'</script>"
#: RIGHT-TO-LEFT OVERRIDE
OVERRIDE = "\u202e"


async def send(sandbox: Any, outbox: Any, **but: Any) -> Any:
    """Send a message of a trigger with the real client of the provider `by`; returns the message."""
    trigger_id = but.pop("trigger_id", f"t-{uuid4().hex}")
    notification = notification_id(trigger_id, "u-1", "payments")
    ids = {"notification_id": notification, "delivery_id": delivery_id(notification, outbox.channel)}
    provider = sandbox.client(but.pop("by", ProviderSettings().provider_of[outbox.channel]), max_sms_segments=20)
    message = outbox.message(**ids, **but)
    await provider.start()
    try:
        assert (await provider.send(message)).outcome is ProviderOutcome.ACCEPTED
    finally:
        await provider.close()
    return message


async def page(sandbox: Any, query: str, host: str | None = None) -> tuple[int, str]:
    """Status and HTML."""
    headers = {} if host is None else {"Host": host}
    async with aiohttp.request("GET", f"{sandbox.url}/seen?q={quote(query, safe='')}", headers=headers) as response:
        return response.status, await response.text()


async def found(sandbox: Any, query: str) -> list[dict[str, Any]]:
    """The messages of `/seen.json`, newest first in each channel."""
    async with aiohttp.request("GET", f"{sandbox.url}/seen.json?q={quote(query, safe='')}") as response:
        assert response.status == 200
        shown = orjson.loads(await response.read())["shown"]
    return [message for channel in CHANNELS for message in shown[channel]]


def articles(html: str) -> list[str]:
    """The text of each message on the page, without tags."""
    return [unescape(re.sub(r"<[^>]*>", "", one)) for one in re.findall(r"<article.*?</article>", html, re.DOTALL)]


@pytest.mark.parametrize("provider", CHANNEL_OF)
async def test_a_message_is_found_by_its_address_trigger_and_delivery(
    sandbox: Any, outbox_of: Any, provider: str
) -> None:
    channel, number = CHANNEL_OF[provider], randrange(5_000, 10_000)
    outbox = outbox_of(channel, lambda _: sandbox.contact(provider, number))
    to = sandbox.contact(provider, number)
    address = f"/push/{number}" if provider == "web_push" else to
    trigger_id = f"t {uuid4().hex}"
    message = await send(sandbox, outbox, by=provider, trigger_id=trigger_id, title="Grüße", body="12,50 € sind da.")
    await send(sandbox, outbox_of(channel))
    for query in (address, trigger_id, message.delivery_id):
        status, html = await page(sandbox, query)
        assert status == 200
        (text,) = articles(html)
        assert "Grüße" in text and "12,50 € sind da." in text
        assert f"notify-streams why '{trigger_id}'" in text
        assert f" · {provider} · " in text
        assert address in unescape(html)
    (shown,) = await found(sandbox, trigger_id)
    assert (shown["channel"], shown["to"], shown["trigger_id"]) == (channel, to, trigger_id)
    assert shown["delivery_id"] == message.delivery_id
    assert await found(sandbox, f"no-{trigger_id}") == []


@pytest.mark.parametrize("provider", ["fcm", "apns", "web_push"])
async def test_a_lock_screen_shows_what_each_push_provider_was_told(
    sandbox: Any, outbox_of: Any, provider: str
) -> None:
    outbox = outbox_of("push", lambda _: sandbox.contact(provider, 77))
    given = {"critical": True, "collapse_key": "balance", "title": "Grüße", "body": "12,50 €"}
    earlier = await send(sandbox, outbox, by=provider, data={"amount": "12.50", "of": {"account": 7}}, **given)
    later = await send(sandbox, outbox, by=provider, **{**given, "critical": False})
    (first,), (second,) = [await found(sandbox, one.delivery_id) for one in (earlier, later)]
    assert (first["provider"], first["is_replaced"], second["is_replaced"]) == (provider, True, False)
    assert (first["push"]["title"], first["push"]["body"]) == ("Grüße", "12,50 €")
    assert first["push"]["data"] == {"amount": "12.50", "of": '{"account":7}'}
    assert (first["push"]["priority"], second["push"]["priority"]) == ("HIGH", "NORMAL")
    assert first["push"]["collapse_key"] == second["push"]["collapse_key"] is not None


async def test_a_later_push_with_the_same_key_replaces_the_earlier_one_on_the_same_device(
    sandbox: Any, outbox_of: Any
) -> None:
    outbox, to = outbox_of("push"), f"token-{uuid4().hex}"
    first = await send(sandbox, outbox, to=to, collapse_key="balance", data={"amount": "1"})
    second = await send(sandbox, outbox, to=to, collapse_key="balance")
    other = await send(sandbox, outbox, to=f"{to}-other", collapse_key="balance")
    without_key = await send(sandbox, outbox, to=to)
    shown = {one["delivery_id"]: one for one in await found(sandbox, to)}
    assert {name for name, one in shown.items() if one["is_replaced"]} == {first.delivery_id}
    assert set(shown) == {one.delivery_id for one in (first, second, other, without_key)}
    assert shown[first.delivery_id]["push"]["data"] == {"amount": "1"}
    # Also where the later one does not match the search.
    _, html = await page(sandbox, first.delivery_id)
    (text,) = articles(html)
    assert "replaced by a later push" in text


async def test_marks_are_shown(sandbox: Any, outbox_of: Any) -> None:
    outbox, to, trigger_id = outbox_of("push"), f"token-{uuid4().hex}", f"t-{uuid4().hex}"
    await send(sandbox, outbox, trigger_id=trigger_id, to=to, critical=True)
    await send(sandbox, outbox, trigger_id=trigger_id, to=to, possible_duplicate=True, attempt=2)
    _, html = await page(sandbox, to)
    later, first = articles(html)
    assert "possible duplicate" in later and "accepted before" in later and "attempt 2" in later
    assert "critical" not in later
    assert "critical" in first and "HIGH" in first
    assert "possible duplicate" not in first and "accepted before" not in first


async def test_the_segments_of_a_text_are_shown_in_the_order_of_the_thread(sandbox: Any, outbox_of: Any) -> None:
    outbox, to = outbox_of("sms"), "+12025557799"
    await send(sandbox, outbox, to=to, title=None, body="a" * 161)
    await send(sandbox, outbox, to=to, title=None, body="ж")
    _, html = await page(sandbox, to)
    older, newer = articles(html)
    assert "2 segments, GSM-7, 161 units" in older
    assert "1 segment, UCS-2, 1 units" in newer


async def test_the_html_part_of_a_mail_is_framed_without_scripts(sandbox: Any, outbox_of: Any) -> None:
    html_part = f'<p style="color:red">12,50&nbsp;€</p>{SCRIPT}'
    message = await send(sandbox, outbox_of("email"), body="12,50 €", html=html_part, title="Zahlung größer")
    _, html = await page(sandbox, message.delivery_id)
    frame = re.search(r'<iframe sandbox src="(/seen/mail/\d+)"', html)
    assert frame is not None and "Zahlung größer" in html and SCRIPT not in html
    async with aiohttp.request("GET", sandbox.url + frame[1]) as response:
        assert (await response.text()).strip() == html_part
        policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none';") and "script" not in policy


@pytest.mark.parametrize("number", ["999999999999999999", "0"])
async def test_a_mail_that_is_not_kept_is_404(sandbox: Any, number: str) -> None:
    async with aiohttp.request("GET", f"{sandbox.url}/seen/mail/{number}") as response:
        assert response.status == 404


@pytest.mark.parametrize("channel", CHANNELS)
async def test_hostile_text_is_escaped(sandbox: Any, outbox_of: Any, channel: str) -> None:
    text = f"{SCRIPT}\"'><img src=x onerror=alert(1)>{{{{ 7 * 7 }}}}"
    trigger_id = f"t-{uuid4().hex}{SCRIPT}{OVERRIDE}"
    push = {"data": {"a<b>": text}, "collapse_key": "<i>"} if channel == "push" else {}
    await send(sandbox, outbox_of(channel), trigger_id=trigger_id, title=text, body=text, **push)
    status, html = await page(sandbox, trigger_id)
    assert status == 200
    assert not re.search(r"<(script|img|b|i)\b", html)
    (shown,) = articles(html)
    assert text in shown
    # In an id an override is written out, so that it cannot change how the rest is shown.
    assert OVERRIDE not in shown and r"\u202e" in shown


async def test_a_mail_of_a_megabyte_is_shown_in_part(sandbox: Any, outbox_of: Any) -> None:
    message = await send(sandbox, outbox_of("email"), body="ü" * 500_000, html="<p>" + "x " * 250_000)
    _, html = await page(sandbox, message.delivery_id)
    assert len(html) < 50_000
    (text,) = articles(html)
    assert "longer than what is kept" in text and "more characters" in text
    (shown,) = await found(sandbox, message.delivery_id)
    assert shown["is_cut"] and 40_000 > len(shown["mail"]["text"]) > 4_000


@pytest.mark.parametrize("host", ["attacker.example", "127.0.0.1.attacker.example", "", "[::1"])
async def test_a_name_that_leads_to_this_machine_is_refused(sandbox: Any, host: str) -> None:
    status, html = await page(sandbox, "", host)
    assert status in (400, 403)
    assert "<article" not in html


async def test_it_fits_a_phone_without_errors_and_runs_no_script(sandbox: Any, outbox_of: Any) -> None:
    long = "x" * 128
    outboxes = {name: outbox_of(channel, partial(sandbox.contact, name)) for name, channel in CHANNEL_OF.items()}
    text = f"{long} {OVERRIDE}{SCRIPT}"
    for name, outbox in outboxes.items():
        await send(sandbox, outbox, by=name, trigger_id=f"wide-{long[5:]}", title=text, body=text, html=None)
    mail = await send(sandbox, outboxes["smtp"], trigger_id=f"wide-2-{long[7:]}", html=f"<h1>Framed</h1>{SCRIPT}")
    quiet = "the document's frame is sandboxed"
    async with chromium() as browser:
        view = await browser.new_page(viewport={"width": 375, "height": 800})
        errors: list[str] = []
        view.on("console", lambda line: errors.append(line.text))
        view.on("pageerror", lambda error: errors.append(str(error)))
        await view.goto(f"{sandbox.url}/seen?q=wide-")
        for width in (1280, 375):
            await view.set_viewport_size({"width": width, "height": 800})
            assert await view.evaluate("document.documentElement.scrollWidth") == width
        for name, level in (("What people saw", 1), ("Lock screens", 2), ("SMS threads", 2), ("Inboxes", 2)):
            assert await view.get_by_role("heading", name=name, level=level).count() == 1
        assert await view.get_by_role("article").count() == len(CHANNEL_OF) + 1
        frame = view.frame_locator(f'iframe[title*="{mail.title}"]')
        assert await frame.get_by_role("heading", name="Framed").count() == 1
        assert await view.title() == "wide- · What people saw · provider sandbox"
        assert [line for line in errors if quiet not in line] == []
        # By keyboard alone.
        await view.get_by_role("searchbox").focus()
        await view.keyboard.press("ControlOrMeta+a")
        await view.keyboard.type(mail.delivery_id)
        await view.keyboard.press("Enter")
        await view.wait_for_url(f"**/seen?q={mail.delivery_id}")
        assert await view.get_by_role("article").count() == 1
