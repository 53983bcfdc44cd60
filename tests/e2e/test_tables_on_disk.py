"""Tables on disk outlive a router, and belong to one process."""

from __future__ import annotations

import signal

import pytest

from devtools.stack.ports import free_port
from devtools.subprocesses import python_module, stop
from notify_streams.topics import CONTACT_ROWS, PREFERENCE_ROWS, USER_LOCATIONS
from tests.e2e.processes import run_to_end, until
from tests.e2e.running_region import QUICK, USERS, RunningRegion

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200), pytest.mark.asyncio(loop_scope="session")]


async def rows_read(region: RunningRegion) -> dict[str, int]:
    """By table, since the router has started."""
    _, health = await region.view("standard", "/ready")
    return {one["table"]: one["rows"] for one in health["tables"]}


async def test_a_killed_router_reads_only_what_is_new(running_region: RunningRegion) -> None:
    await running_region.sign_up("before-the-kill", opted_out=[("payments", "email")])
    early = await running_region.trigger("before-the-kill")
    await running_region.audited()
    assert running_region.channels(early) == ["push"]

    killed = running_region.supervisor.processes["standard"]
    await stop(killed, signal.SIGKILL)
    await running_region.sign_up("after-the-kill", opted_out=[("payments", "push")])

    async def is_back() -> bool:
        return running_region.supervisor.processes["standard"] is not killed and await running_region.ready("standard")

    await until(is_back, "the router is back")
    ids = [await running_region.trigger(user_id) for user_id in ("before-the-kill", "after-the-kill", "ada")]
    await running_region.audited()
    assert [running_region.channels(one) for one in ids] == [["push"], ["email"], ["email", "push"]]
    rows = await rows_read(running_region)
    assert set(rows) == {USER_LOCATIONS, CONTACT_ROWS, PREFERENCE_ROWS}
    assert sum(rows.values()) <= 3 + len(rows) < len(USERS), "the rows of one person, some of them twice"


async def test_a_second_router_with_the_same_folder_refuses_in_a_sentence(running_region: RunningRegion) -> None:
    login = running_region.stack.worker_environ("us", "standard")
    environ = running_region.environ | QUICK | login | {"NOTIFY_WEB_PORT": str(free_port())}
    command = python_module("notify_streams.cli", "worker", "--region", "us", "--role", "standard")
    done = await run_to_end(command, environ)
    assert done.status != 0
    assert f"{running_region.settings.data_dir}/us/standard/tables/" in done.err
    assert "is in use by another process: stop that one, or give this worker another folder" in done.err
    assert await running_region.ready("standard")
