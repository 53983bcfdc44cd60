"""The region on which faults are injected: its services, workers and people."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import aiohttp
from rich.console import Console

from devtools.demo.wait import RegionWatcher
from devtools.faults import worker_with_faults
from devtools.faults.clock import SteppedClock
from devtools.faults.load import SteadyLoad, people, sign_up
from devtools.stack.starting import StartedAsAWhole, start_services
from devtools.workers import WorkerPool
from notify_streams.admin.audit import audit
from notify_streams.admin.bootstrap import bootstrap_region
from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.app import web_port
from notify_streams.edge.point_of_presence import edge_key
from notify_streams.errors import StoreUnavailable
from notify_streams.roles import ROLES, VIEWS
from notify_streams.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from devtools.stack import Stack
    from devtools.workers import Worker
    from notify_streams.settings import Settings

HERE: Final = "us"
AWAY: Final = "eu"
#: Whose agents can be made to fail, and whose clock can be stepped.
FAULTY_ROLE: Final = "standard"
CLOCK_ROLE: Final = "push"
_PEOPLE_HERE: Final = 60
_PEOPLE_AWAY: Final = 6
#: That bring the people of the other region into the tables of this one.
_ROLES_AWAY: Final = ("registry", "forward")
#: Until a worker that was started is ready.
START_S: Final = 300.0
#: Each takes some seconds of a processor.
_START_TOGETHER: Final = 4
_STARTS: Final = 3
_KNOWN_S: Final = 300.0
_DRAIN_S: Final = 120.0
#: On a busy machine a critical worker must not lose its membership for being late.
_SESSIONS: Final = {"NOTIFY_BROKER__CRITICAL_SESSION_TIMEOUT_S": "6", "NOTIFY_BROKER__CRITICAL_HEARTBEAT_S": "1.5"}


class FaultRegion(StartedAsAWhole):
    """``async with FaultRegion(stack, rate, report) as region``: it runs.

    On exit workers and services are stopped and wiped.
    """

    def __init__(self, stack: Stack, rate: float, report: Callable[[str], None], *, linked: bool) -> None:
        """`rate`: triggers a second. `linked`: there is another region, whose people get a tenth of them."""
        self.stack = stack
        self._rate = rate
        self._linked = linked
        self._report = report
        super().__init__()
        self.environ: Mapping[str, str] = {"NOTIFY_STACK_DIR": str(stack.folder)} | _SESSIONS
        self.logs = stack.folder / "workers"
        self.fault_file = stack.folder / "agent_fault"
        self.clock = SteppedClock(stack.folder / "clock")
        self.pool = WorkerPool(HERE, self.environ, self.logs)
        self.settings: Settings
        self.load: SteadyLoad
        self._watcher: RegionWatcher

    async def _start(self) -> None:
        """Start it; returns when its people are known. `load` is not begun.

        Raises:
            StackFailed, StoreUnavailable: something did not start.
        """
        regions = [HERE, AWAY] if self._linked else [HERE]
        self._report(f"starting the services of {' and '.join(regions)}")
        self._closing.push_async_callback(asyncio.to_thread, self.stack.down, regions, True)
        await start_services(self.stack, regions)
        every = [load_settings(name, environ=self.environ, overlay=self.stack.settings_file(name)) for name in regions]
        for settings in every:
            await bootstrap_region(settings)
        self.settings = every[0]
        self._report("starting workers")
        self._closing.push_async_callback(self.pool.stop_all)
        roles = sorted(ROLES, key=lambda role: role != "forward")  # the others wait for the placement that it reads
        for first in range(0, len(roles), _START_TOGETHER):
            await asyncio.gather(*map(self._start_until_ready, roles[first : first + _START_TOGETHER]))
        console = Console(stderr=True, quiet=True)
        self._watcher = await self._closing.enter_async_context(RegionWatcher([self.settings], console))
        here = people("here", _PEOPLE_HERE)
        await self._sign_up(here, self.settings)
        await self._wait_until_known(here, HERE)
        elsewhere = people("away", _PEOPLE_AWAY) if self._linked else []
        for settings in every[1:]:
            await self._sign_up_away(elsewhere, settings)
        self.load = SteadyLoad(self.settings, here, elsewhere, self._rate)

    async def start_worker(self, role: str, predecessor: Worker | None = None) -> Worker:
        """Start a role's worker at its usual port."""
        environ: dict[str, str] = {}
        program = "notify_streams.cli"
        if role == FAULTY_ROLE:
            environ, program = {worker_with_faults.VARIABLE: str(self.fault_file)}, worker_with_faults.__name__
        if role == CLOCK_ROLE:
            environ = self.clock.environ()
        port = web_port(self.settings, role)
        return await self.pool.start(role, environ=environ, predecessor=predecessor, port=port, program=program)

    async def _start_until_ready(self, role: str) -> None:
        """Start a role's worker, again if it ends: on a busy machine a service may not answer it in time."""
        for attempt in range(1, _STARTS + 1):
            worker = await self.start_worker(role)
            try:
                await worker.wait_until_ready(START_S)
            except StoreUnavailable:
                if worker.alive or attempt == _STARTS:
                    raise
                self.pool.workers.pop(worker.name)
            else:
                return

    @property
    def targets(self) -> list[str]:
        """``host:port`` of each worker."""
        return [f"127.0.0.1:{web_port(self.settings, role)}" for role in ROLES]

    async def audit(self) -> dict[str, Any]:
        """Wait until everything is processed; the audit's report.

        Raises:
            StoreUnavailable: there was no progress for two minutes.
        """
        await self._watcher.wait_until_drained("the region", _DRAIN_S)
        return await audit([self.settings], wait_s=_DRAIN_S)

    async def _sign_up(self, users: list[str], settings: Settings) -> None:
        async with TriggerProducer(settings) as producer:
            await producer.send(record for user_id in users for record in sign_up(user_id, settings.region))

    async def _sign_up_away(self, users: list[str], away: Settings) -> None:
        """Sign people up in the other region, with its workers until this region knows where they are at home."""
        pool = WorkerPool(AWAY, self.environ, self.logs / AWAY)
        try:
            for role in _ROLES_AWAY:
                await pool.start(role, port=web_port(away, role))
            await self._sign_up(users, away)
            await self._wait_until_known(users, AWAY)
        finally:
            await pool.stop_all()

    async def _wait_until_known(self, users: list[str], home: str) -> None:
        url = f"http://127.0.0.1:{web_port(self.settings, VIEWS)}/locations/"
        token = self.settings.web_edge_token
        assert token is not None
        headers = {"Authorization": f"Bearer {token.reveal()}"}
        waiting = list(users)
        try:
            async with asyncio.timeout(_KNOWN_S), aiohttp.ClientSession(headers=headers) as http:
                while waiting:
                    async with http.get(url + edge_key(waiting[-1])) as response:
                        if response.status == 200 and (await response.json())["region"] == home:
                            waiting.pop()
                            continue
                    await asyncio.sleep(0.5)
        except TimeoutError:
            raise StoreUnavailable(f"{len(waiting)} people are not known after {_KNOWN_S:.0f} s") from None
