"""Each of twelve faults is named by the page, an alert, `doctor`, `why` and a log, and no longer after its end.

Two that cost little are injected in every run, beside other tests, so without the limits of 30 s and a minute;
`pytest -m drill tests/e2e/test_faults.py` injects all, with them.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from devtools.faults.cases import BY_NAME
from devtools.faults.load import SteadyLoad, people
from devtools.faults.measures import Drill
from devtools.faults.prometheus import Prometheus, prometheus_program
from devtools.faults.witnesses import Commands, Logs, Page
from devtools.stack import Stack
from devtools.subprocesses import python_module
from notify_streams.app import web_port
from notify_streams.roles import ROLES
from notify_streams.settings import Settings
from tests.e2e.processes import run_to_end
from tests.e2e.running_region import RunningRegion, wait_until_known

CHEAP = ("redis", "provider_503")
RATE = 10.0

pytestmark = [
    pytest.mark.stack,
    pytest.mark.timeout(1200),
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(prometheus_program() is None, reason="no prometheus on this machine: scripts/promtool says why"),
]


@dataclass(frozen=True, slots=True)
class Target:
    stack: Stack
    settings: Settings
    load: SteadyLoad


async def test_faults_are_named_while_they_last_and_in_the_hour_after(
    running_region: RunningRegion, tmp_path: Path
) -> None:
    region, settings = running_region, running_region.settings
    users = people("here", 8)
    await asyncio.gather(*(region.sign_up(user_id, email=None) for user_id in users))
    await wait_until_known(region, *users)
    targets = [f"127.0.0.1:{web_port(settings, role)}" for role in ROLES]
    logs = partial(Logs, region.stack.folder / "us" / "workers")
    lines: list[str] = []
    async with (
        Prometheus(tmp_path, targets) as prometheus,
        Page(settings) as page,
        SteadyLoad(settings, users, (), RATE) as load,
    ):
        target = Target(region.stack, settings, load)
        drill = Drill(target, page, prometheus, Commands(settings, region.environ), logs, lines.append)
        rows = await drill.run([BY_NAME[name] for name in CHEAP])
    for row in rows:
        seen = (row.page, row.alert, row.doctor, row.gone, row.alert_ended, row.log, row.last_hour)
        assert None not in seen and BY_NAME[row.fault].explained_by(row.why), "\n".join(lines)
    await region.audited()


@pytest.mark.drill
@pytest.mark.timeout(5400)
async def test_all_twelve(tmp_path: Path) -> None:
    environ = os.environ | {"NOTIFY_STACK_DIR": str(tmp_path)}
    done = await run_to_end(python_module("notify_streams.cli", "faults", "--json"), environ, timeout_s=5300)
    report = json.loads(done.out)
    assert report["differences"] == []
    assert {row["fault"]: row["misses"] for row in report["faults"]} == {name: [] for name in BY_NAME}
    assert done.status == 0 and report["holds"]
