"""Workers that are killed, told to go, or started where they cannot work."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path

import pytest

from devtools.stack.kafka import private_broker
from tests.e2e.processes import end_with, ended, until
from tests.e2e.running_region import CROWD, RegionAtWork

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="session")]

_LOAD = 3_000


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("role", ["standard", "push"])
async def test_a_worker_that_ends_under_load_loses_nothing(
    region_at_work: RegionAtWork, role: str, number: signal.Signals
) -> None:
    """Killed or told to go: its successor carries on where the books say, and the books close."""
    before = (await region_at_work.closed())["taken"]
    seen = set(region_at_work.record())
    load = asyncio.create_task(region_at_work.triggers(CROWD, _LOAD))

    async def is_under_way() -> bool:
        return not region_at_work.record().keys() <= seen

    worker = region_at_work.supervisor.processes[role]
    await until(is_under_way, "the first of the load is accepted")
    began = time.monotonic()
    status = await end_with(worker, number, patience_s=60)
    took_s = time.monotonic() - began
    ids = await load
    # Bounded by the transport's drain and the flushes' timeouts, on a machine that has other things to do.
    assert took_s < 30
    assert status == (0 if number is signal.SIGTERM else -signal.SIGKILL)
    sums = await region_at_work.closed()
    assert sums["taken"] - before == _LOAD
    record = region_at_work.record()
    for identity in ids:
        found = record.get(identity, [])
        assert {line.channel for line in found} == {"email", "push"}, identity
        unmarked = [line.channel for line in found if not line.possible_duplicate]
        if role == "standard" or number is signal.SIGTERM:
            assert sorted(line.channel for line in found) == ["email", "push"], identity
        else:
            assert len(unmarked) == len(set(unmarked)), identity

    async def is_back() -> bool:
        return region_at_work.supervisor.processes[role].returncode is None and (await region_at_work.ready(role))

    await until(is_back, f"{role} is back")


async def test_a_router_without_topics_refuses_and_names_the_remedy(
    region_at_work: RegionAtWork, tmp_path: Path
) -> None:
    """Faust would start, and never see the topics that are created later."""
    with private_broker(tmp_path / "kafka") as broker:
        environ = region_at_work.environ | {
            "NOTIFY_KAFKA": broker.address,
            "NOTIFY_DATA_DIR": str(tmp_path / "data"),
            "NOTIFY_WEB_PORT": str(region_at_work.free_port()),
        }
        done = await ended(
            [sys.executable, "-m", "notify_streams.cli", "worker", "--region", "us", "--role", "standard"], environ
        )
    assert done.status != 0
    assert "notify-streams topics ensure --region us" in done.err + done.out
