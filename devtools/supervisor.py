"""Runs every role of a region as a process of its own, starts again what ends, and stops all when told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from notify_streams.retry import RetryPolicy
from notify_streams.roles import lane_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from notify_streams.settings import Settings

_AGAIN: Final = RetryPolicy("worker.restart", first_s=0.5, max_s=10.0)
#: A worker that lived this long did not fail at its start: the pauses begin anew.
_SETTLED_S: Final = 30.0
#: Above the transport's drain and the flushes' timeouts.
_GRACE_S: Final = 20.0
_NICENESS: Final = "5"
_PATIENT: Final = {"NOTIFY_BROKER__SESSION_TIMEOUT_S": "15", "NOTIFY_BROKER__HEARTBEAT_S": "3"}


def yielding(role: str) -> tuple[str, ...]:
    """On one machine, what is not critical yields to what is: as priority classes do it on Kubernetes."""
    return () if lane_of(role) == "critical" or (nice := shutil.which("nice")) is None else (nice, "-n", _NICENESS)


def yielding_environ(role: str) -> dict[str, str]:
    """Settings for a worker that yields. It may be without a processor for seconds, and is not dead then."""
    return {} if lane_of(role) == "critical" else dict(_PATIENT)


def worker_command(region: str, role: str) -> tuple[str, ...]:
    """What starts one worker."""
    return sys.executable, "-m", "notify_streams.cli", "worker", "--region", region, "--role", role


class Supervisor:
    """The workers of one region. Each worker's log is a file in `logs`."""

    def __init__(
        self,
        settings: Settings,
        roles: Sequence[str],
        logs: Path,
        environ: Mapping[str, str] | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._region = settings.region
        self._roles = tuple(roles)
        self._logs = logs
        self._environ = dict(os.environ if environ is None else environ)
        self._say = say
        self._stopping = False
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self.restarts = dict.fromkeys(roles, 0)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start every role; returns at once (`/ready` of each tells when it works)."""
        self._logs.mkdir(parents=True, exist_ok=True)
        for role in self._roles:
            await self._spawn(role)
            self._tasks.append(asyncio.create_task(self._keep(role)))

    async def kill(self) -> None:
        """SIGKILL to all at once, and none is started again: the loss of a region. A new supervisor is its return."""
        self._stopping = True
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await self.stop()

    async def stop(self) -> None:
        """SIGTERM to all, SIGKILL to what is still there after the grace period."""
        self._stopping = True
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                await asyncio.wait_for(process.wait(), _GRACE_S)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, role: str) -> None:
        failures = 0
        while not self._stopping:
            began = time.monotonic()
            status = await self.processes[role].wait()
            if self._stopping:
                return
            failures = 1 if time.monotonic() - began > _SETTLED_S else failures + 1
            pause_s = _AGAIN.delay_s(failures, 0.5) or 0.0
            self.restarts[role] += 1
            self._say(
                f"{self._region}/{role} ended with {status}, starts again in {pause_s:.1f} s: {self._logs / role}.log"
            )
            await asyncio.sleep(pause_s)
            if not self._stopping:
                await self._spawn(role)

    async def _spawn(self, role: str) -> None:
        command = (*yielding(role), *worker_command(self._region, role))
        environ = yielding_environ(role) | self._environ
        with (self._logs / f"{role}.log").open("ab") as log:
            self.processes[role] = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=environ
            )
