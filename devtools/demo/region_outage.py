"""An outage of one region under load: kill, optional failover, restart, failback.

Its workers, Kafka and shards get SIGKILL; the provider sandbox keeps running. Triggers for its users wait, or its standby serves
them. Users of other regions are not affected.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from devtools import subprocesses

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from devtools.stack import Stack
    from devtools.stack.region import Component, Region
    from devtools.supervisor import Supervisor

#: From the kill to the command: an operator needs time to react.
_REACTION_S: Final = 3.0
_COMMAND_S: Final = 120.0


async def kill_region(region: Region, supervisor: Supervisor) -> None:
    """SIGKILL its workers, Kafka and shards; the provider sandbox keeps running."""
    await supervisor.kill()
    components: tuple[Component, ...] = (region.kafka, *region.shards)
    await asyncio.gather(*(asyncio.to_thread(one.kill) for one in components))


class RegionOutage:
    """One outage of one region, with its times in Unix seconds."""

    def __init__(self, region: str, standby: str | None, away_s: float, environ: Mapping[str, str]) -> None:
        """`standby`: the region that serves its users meanwhile; None: they wait. `environ`: of the failover command."""
        self.region = region
        self.standby = standby
        self._away_s = away_s
        self._environ = environ
        self.killed_at = self.restarting_at = self.back_at = 0.0
        #: When `notify-streams failover` was called; None: it was not.
        self.commanded_at: float | None = None

    async def run(
        self,
        stack: Stack,
        supervisor: Supervisor,
        start_workers: Callable[[], Awaitable[None]],
        report: Callable[[str], None],
    ) -> None:
        """Kill the region and restart it after `away_s`; with a standby, fail over and back.

        Raises:
            NotifyError: a failover failed.
            StackFailed: the region did not start again.
        """
        report(f"region {self.region}: workers, Kafka and shards are killed")
        self.killed_at = time.time()
        await kill_region(stack.region(self.region), supervisor)
        if self.standby is not None:
            await asyncio.sleep(min(_REACTION_S, self._away_s))
            self.commanded_at = time.time()
            await self._failover(report, "--to", self.standby)
        await asyncio.sleep(max(0.0, self.killed_at + self._away_s - time.time()))
        self.restarting_at = time.time()
        await asyncio.to_thread(stack.up, [self.region])
        await start_workers()
        self.back_at = time.time()
        report(f"region {self.region}: back")
        if self.standby is not None:
            await self._failover(report, "--back")

    async def _failover(self, report: Callable[[str], None], *arguments: str) -> None:
        """Run the operator's command, whose start is part of the measured time."""
        command = ("failover", self.region, *arguments, "--patience", "60")
        command = subprocesses.python_module("notify_streams.cli", *command)
        output = await subprocesses.run(command, env=self._environ, timeout_s=_COMMAND_S)
        report(output.decode(errors="replace").strip())
