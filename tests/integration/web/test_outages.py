"""A shard that does not answer: `/ready`, the page and a metric show it; no worker is restarted for it."""

import asyncio
from functools import partial
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from devtools.stack import Stack
from tests.integration.web.views_region import ARegion, eventually

pytestmark = pytest.mark.timeout(400)
#: Longer than the 30 s after which the watchdog calls something stuck.
LONG_S = 36.0


async def failing_s(region: ARegion, role: str) -> dict[str, float]:
    async with region.http.get(region.url("/metrics", role)) as answer:
        families = {one.name: one for one in text_string_to_metric_families(await answer.text())}
    return {one.labels["call"]: one.value for one in families["notify_retrying_seconds"].samples}


async def test_a_shard_that_is_down_is_shown_and_restarts_no_worker(region: ARegion, stack: Stack) -> None:
    people = [f"outage-{uuid4()}" for _ in range(40)]  # in all buckets, so on all shards
    await asyncio.to_thread(stack.region("us").shards[0].pause)
    try:
        triggers = [{"id": f"t-{uuid4()}", "user_id": person, "category": "payments"} for person in people]
        await region.upstream.send(
            [("triggers.payments", one["user_id"], msgspec.json.encode(one), ()) for one in triggers]
        )

        def shows_it(got: tuple[int, Any]) -> bool:
            return got[0] == 503 and "shard 0 does not answer" in got[1]["waiting_for"]

        await eventually(partial(region.get, "/ready", "standard"), shows_it)
        live: list[int] = []

        async def longest_s() -> float:
            live.append((await region.get("/live", "standard"))[0])
            return max((await failing_s(region, "standard")).values(), default=0.0)

        await eventually(longest_s, lambda seconds: seconds > LONG_S, within_s=150.0)
        assert set(live) == {200}
        _, found = await region.get("/ready", "standard")
        assert [one for one in found["waiting_for"] if " fails for " in one]
        async with region.http.get(region.url("/")) as page:
            text = await page.text()
        headline = text.split('id="headline">')[1].split("<")[0]
        assert "shard 0" in headline.lower()
    finally:
        await asyncio.to_thread(stack.region("us").shards[0].resume)
    for role in ("standard", "push", "views"):
        await eventually(partial(region.get, "/ready", role), lambda got: got[0] == 200, within_s=90.0)
    # `/ready` leaves out what fails for less than 10 s.
    await eventually(partial(failing_s, region, "standard"), lambda found: found == {}, within_s=30.0)
