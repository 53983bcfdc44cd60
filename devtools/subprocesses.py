"""Child processes: run a command to its end, keep one running, stop one."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from notify_streams.errors import NotifyError

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

_GRACE_S: Final = 20.0


def python_module(name: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a Python module with this interpreter."""
    return sys.executable, "-m", name, *arguments


async def run(
    command: Sequence[str],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float = 600.0,
) -> bytes:
    """Run `command` to its end; returns its standard output. `env` replaces our environment.

    Raises:
        NotifyError: its exit status is not 0 (the message has its standard error), or it did not end within `timeout_s`.
    """
    async with running(command, env=env, cwd=cwd, stderr=asyncio.subprocess.PIPE) as process:
        try:
            out, errors = await asyncio.wait_for(process.communicate(stdin), timeout_s)
        except TimeoutError:
            raise NotifyError(f"{' '.join(command)} did not end within {timeout_s:.0f} s") from None
    if process.returncode:
        message = errors.decode(errors="replace").strip()
        raise NotifyError(f"{' '.join(command)} ended with status {process.returncode}: {message}")
    return out


@asynccontextmanager
async def running(
    command: Sequence[str | bytes],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stderr: int | None = None,
    grace_s: float = _GRACE_S,
) -> AsyncIterator[Process]:
    """`command` with pipes for its standard input and output; stopped when the block ends. `env` replaces our environment."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=stderr, env=env, cwd=cwd)
    try:
        yield process
    finally:
        await stop(process, grace_s=grace_s)


async def stop(process: Process, number: int = signal.SIGTERM, grace_s: float = _GRACE_S) -> int:
    """Send a signal, wait, kill after `grace_s`; returns the exit status. A process that has ended is only reaped."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
    try:
        return await asyncio.wait_for(process.wait(), grace_s)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        return await process.wait()
