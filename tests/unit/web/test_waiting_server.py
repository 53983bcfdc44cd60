"""A worker that starts during a restore answers probes and scrapes, and nothing else."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any

import aiohttp

from devtools.stack.ports import free_port
from notify_streams.retry import failing_calls
from notify_streams.stores.maintenance import MAINTENANCE, wait_for_maintenance
from notify_streams.transport.app_state import app_state
from notify_streams.web_server import Web
from tests.unit.web.conftest import NewWorker
from tests.waiting import until


class ARestore:
    """The shards of a region, with the one collection that says that a restore is under way."""

    def __init__(self) -> None:
        self.over = False

    def database(self, _shard: int) -> Any:
        return {MAINTENANCE: self}

    async def find_one(self, _query: Any) -> Any:
        began = {"began_at": datetime(2026, 1, 1, tzinfo=UTC), "options": {}, "done": [], "found": {}}
        return None if self.over else {"_id": "1", "verb": "restore apply"} | began


async def test_a_worker_that_waits_for_a_restore_lives_is_not_ready_and_says_why(new_worker: NewWorker) -> None:
    port = free_port()
    worker, restore = new_worker("critical", web_port=port), ARestore()
    starts = [start for start, _ in app_state(worker).lifecycles if isinstance(start, partial)]
    (wait,) = (start for start in starts if start.func is wait_for_maintenance)
    waiting = asyncio.create_task(wait.func(restore, *wait.args[1:]))
    await until(lambda: "maintenance.wait" in failing_calls(), "the worker waits")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        async with http.get("/live") as live, http.get("/ready") as ready, http.get("/users/u-1") as other:
            assert (live.status, ready.status, other.status) == (200, 503, 404)
            assert "`notify-streams restore apply` of 2026-01-01" in (await ready.json())["waiting_for"][0]
        async with http.get("/metrics") as scrape:
            values = dict(
                line.rsplit(" ", 1) for line in (await scrape.text()).splitlines() if not line.startswith("#")
            )
        assert 'notify_retrying_seconds{call="maintenance.wait"}' in values
        assert abs(float(values["notify_clock_seconds"]) - time.time()) < 10, "or an alert says that its clock is wrong"
    restore.over = True
    await asyncio.wait_for(waiting, 20)
    assert isinstance(worker.web, Web)
    worker.web.init_server()
    await worker.web.start_server()  # at the same port
    await worker.web.stop_server()


async def test_no_port_is_taken_where_there_is_nothing_to_wait_for() -> None:
    restore = ARestore()
    restore.over = True

    def refused(_why: str) -> Any:
        raise AssertionError("it does not wait")

    await wait_for_maintenance(restore, 1.0, refused)  # type: ignore[arg-type]
