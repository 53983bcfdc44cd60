"""A person with a device of each push provider, by the commands of docs/start/sandbox.md, on the local stack."""

from __future__ import annotations

import aiohttp
import pytest

from tests.e2e.running_region import RunningRegion, a_new_id, wait_until_known

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200), pytest.mark.asyncio(loop_scope="session")]


async def test_each_device_gets_the_push_and_the_page_shows_all_three(running_region: RunningRegion) -> None:
    checked = await running_region.cli("providers", "check", "--json")
    assert checked.status == 0, checked.out
    assert [one["provider"] for one in checked.json["providers"]] == ["fcm", "twilio", "smtp", "apns", "web_push"]

    user_id, sandbox = a_new_id("devices"), running_region.settings.providers.fcm
    async with aiohttp.request("GET", f"{sandbox}/subscriptions/{user_id}") as response:
        subscription = await response.text()
    devices = ("fcm:token-of-the-app", f"apns:{'5a' * 32}", f"web_push:{subscription}")
    options = [word for device in devices for word in ("--device", device)]
    added = await running_region.cli("users", "add", user_id, *options)
    assert added.status == 0, added.err
    await running_region.drained()
    await wait_until_known(running_region, user_id)
    # A machine under load may lose an answer: that device is called again, marked, and has two lines.
    for _ in range(5):
        trigger_id = await running_region.trigger(user_id)
        await running_region.audited()
        lines = [line for line in running_region.provider_log()[trigger_id] if line.channel == "push"]
        if len(lines) == 3:
            break
    assert sorted(line.provider for line in lines) == ["apns", "fcm", "web_push"]
    why = await running_region.why(trigger_id)
    assert all(f"({provider}) accepted" in why.out for provider in ("fcm", "apns", "web_push")), why.out
    async with aiohttp.request("GET", f"{sandbox}/seen.json", params={"q": trigger_id}) as response:
        seen = (await response.json())["shown"]["push"]
    assert sorted(one["provider"] for one in seen) == ["apns", "fcm", "web_push"]
    assert len({(one["push"]["title"], one["push"]["body"]) for one in seen}) == 1
