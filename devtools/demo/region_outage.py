"""A region is lost while triggers go on, and comes back. In: the region, and how to start its workers. Out: when what happened.

Its workers, its Kafka and its shards end by SIGKILL; the providers are somebody else's. Triggers for its people wait meanwhile, or its
standby serves them by command; nobody else's wait.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Final

from notify_streams.errors import NotifyError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from devtools.stack import Stack
    from devtools.stack.region import Component, Region
    from devtools.supervisor import Supervisor

#: Between the kill and the command: an operator is not there at once.
_NOTICED_S: Final = 3.0
_COMMAND_S: Final = 120.0


async def kill_region(region: Region, supervisor: Supervisor) -> None:
    """Its workers, its Kafka and its shards at once; the providers are somebody else's."""
    await supervisor.kill()
    components: tuple[Component, ...] = (region.kafka, *region.shards)
    await asyncio.gather(*(asyncio.to_thread(one.kill) for one in components))


class RegionOutage:
    """One loss of one region; the moments are Unix seconds."""

    def __init__(self, region: str, standby: str | None, away_s: float, environ: Mapping[str, str]) -> None:
        """`standby`: the region that serves its people meanwhile, None: they wait."""
        self.region = region
        self.standby = standby
        self._away_s = away_s
        self._environ = environ
        self.killed_at = self.returning_at = self.back_at = 0.0
        #: When `notify-streams failover` was called, None if it was not.
        self.commanded_at: float | None = None

    async def happen(
        self,
        stack: Stack,
        supervisor: Supervisor,
        start_workers: Callable[[], Awaitable[None]],
        say: Callable[[str], None],
    ) -> None:
        """Kill it, let it be away, bring it back; with a standby, hand its people over and back.

        Raises:
            NotifyError: a failover was refused; StackFailed: the region did not start again.
        """
        say(f"region {self.region} is killed: its workers, Kafka and shards")
        self.killed_at = time.time()
        await kill_region(stack.region(self.region), supervisor)
        if self.standby is not None:
            await asyncio.sleep(min(_NOTICED_S, self._away_s))
            self.commanded_at = time.time()
            await self._failover(say, "--to", self.standby)
        await asyncio.sleep(max(0.0, self.killed_at + self._away_s - time.time()))
        self.returning_at = time.time()
        await asyncio.to_thread(stack.up, [self.region])
        await start_workers()
        self.back_at = time.time()
        say(f"region {self.region} is back")
        if self.standby is not None:
            await self._failover(say, "--back")

    async def _failover(self, say: Callable[[str], None], *arguments: str) -> None:
        """By the command that an operator would give: its start is part of how long it takes."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "notify_streams.cli", "failover", self.region, *arguments, "--patience", "60"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(self._environ),
        )
        try:
            told, errors = await asyncio.wait_for(process.communicate(), _COMMAND_S)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise NotifyError(
                f"failover {self.region} {' '.join(arguments)} did not end within {_COMMAND_S:.0f} s"
            ) from None
        if process.returncode:
            raise NotifyError(
                f"failover {self.region} {' '.join(arguments)}: {errors.decode(errors='replace').strip()}"
            )
        say(told.decode(errors="replace").strip())
