"""Reads of worker processes: CPU, memory, readiness, calls that fail."""

from __future__ import annotations

import asyncio
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devtools.workers import Worker

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_RETRYING: Final = re.compile(r'^notify_retrying_seconds\{call="([^"]+)"\} (\S+)$', re.MULTILINE)
_POLL_S: Final = 0.25
_TIMEOUT_S: Final = 5.0
#: Fields of /proc/<pid>/stat after the command's name: user and system time.
_UTIME, _STIME = 11, 12


def cpu_s(worker: Worker) -> float:
    """Seconds of CPU that the worker's process has used."""
    fields = Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS


def rss_mb(worker: Worker) -> float:
    """Megabytes of memory that the worker's process holds."""
    return int(Path(f"/proc/{worker.process.pid}/statm").read_text().split()[1]) * _PAGE / 1e6


def ended(workers: Sequence[Worker]) -> list[str]:
    """The workers whose process is gone."""
    return [f"{one.name} ended with status {one.process.returncode}" for one in workers if not one.alive]


async def unwell(workers: Sequence[Worker], within_s: float) -> list[str]:
    """What is still wrong after `within_s`: ended, not ready (with the reasons), or a call that fails at every attempt."""
    deadline = time.monotonic() + within_s
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as http:
        while True:
            found = [
                fault for faults in await asyncio.gather(*(_unwell(http, one) for one in workers)) for fault in faults
            ]
            if not found or time.monotonic() > deadline:
                return found
            await asyncio.sleep(_POLL_S)


async def _unwell(http: aiohttp.ClientSession, worker: Worker) -> list[str]:
    if not worker.alive:
        return ended([worker])
    try:
        async with http.get(f"{worker.url}/ready") as response:
            waiting = [] if response.status == 200 else (await response.json())["waiting_for"]
        async with http.get(f"{worker.url}/metrics") as response:
            retrying = _RETRYING.findall(await response.text())
    except (aiohttp.ClientError, TimeoutError) as error:
        return [f"{worker.name} does not answer: {type(error).__name__}"]
    return [f"{worker.name} is not ready: {reason}" for reason in waiting] + [
        f"{worker.name} retries {call} for {float(seconds):.1f} s" for call, seconds in retrying
    ]
