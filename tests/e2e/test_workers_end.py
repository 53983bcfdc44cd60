"""Workers that are killed, stopped, or started without topics."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import msgspec
import pytest

from devtools.stack.kafka import private_broker
from devtools.stack.ports import free_port
from devtools.subprocesses import python_module, stop
from notify_streams.admin.topics import check_topics
from notify_streams.roles import ROLES
from tests.e2e.processes import run_to_end, until
from tests.e2e.running_region import USERS, RunningRegion
from tests.local_services import SECURE

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200), pytest.mark.asyncio(loop_scope="session")]

_LOAD = 1_500


async def test_each_role_finds_its_topics_with_its_own_rights(running_region: RunningRegion) -> None:
    """As the init container of a pod asks; on a secure stack a role may not read the configuration of topics."""
    for role in ROLES:
        login = running_region.security_of(role.replace("_", "-"))
        found = await check_topics(msgspec.structs.replace(running_region.settings, kafka_security=login), role)
        assert found.blocking == (), role


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("role", ["standard", "push"])
async def test_a_worker_that_ends_under_load_loses_nothing(
    running_region: RunningRegion, role: str, number: signal.Signals
) -> None:
    """Its successor continues from the ledger's position."""
    before = (await running_region.audited())["taken"]
    seen = set(running_region.provider_log())
    load = asyncio.create_task(running_region.triggers(USERS, _LOAD))

    async def is_under_way() -> bool:
        return not running_region.provider_log().keys() <= seen

    worker = running_region.supervisor.processes[role]
    await until(is_under_way, "the first of the load is accepted")
    began = time.monotonic()
    status = await stop(worker, number, grace_s=60)
    took_s = time.monotonic() - began
    ids = await load
    # Bounded by the transport's drain and the flush time-outs, on a busy machine.
    assert took_s < 30
    assert status == (0 if number is signal.SIGTERM else -signal.SIGKILL)
    sums = await running_region.audited()
    assert sums["taken"] - before == _LOAD
    log = running_region.provider_log()
    for trigger_id in ids:
        found = log.get(trigger_id, [])
        assert {line.channel for line in found} == {"email", "push"}, trigger_id
        # A killed worker, or a provider that is slow on a busy machine, leaves calls without an answer.
        unmarked = [line.channel for line in found if not line.possible_duplicate]
        assert len(unmarked) == len(set(unmarked)), trigger_id

    async def is_back() -> bool:
        return running_region.supervisor.processes[role].returncode is None and (await running_region.ready(role))

    await until(is_back, f"{role} is back")


@pytest.mark.skipif(SECURE, reason="its broker of its own wants no log-in, and the settings have one")
async def test_a_router_without_topics_refuses_and_names_the_remedy(
    running_region: RunningRegion, tmp_path: Path
) -> None:
    """Faust itself would start, and not see topics that are created later."""
    with private_broker(tmp_path / "kafka") as broker:
        environ = running_region.environ | {
            "NOTIFY_KAFKA": broker.address,
            "NOTIFY_DATA_DIR": str(tmp_path / "data"),
            "NOTIFY_WEB_PORT": str(free_port()),
        }
        command = python_module("notify_streams.cli", "worker", "--region", "us", "--role", "standard")
        done = await run_to_end(command, environ)
    assert done.status != 0
    assert "notify-streams topics ensure --region us" in done.err + done.out
