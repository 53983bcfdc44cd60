"""Three regions as separate stacks: an outage, a failover and the return.

Users are notified by their home region. An outage delays that region's users only. After a failover its standby serves them. No user is
notified by two regions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from devtools.demo.region_outage import kill_region
from devtools.supervisor import Supervisor
from notify_streams.admin.audit import audit
from tests.e2e.processes import environ_of, until
from tests.e2e.running_region import RunningRegion
from tests.e2e.several_regions import TIMEOUT_S, Regions, known_everywhere, start_regions
from tests.local_services import own_stack

#: Those that the test needs: users have a push token and no other contact.
ROLES = ("critical", "standard", "push", "registry", "forward", "views")
HOME = {"ann": "us", "bea": "eu", "chi": "asia"}

pytestmark = [pytest.mark.drill, pytest.mark.timeout(1800)]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def regions() -> AsyncIterator[Regions]:
    async with own_stack("three") as stack, AsyncExitStack() as closing:
        yield await start_regions(stack, closing, ROLES)


async def bring_back(region: RunningRegion) -> None:
    await asyncio.to_thread(region.stack.up, [region.settings.region])
    logs = region.stack.folder / region.settings.region / "workers"
    region.supervisor = Supervisor(region.settings, ROLES, logs, environ_of(region.stack))
    await region.supervisor.start()


def senders(regions: Regions, trigger_id: str) -> list[str]:
    """The region of each accepted message of a trigger."""
    return [name for name, region in regions.items() for _ in region.channels(trigger_id)]


async def sent_by(regions: Regions, trigger_id: str, region: str) -> None:
    async def done() -> bool:
        return bool(senders(regions, trigger_id))

    await until(done, f"{trigger_id} is sent", within_s=TIMEOUT_S)
    assert senders(regions, trigger_id) == [region]


async def test_an_outage_a_failover_and_a_return(regions: Regions) -> None:
    # A sign-up may enter any region: contacts and location are forwarded.
    for user_id, enters in (("ann", "us"), ("bea", "asia"), ("chi", "asia")):
        await regions[enters].sign_up(user_id, home=HOME[user_id], email=None)
    for region in regions.values():
        await region.drained()  # contacts have been forwarded
    for user_id in HOME:
        await known_everywhere(regions, user_id, HOME[user_id])

    # A trigger may enter any region: the home region notifies.
    entered = {(user_id, name): await region.trigger(user_id) for name, region in regions.items() for user_id in HOME}
    for (user_id, _), trigger_id in entered.items():
        await sent_by(regions, trigger_id, HOME[user_id])

    # Where it entered, `why` finds what another region did.
    why = (await regions["us"].why(entered["bea", "us"], "--json")).json
    (notification,), (hop,) = why["notifications"], why["others"]
    assert (notification["region"], hop["outcome"], hop["to_region"]) == ("eu", "forwarded", "eu")
    entry = notification["entry"]
    assert (entry["copied_because"], entry["origin_region"], entry["hops"]) == ("forwarded", "us", 1)
    place = f"{hop['entry']['topic']}:{hop['entry']['partition']}:{hop['entry']['offset']}"
    assert (entry["copied_from"], entry["origin_at"]) == (place, hop["entry"]["at"])
    assert not any(one["problems"] for one in why["regions"])

    # An outage delays only the users of that region.
    asia = regions["asia"]
    await kill_region(asia.stack.region("asia"), asia.supervisor)
    waiting = await regions["us"].trigger("chi")
    for user_id in ("ann", "bea"):
        await sent_by(regions, await regions["us"].trigger(user_id), HOME[user_id])
    assert senders(regions, waiting) == []
    why = (await regions["us"].cli("why", waiting, "--json")).json
    assert [one["to_region"] for one in why["others"]] == ["asia"] and not why["notifications"]
    assert [one["region"] for one in why["regions"] if one["problems"]] == ["asia"]

    # After a failover its standby serves its users.
    began = time.monotonic()
    done = await regions["us"].cli("failover", "asia", "--to", "us", "--json")
    assert done.status == 0, done.err
    assert done.json["server"] == "us"
    for name in ("us", "eu"):
        await sent_by(regions, await regions[name].trigger("chi"), "us")
    print(f"from the command to two users notified by the standby: {time.monotonic() - began:.1f} s")

    # It returns, reads that it does not serve, and forwards what waited for it.
    await bring_back(regions["asia"])
    await sent_by(regions, waiting, "us")
    await sent_by(regions, await regions["asia"].trigger("chi"), "us")

    # It serves its users again.
    done = await regions["us"].cli("failover", "asia", "--back", "--json", "--patience", "60")
    assert done.status == 0, done.err
    for region in regions.values():
        await sent_by(regions, await region.trigger("chi"), "asia")

    async def holds() -> bool:
        report = await audit([region.settings for region in regions.values()], wait_s=0)
        assert not report["differences"]
        return bool(report["holds"])

    await until(holds, "the audit of all regions holds", within_s=TIMEOUT_S)
