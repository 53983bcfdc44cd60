"""Two provider sandboxes: one for Twilio, one for the providers that fail."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

import aiohttp
import orjson

from devtools import subprocesses
from devtools.subprocesses import python_module
from notify_streams.errors import NotifyError

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator
    from pathlib import Path

    from devtools.benchmarks.outages.cases import Outage

_START_S: Final = 30.0


class Sandbox:
    """A running sandbox."""

    def __init__(self, process: Process, ports: dict[str, int], accepted: Path, calls: Path) -> None:
        self.process = process
        self.http = f"http://127.0.0.1:{ports['http']}"
        self.smtp = f"smtp://127.0.0.1:{ports['smtp']}"
        #: The provider log.
        self.accepted = accepted
        #: The call log.
        self.calls = calls

    async def fail(self, outage: Outage) -> None:
        """Begin an outage."""
        if outage.is_stopped:
            self.process.send_signal(signal.SIGSTOP)
        else:
            await self._control({"provider": outage.provider, **outage.faults})

    async def recover(self, outage: Outage) -> None:
        """End it."""
        self.process.send_signal(signal.SIGCONT)
        await self._control({"provider": outage.provider})

    async def _control(self, plan: dict[str, object]) -> None:
        async with aiohttp.ClientSession() as http, http.post(f"{self.http}/control", json=plan) as response:
            response.raise_for_status()


@asynccontextmanager
async def sandboxes(folder: Path) -> AsyncIterator[tuple[Sandbox, Sandbox]]:
    """The sandbox that fails, and that of the other provider; stopped when the block ends."""
    async with AsyncExitStack() as closing:
        failing, other = [
            await closing.enter_async_context(_sandbox(folder / name))
            for name in ("failing-provider", "other-provider")
        ]
        yield failing, other


@asynccontextmanager
async def _sandbox(folder: Path) -> AsyncIterator[Sandbox]:
    accepted, calls = await asyncio.to_thread(_new_files, folder)
    ports = ("--http-port", "0", "--smtp-port", "0")
    command = python_module("devtools.sandbox", *ports, "--record", str(accepted), "--calls", str(calls))
    async with subprocesses.running(command) as process:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), _START_S)
        if not line:
            raise NotifyError("the provider sandbox did not start")
        try:
            yield Sandbox(process, orjson.loads(line)["ports"], accepted, calls)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)


def _new_files(folder: Path) -> tuple[Path, Path]:
    """Paths of the provider log and the call log, without what an earlier run left there."""
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / "accepted.jsonl", folder / "calls.jsonl"
    for file in files:
        file.unlink(missing_ok=True)
    return files
