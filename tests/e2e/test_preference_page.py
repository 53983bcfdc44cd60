"""From the link in a mail to the page, and from its button to no more messages."""

from __future__ import annotations

import re

import aiohttp
import pytest

from tests.e2e.running_region import RunningRegion, a_new_id, wait_until_known

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200), pytest.mark.asyncio(loop_scope="session")]


async def test_the_link_in_a_mail_leads_to_the_button_that_stops_all(running_region: RunningRegion) -> None:
    user_id = a_new_id("page")
    await running_region.sign_up(user_id)
    await running_region.drained()
    await wait_until_known(running_region, user_id)
    before = await running_region.trigger(user_id)
    await running_region.assert_notified_once(before)
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{running_region.settings.providers.fcm}/seen.json?q={before}") as response:
            (mail,) = (await response.json())["shown"]["email"]
        (link,) = re.findall(r"http\S+/preferences/\S+", mail["mail"]["text"])
        async with http.get(link) as response:
            assert (response.status, (await response.text()).count(" checked>")) == (200, 4)
        async with http.post(link, data={"action": "stop_all"}) as response:
            assert (response.status, response.url.query["done"]) == (200, "stop_all")
            assert "Everything that can be turned off is off now." in await response.text()
        after = await running_region.trigger(user_id)
        done = await running_region.cli("prefs", "link", user_id, "--locale", "de", "--json")
        assert done.status == 0, done.err
        async with http.get(done.json["url"]) as response:
            page = await response.text()
    assert "Ihre Benachrichtigungen" in page
    assert page.count(" checked>") == 0
    await running_region.audited()
    assert running_region.channels(after) == []
    assert await running_region.deliveries(after, user_id) == dict.fromkeys(("push", "email", "sms"), "suppressed")
