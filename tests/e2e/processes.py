"""Programs as a user starts them: run to their end, told to go, waited for; and what a worker has said meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from devtools.stack import Stack
from devtools.stack.paths import PROJECT
from tests import waiting

#: Generous, because a wait ends when its condition holds and the machine may have other things to do.
PATIENCE_S = 120.0
#: For a program that was told to go: above the supervisor's own grace for its workers.
_GRACE_S = 60.0


until = partial(waiting.until, within_s=PATIENCE_S)


@dataclass(frozen=True, slots=True)
class Done:
    """A program that has ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Its standard output, which must be one JSON object and nothing else."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


def environ_of(stack: Stack) -> dict[str, str]:
    """What a process needs to find the stack, and nothing that a developer has set."""
    return {name: value for name, value in os.environ.items() if not name.startswith("NOTIFY_")} | {
        "NOTIFY_CONFIG_DIR": str(PROJECT / "config"),
        "NOTIFY_STACK_DIR": str(stack.folder),
        "NOTIFY_DATA_DIR": str(stack.folder / "data"),
    }


async def ended(
    command: Sequence[str | bytes], environ: Mapping[str, str], stdin: bytes = b"", patience_s: float = 2 * PATIENCE_S
) -> Done:
    """Run a program to its end. One that takes too long is told to go, so that it can end what it started, then killed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environ,
        cwd=PROJECT,
    )
    try:
        async with asyncio.timeout(patience_s):
            out, err = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.communicate(), _GRACE_S)
            except TimeoutError:
                process.kill()
                await process.wait()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


async def end_with(process: asyncio.subprocess.Process, number: signal.Signals, patience_s: float) -> int:
    """Signal a process and wait for its end; its exit status."""
    process.send_signal(number)
    async with asyncio.timeout(patience_s):
        return await process.wait()


def log_of(folder: Path, role: str) -> str:
    """What a supervised worker has said."""
    return (folder / "us" / "workers" / f"{role}.log").read_text()
