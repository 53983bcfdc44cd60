"""Each alert of monitoring/alerts.yaml that the twelve faults are not about fires in a real Prometheus while its fault lasts.

`pytest -m drill -s tests/e2e/test_alerts_fire.py` shows after which time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio

from devtools.faults.load import SteadyLoad, people
from devtools.faults.prometheus import Prometheus, prometheus_program
from notify_streams.app import web_port
from notify_streams.roles import ROLES
from tests.e2e.alert_faults import FAULTS, LOSS, AlertFault
from tests.e2e.running_region import RunningRegion, start_region, wait_until_known
from tests.local_services import own_stack

RATE = 4.0
#: The longest time over which an expression sums that is about a fault of another test, and some.
QUIET_S = 720.0

pytestmark = [
    pytest.mark.drill,
    pytest.mark.stack,
    pytest.mark.timeout(1800),
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(prometheus_program() is None, reason="no prometheus on this machine: scripts/promtool says why"),
]


@dataclass(frozen=True, slots=True)
class WatchedRegion:
    """A region whose workers Prometheus scrapes."""

    region: RunningRegion
    #: They have a push token only.
    users: list[str]
    prometheus: Prometheus

    async def shows(self, fault: AlertFault) -> None:
        """Inject the fault under load and wait until each of its alerts has fired; none may have fired before."""
        await self._wait_for(lambda firing: not firing & set(fault.alerts), QUIET_S, "none fires before the fault")
        missing = set(fault.alerts)
        began = time.monotonic()

        def all_have_fired(firing: set[str]) -> bool:
            for alert in sorted(missing & firing):
                print(f"{alert} fires after {time.monotonic() - began:.0f} s")
                missing.remove(alert)
            return not missing

        async with (
            SteadyLoad(self.region.settings, self.users, (), RATE),
            fault.inject(self.region, self.users),
        ):
            await self._wait_for(all_have_fired, fault.within_s, f"{fault.alerts} fire")

    async def _wait_for(self, holds: Callable[[set[str]], bool], within_s: float, what: str) -> None:
        """Until `holds` says so of the names of the alerts that fire."""
        deadline = time.monotonic() + within_s
        while not holds(firing := set(await self.prometheus.firing())):
            assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}; what fires is {firing}"
            await asyncio.sleep(1.0)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def watched_region(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WatchedRegion]:
    """On a stack of its own, because of the records that the last test loses."""
    users = people("here", 16)
    async with own_stack("alerts") as stack, start_region(stack) as region:
        await asyncio.gather(*(region.sign_up(user_id, email=None) for user_id in users))
        await wait_until_known(region, *users)
        targets = [f"127.0.0.1:{web_port(region.settings, role)}" for role in ROLES]
        async with Prometheus(tmp_path_factory.mktemp("prometheus"), targets) as prometheus:
            yield WatchedRegion(region, users, prometheus)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_the_alerts_of_a_fault_fire(watched_region: WatchedRegion, fault: AlertFault) -> None:
    await watched_region.shows(fault)


async def test_the_books_close_after_all_these_faults(watched_region: WatchedRegion) -> None:
    await watched_region.region.audited()


async def test_the_alert_of_lost_records_fires_and_the_audit_names_them(watched_region: WatchedRegion) -> None:
    await watched_region.shows(LOSS)
    await watched_region.region.drained()
    report = await watched_region.region.audit()
    assert {one["check"] for one in report["differences"]} == {"deleted before it was read"}
