"""A region's workers as processes of the drill: started with failpoints, killed, stopped, continued, told apart by name."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Final

import aiohttp

from devtools.stack.ports import free_port
from devtools.supervisor import worker_command, yielding, yielding_environ
from notify_streams.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_READY_S: Final = 90.0
_POLL_S: Final = 0.1


class Worker:
    """One process."""

    def __init__(self, name: str, role: str, port: int, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.role = role
        self.process = process
        self._port = port
        self.paused = False

    @property
    def url(self) -> str:
        """Of its web views."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    def signal(self, number: int) -> None:
        """Send a signal; a process that is gone is passed over."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        self.paused = number == signal.SIGSTOP if number in (signal.SIGSTOP, signal.SIGCONT) else self.paused

    async def ready(self) -> None:
        """Until `/ready` says so.

        Raises:
            StoreUnavailable: it ended, or is not ready in time.
        """
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http:
            for _ in range(int(_READY_S / _POLL_S)):
                if not self.alive:
                    raise StoreUnavailable(f"{self.name} ended with {self.process.returncode} before it was ready")
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with http.get(f"{self.url}/ready") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(_POLL_S)
        raise StoreUnavailable(f"{self.name} is not ready after {_READY_S:.0f} s")


class WorkerPool:
    """All workers of the drill."""

    def __init__(self, region: str, environ: Mapping[str, str], logs: Path) -> None:
        self._region = region
        self._environ = {**os.environ, **environ}
        self._logs = logs
        self._number = 0
        self._taken: set[int] = set()
        self.workers: dict[str, Worker] = {}

    async def add(self, role: str, failpoints: str = "", *, yields: bool = False) -> Worker:
        """Start a worker; with `failpoints` it is armed (``NOTIFY_FAILPOINTS``). `yields`: as `notify-streams run` has its role yield."""
        self._number += 1
        name = f"{role}-{self._number}"
        port = free_port(self._taken)
        self._taken.add(port)
        self._logs.mkdir(parents=True, exist_ok=True)
        yielded = yielding(role) if yields else ()
        command = (*yielded, *worker_command(self._region, role), "--web-port", str(port))
        patient = yielding_environ(role) if yields else {}
        environ = patient | self._environ | {"NOTIFY_DATA_DIR": str(self._logs / name), "NOTIFY_FAILPOINTS": failpoints}
        with (self._logs / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=environ
            )
        worker = self.workers[name] = Worker(name, role, port, process)
        return worker

    def of(self, role: str) -> list[Worker]:
        return [worker for worker in self.workers.values() if worker.role == role and worker.alive]

    async def end(self, worker: Worker, number: int = signal.SIGTERM, patience_s: float = 30.0) -> int:
        """Signal it, wait for its end, kill it after `patience_s`; returns its exit status."""
        if worker.paused:
            worker.signal(signal.SIGCONT)
        worker.signal(number)
        try:
            await asyncio.wait_for(worker.process.wait(), patience_s)
        except TimeoutError:
            worker.signal(signal.SIGKILL)
            await worker.process.wait()
        self.workers.pop(worker.name, None)
        return worker.process.returncode or 0

    async def end_all(self) -> None:
        await asyncio.gather(*(self.end(worker) for worker in list(self.workers.values())))
