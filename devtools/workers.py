"""Worker processes of one region: start, signal, wait until ready, stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import aiohttp

from devtools.stack import Stack, StackFailed
from devtools.stack.ports import free_port
from devtools.subprocesses import python_module, stop
from notify_streams.errors import SettingsError, StoreUnavailable
from notify_streams.roles import lane_of
from notify_streams.settings_folder import local_overlay

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_PROGRAM: Final = "notify_streams.cli"
_READY_S: Final = 90.0
_POLL_S: Final = 0.1
_STOP_S: Final = 30.0
#: A 28th of the weight of a critical role: with a third (5), the standard lane doubles how long a critical trigger takes on two processors.
_NICENESS: Final = "15"
#: A worker with a low priority may wait seconds for a processor. It must not lose its group membership for that.
_LONG_SESSION: Final = {"NOTIFY_BROKER__SESSION_TIMEOUT_S": "15", "NOTIFY_BROKER__HEARTBEAT_S": "3"}


def low_priority(role: str) -> tuple[str, ...]:
    """A command prefix: on a shared machine critical roles run first, as with priority classes on Kubernetes. Empty for them."""
    return () if lane_of(role) == "critical" or (nice := shutil.which("nice")) is None else (nice, "-n", _NICENESS)


async def start_worker(
    region: str,
    role: str,
    log: Path,
    env: Mapping[str, str],
    *options: str,
    yields: bool = True,
    inherits: Sequence[int] = (),
    checkout: Path | None = None,
    program: str = _PROGRAM,
) -> Process:
    """Start a worker that appends its output to `log`. At a secure local stack it logs in as its role.

    `yields`: a role that is not critical runs with a low priority. `inherits`: file descriptors that it keeps open. `checkout`: the folder
    whose code runs; None: as it is found here. `program`: the module that takes the command line.
    """
    command = python_module(program, "worker", "--region", region, "--role", role, *options)
    if yields and lane_of(role) != "critical":
        command, env = (*low_priority(role), *command), _LONG_SESSION | dict(env)
    env = {**_log_ins(region, role, env), **env}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env,
            pass_fds=inherits,
            cwd=checkout,
        )


def _log_ins(region: str, role: str, env: Mapping[str, str]) -> dict[str, str]:
    """The variables with the role's own log-ins at a secure local stack."""
    with contextlib.suppress(SettingsError, StackFailed):  # the worker says what is wrong
        if overlay := local_overlay(region, env):
            return Stack(overlay.parent).worker_environ(region, role)
    return {}


async def is_ready(http: aiohttp.ClientSession, url: str) -> bool:
    """Whether a worker's `/ready` answers 200."""
    try:
        async with http.get(url) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


class Worker:
    """One process of a `WorkerPool`."""

    def __init__(self, name: str, role: str, port: int, process: Process) -> None:
        self.name = name
        self.role = role
        self.port = port
        self.process = process
        #: Of its web views.
        self.url = f"http://127.0.0.1:{port}"
        self.paused = False

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    def signal(self, number: int) -> None:
        """Send a signal; does nothing if the process has ended."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        if number in (signal.SIGSTOP, signal.SIGCONT):
            self.paused = number == signal.SIGSTOP

    async def wait_until_ready(self, within_s: float = _READY_S) -> None:
        """Wait until `/ready` answers 200.

        Raises:
            StoreUnavailable: it ended, or is not ready in time.
        """
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http:
            for _ in range(int(within_s / _POLL_S)):
                if not self.alive:
                    raise StoreUnavailable(f"{self.name} ended with {self.process.returncode} before it was ready")
                if await is_ready(http, f"{self.url}/ready"):
                    return
                await asyncio.sleep(_POLL_S)
        raise StoreUnavailable(f"{self.name} is not ready after {within_s:.0f} s")


class WorkerPool:
    """Workers of one region that are not restarted; each has a name, a port and a log file of its own."""

    def __init__(self, region: str, environ: Mapping[str, str], logs: Path, checkout: Path | None = None) -> None:
        """`environ` is added to our environment. `checkout`: see `start_worker`."""
        self._region = region
        self._environ = {**os.environ, **environ}
        self._logs = logs
        self._checkout = checkout
        self._number = 0
        self._ports: set[int] = set()
        self.workers: dict[str, Worker] = {}

    async def start(
        self,
        role: str,
        failpoints: str = "",
        *,
        yields: bool = False,
        environ: Mapping[str, str] = MappingProxyType({}),
        predecessor: Worker | None = None,
        port: int | None = None,
        program: str = _PROGRAM,
    ) -> Worker:
        """Start a worker with these failpoints (``NOTIFY_FAILPOINTS``); see `start_worker` for `yields` and `program`.

        `environ` is added to that of the pool. `predecessor`: one that has ended, whose name, port and data it takes over. `port`: of its
        web views; by default a free one.
        """
        if predecessor is not None:
            name, port = predecessor.name, predecessor.port
        else:
            self._number += 1
            name = f"{role}-{self._number}"
            port = port or free_port(self._ports)
            self._ports.add(port)
        env = self._environ | {"NOTIFY_DATA_DIR": str(self._logs / name), "NOTIFY_FAILPOINTS": failpoints} | {**environ}
        log = self._logs / f"{name}.log"
        options = "--web-port", str(port)
        process = await start_worker(
            self._region, role, log, env, *options, yields=yields, checkout=self._checkout, program=program
        )
        worker = self.workers[name] = Worker(name, role, port, process)
        return worker

    def running(self, role: str) -> list[Worker]:
        """The workers of this role that have not ended."""
        return [worker for worker in self.workers.values() if worker.role == role and worker.alive]

    async def stop(self, worker: Worker, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait, kill after 30 s; returns the exit status. A paused worker is resumed first."""
        if worker.paused:
            worker.signal(signal.SIGCONT)
        status = await stop(worker.process, number, _STOP_S)
        self.workers.pop(worker.name, None)
        return status

    async def stop_all(self) -> None:
        await asyncio.gather(*(self.stop(worker) for worker in list(self.workers.values())))
