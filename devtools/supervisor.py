"""Runs each role of a region as a process and restarts those that end."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING, Final

import msgspec

from devtools import subprocesses
from devtools.role_lock import RoleLock
from devtools.workers import start_worker
from notify_streams import tasks
from notify_streams.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from notify_streams.settings import Settings

_RESTART: Final = RetryPolicy("worker.restart", first_s=0.5, max_s=10.0)
#: A worker that lived this long did not fail at its start: the delays begin again at the first.
_SETTLED_S: Final = 30.0


#: The end of a log that is searched for the cause of an end, and what is shown of it.
_LOG_TAIL_BYTES: Final = 64 * 1024
_SHOWN_CHARACTERS: Final = 300


def last_error(log: Path) -> str | None:
    """The message of the last error in a worker's log; None if there is none near its end."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LOG_TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    for line in reversed(lines):
        if line.startswith("Error: "):  # of the command line, before logging begins
            return line.removeprefix("Error: ")[:_SHOWN_CHARACTERS]
        try:
            record = msgspec.json.decode(line, type=_LogLine)
        except msgspec.MsgspecError:
            continue
        if record.level in ("ERROR", "CRITICAL"):
            return record.message[:_SHOWN_CHARACTERS]
    return None


class _LogLine(msgspec.Struct):
    level: str
    message: str


class Supervisor:
    """The workers of one region. Each worker appends to `<logs>/<role>.log`."""

    def __init__(
        self,
        settings: Settings,
        roles: Sequence[str],
        logs: Path,
        environ: Mapping[str, str] = os.environ,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        """`environ`: the workers' whole environment. `report` gets a line for each restart."""
        self._settings = settings
        self._region = settings.region
        self._roles = tuple(roles)
        self._logs = logs
        #: of the workers that are started from now on
        self.environ = dict(environ)
        self._report = report
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._locks: dict[str, RoleLock] = {}

    def lock(self) -> None:
        """Make sure that no other supervisor of these roles runs here; `start` needs it.

        Raises:
            Refused: one does, or another program uses a role's port.
        """
        for role in self._roles:
            if role not in self._locks:
                self._locks[role] = RoleLock(self._settings, role)

    async def start(self) -> None:
        """Start every role; returns before they are ready.

        Raises:
            Refused: see `lock`.
        """
        self.lock()
        for role in self._roles:
            await self._start(role)
            self._tasks.append(asyncio.create_task(self._restart(role)))

    async def kill(self) -> None:
        """SIGKILL all and restart none: the loss of a region. Start a new supervisor to bring them back."""
        await self.stop(signal.SIGKILL)

    async def stop(self, number: int = signal.SIGTERM) -> None:
        """Signal all; those that have not ended 20 s later are killed. The drain and the flush timeouts are shorter than that."""
        await tasks.stop(self._tasks)
        await asyncio.gather(*(subprocesses.stop(process, number) for process in self.processes.values()))
        while self._locks:
            self._locks.popitem()[1].release()

    async def _restart(self, role: str) -> None:
        failures = 0
        while True:
            started = time.monotonic()
            status = await self.processes[role].wait()
            failures = 1 if time.monotonic() - started > _SETTLED_S else failures + 1
            delay_s = _RESTART.delay_s(failures, 0.5) or 0.0
            log = self._log(role)
            self._report(
                f"{self._region}/{role} ended with status {status}, restarts in {delay_s:.1f} s: "
                f"{last_error(log) or 'no error in its log'} ({log})"
            )
            await asyncio.sleep(delay_s)
            await self._start(role)

    async def _start(self, role: str) -> None:
        inherits = (self._locks[role].file,)
        self.processes[role] = await start_worker(self._region, role, self._log(role), self.environ, inherits=inherits)

    def _log(self, role: str) -> Path:
        return self._logs / f"{role}.log"
