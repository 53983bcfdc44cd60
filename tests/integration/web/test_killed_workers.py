"""A worker that is killed is named until another one of its role has come; two workers of the role views tell the same, also a new one."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
import pytest

from devtools.stack import Stack
from notify_streams.app import web_port
from notify_streams.roles import VIEWS
from notify_streams.settings import Settings
from notify_streams.web.verdict.problem import ProblemCode
from notify_streams.web.verdict.region_status import RegionStatus, WorkerStatus
from tests.integration.web.conftest import ended, start_worker
from tests.integration.web.views_region import ARegion, eventually

pytestmark = pytest.mark.timeout(400)

StartAt = Callable[[str, str], Awaitable[asyncio.subprocess.Process]]


async def status_at(region: ARegion, host: str = "127.0.0.1") -> RegionStatus | None:
    """Of the worker of the role views at this address; None while it has not looked yet."""
    async with region.http.get(f"http://{host}:{web_port(region.settings, VIEWS)}/region") as response:
        body = await response.read()
        return msgspec.json.decode(body, type=RegionStatus) if response.status == 200 else None


def worker_at(status: RegionStatus | None, host: str) -> WorkerStatus | None:
    return next((one for one in (status.workers if status else ()) if one.host == host), None)


def state_at(status: RegionStatus | None, host: str) -> str | None:
    return None if (found := worker_at(status, host)) is None else found.state


def named(status: RegionStatus | None, about: str) -> bool:
    return status is not None and about in {one.about for one in status.verdict.now}


async def test_a_killed_worker_is_named_until_another_one_has_come(
    stack: Stack, views_settings: Settings, region: ARegion
) -> None:
    start: StartAt = partial(start_worker, stack, views_settings)
    first = await start("sms", "127.0.0.5")
    about = f"worker sms at 127.0.0.5:{web_port(views_settings, 'sms')}"
    await eventually(partial(status_at, region), lambda found: state_at(found, "127.0.0.5") == "ready", within_s=120.0)
    first.kill()
    killed_at = time.monotonic()
    found = await eventually(partial(status_at, region), lambda found: named(found, about), within_s=60.0)
    print(f"named after {time.monotonic() - killed_at:.1f} s")
    assert time.monotonic() - killed_at < 20
    problem = next(one for one in found.verdict.now if one.about == about)
    assert problem.code is ProblemCode.WORKER_GONE and "refuses connections" in problem.text
    assert found.verdict.headline.startswith(problem.text), "it comes before roles that were never there"

    second = await start("sms", "127.0.0.6")
    ready = partial(region.http.get, f"http://127.0.0.6:{web_port(views_settings, 'sms')}/ready")

    async def is_ready() -> int:
        async with ready() as response:
            return response.status

    await eventually(is_ready, lambda status: status == 200, within_s=120.0)
    came_at = time.monotonic()
    await eventually(partial(status_at, region), lambda found: not named(found, about), within_s=90.0)
    print(f"quiet after {time.monotonic() - came_at:.1f} s")
    assert time.monotonic() - came_at < 60
    second.send_signal(signal.SIGTERM)
    await ended(second)
    found = await eventually(partial(status_at, region), lambda found: worker_at(found, "127.0.0.6") is None)
    assert worker_at(found, "127.0.0.5") is None, "its place was taken"
    assert not named(found, f"worker sms at 127.0.0.6:{web_port(views_settings, 'sms')}"), "it has ended by itself"

    other = await start(VIEWS, "127.0.0.7")
    try:
        shown = await eventually(partial(status_at, region, "127.0.0.7"), lambda found: found, within_s=120.0)
        here = await status_at(region)
        assert here is not None
        (past,) = (one for one in shown.verdict.last_hour if one.about == about)
        assert past in here.verdict.last_hour and past.since <= past.ended_at
        points = {one.name: one.points for one in here.series if one.name == "outbox"}
        same = {one.name: one.points for one in shown.series if one.name == "outbox"}
        assert len(points["outbox"]) > 3 and points["outbox"][:-2] == same["outbox"][: len(points["outbox"]) - 2]
    finally:
        other.send_signal(signal.SIGTERM)
        await ended(other)
