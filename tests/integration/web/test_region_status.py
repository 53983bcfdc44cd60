"""`/region` of running workers: who runs, what is wrong, and totals that no worker's end makes smaller."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from uuid import uuid4

import msgspec

from notify_streams.web.verdict.problem import ProblemCode
from notify_streams.web.verdict.region_status import RegionStatus
from tests.integration.web.views_region import ARegion, eventually


async def status_of(region: ARegion) -> RegionStatus | None:
    """None while the views have not looked yet."""
    async with region.http.get(region.url("/region")) as response:
        body = await response.read()
        return msgspec.json.decode(body, type=RegionStatus) if response.status == 200 else None


def log_of(region: ARegion, role: str) -> str:
    return Path(region.settings.data_dir, f"{role}.log").read_text()


async def test_it_shows_registered_workers_totals_and_missing_roles(region: ARegion) -> None:
    person = region.person("ann")
    trigger = {"id": f"t-{uuid4()}", "user_id": person, "category": "payments", "title": "Hello", "body": "there"}
    await region.upstream.send([("triggers.payments", person, msgspec.json.encode(trigger), ())])

    def holds(found: RegionStatus | None) -> bool:
        return bool(
            found
            and {one.role for one in found.workers if one.state == "ready"} == {"standard", "push", "views"}
            and found.totals.deliveries.get("push", {}).get("sent")
            and any(one.code is ProblemCode.ROLE_MISSING for one in found.verdict.now)
        )

    found = await eventually(partial(status_of, region), holds, within_s=90.0)
    push = next(one for one in found.workers if one.role == "push")
    assert (push.host, push.port) == ("127.0.0.1", region.settings.web_port_base + 2)
    assert push.summary is not None and push.summary.id == push.id
    assert found.totals.closes and found.totals.triggers["notified"] >= 1
    assert {one.about for one in found.verdict.now} >= {"role critical", "role registry"}
    assert found.verdict.headline.startswith("No worker of the role cric_email is running.")
    assert {one.name for one in found.series} >= {"triggers", "deliveries", "lag", "outbox"}
    assert all(len(one.points) <= 360 for one in found.series)
    # The views log what they show.
    assert '"what":"role_missing role critical"' in log_of(region, "views")
