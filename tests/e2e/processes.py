"""Runs programs as a user does."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from devtools import subprocesses
from devtools.stack import Stack
from devtools.stack.paths import PROJECT
from tests import waiting

#: Long, because a wait ends when its condition holds and the machine may be busy.
TIMEOUT_S = 300.0
#: After SIGTERM; above the supervisor's own limit for its workers.
_GRACE_S = 60.0


until = partial(waiting.until, within_s=TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Done:
    """Exit status and output of a program."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The standard output, which must be one JSON object."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


def environ_of(stack: Stack) -> dict[str, str]:
    """The environment of a process that uses the stack, without the developer's own NOTIFY_ variables."""
    return {name: value for name, value in os.environ.items() if not name.startswith("NOTIFY_")} | {
        "NOTIFY_CONFIG_DIR": str(PROJECT / "config"),
        "NOTIFY_STACK_DIR": str(stack.folder),
        "NOTIFY_DATA_DIR": str(stack.folder / "data"),
    }


async def run_to_end(
    command: Sequence[str | bytes], environ: Mapping[str, str], stdin: bytes = b"", timeout_s: float = 2 * TIMEOUT_S
) -> Done:
    """Run a program to its end. After `timeout_s` it gets SIGTERM, so that it can stop its children, then SIGKILL."""
    async with subprocesses.running(
        command, env=dict(environ), cwd=PROJECT, stderr=asyncio.subprocess.PIPE, grace_s=_GRACE_S
    ) as process:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return Done(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))
