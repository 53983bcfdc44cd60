"""Links, reports and erasure reach any region; the person is at home elsewhere, on the move, or served by a standby.

Each stop is answered only when the region that serves the person applies it, so the next trigger finds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from notify_streams.records.ids import delivery_id, notification_id
from notify_streams.records.link_token import LinkTokens
from tests.e2e.processes import until
from tests.e2e.running_region import RunningRegion, a_new_id
from tests.e2e.several_regions import TIMEOUT_S, Regions, known_everywhere, start_regions
from tests.local_services import own_stack

#: Those that the tests need: no user has a phone. Both router roles read every trigger.
ROLES = ("critical", "standard", "push", "email", "registry", "forward", "receipts", "views", "webhooks")

pytestmark = [pytest.mark.drill, pytest.mark.timeout(1200), pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def regions() -> AsyncIterator[Regions]:
    async with own_stack("back") as stack, AsyncExitStack() as closing:
        yield await start_regions(stack, closing, ROLES)


async def sign_up(regions: Regions, home: str, enters: str) -> str:
    user_id = a_new_id("way")
    await regions[enters].sign_up(user_id, home=home)
    for region in regions.values():
        await region.drained()
    await known_everywhere(regions, user_id, home)
    return user_id


async def stopped_by_link(region: RunningRegion, user_id: str, channel: str) -> int:
    """The status of a one-click request for payments at this region."""
    token = LinkTokens(region.settings.public.link_key_list()).make(user_id, "payments", channel, "en")
    url = f"{region.settings.public.urls[region.settings.region]}/unsubscribe/{token}"
    async with aiohttp.ClientSession() as http, http.post(url, data={"List-Unsubscribe": "One-Click"}) as response:
        return response.status


async def ends_as(region: RunningRegion, trigger_id: str, user_id: str, **states: str) -> None:
    async def done() -> bool:
        found = await region.deliveries(trigger_id, user_id)
        return {channel: found.get(channel) for channel in states} == states

    await until(done, f"{trigger_id} ends as {states}", within_s=TIMEOUT_S)


async def test_a_person_at_home_in_another_region(regions: Regions) -> None:
    us, eu, asia = regions.values()
    user_id = await sign_up(regions, "eu", enters="us")
    first = await us.trigger(user_id)
    await ends_as(eu, first, user_id, push="sent", email="sent")

    # A receipt that reaches another region.
    delivery = delivery_id(notification_id(first, user_id, "payments"), "push")
    data = {"delivery_id": delivery, "region": "eu", "bucket": eu.bucket(user_id), "attempt": 1, "provider": "fcm"}
    assert await us.report("delivery.delivered", **data) == 200
    await ends_as(eu, first, user_id, push="delivered")

    # A link that is opened in a third region.
    assert await stopped_by_link(asia, user_id, "push") == 200
    second = await us.trigger(user_id)
    await ends_as(eu, second, user_id, push="suppressed", email="sent")

    # A complaint holds for the address, whatever the category.
    assert await asia.report("address.complaint", channel="email", address=f"{user_id}@example.org") == 200
    third = await us.trigger(user_id)
    await ends_as(eu, third, user_id, push="suppressed", email="suppressed")

    shown = await us.cli("consent", user_id, "--json")
    assert shown.status == 0 and {"one_click"} <= set(_sources(shown.json)), shown.err


async def test_a_person_on_the_move(regions: Regions) -> None:
    us, eu, _ = regions.values()
    user_id = await sign_up(regions, "eu", enters="eu")
    moving = asyncio.create_task(us.cli("users", "move", user_id, "--to", "us", "--json"))

    async def stopped() -> bool:
        return await stopped_by_link(eu, user_id, "email") == 200

    await until(stopped, "the link is taken", within_s=TIMEOUT_S)
    assert (await moving).status == 0
    await known_everywhere(regions, user_id, "us")
    after = await eu.trigger(user_id)
    await ends_as(us, after, user_id, push="sent", email="suppressed")
    exported = await us.cli("users", "export", user_id, "--json")
    assert exported.status == 0 and f"{user_id}@example.org" in exported.out, exported.err


async def test_a_person_whom_the_standby_serves(regions: Regions) -> None:
    us, eu, _ = regions.values()
    user_id = await sign_up(regions, "asia", enters="asia")
    over = asyncio.create_task(us.cli("failover", "asia", "--to", "us", "--json", "--patience", "120"))

    async def stopped() -> bool:
        return await stopped_by_link(eu, user_id, "email") == 200

    await until(stopped, "the link is taken during the failover", within_s=TIMEOUT_S)
    assert (await over).status == 0
    during = await eu.trigger(user_id)
    await ends_as(us, during, user_id, push="sent", email="suppressed")

    done = await us.cli("users", "forget", user_id, "--yes", "--wait", "120", "--json")
    assert done.status == 0, done.err

    async def erased_everywhere() -> bool:
        return (await us.cli("users", "forget", user_id, "--status", "--json")).status == 0

    await until(erased_everywhere, "every region has erased the person", within_s=TIMEOUT_S)
    late = await eu.trigger(user_id)
    for region in regions.values():
        await region.drained()
        assert region.channels(late) == []
    done = await us.cli("failover", "asia", "--back", "--json", "--patience", "60")
    assert done.status == 0, done.err


def _sources(value: Any) -> list[str]:
    """Each `source` in a JSON value."""
    match value:
        case dict():
            own = [value["source"]] if isinstance(value.get("source"), str) else []
            return own + [one for part in value.values() for one in _sources(part)]
        case list():
            return [one for part in value for one in _sources(part)]
    return []
