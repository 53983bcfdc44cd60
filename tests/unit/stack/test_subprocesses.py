"""Child processes of the developer tools: output, failure, time limit, stop."""

import asyncio
import os
import signal
import sys
import time

import pytest

from devtools.subprocesses import python_module, run, running, stop
from notify_streams.errors import NotifyError

IGNORES_SIGTERM = ("/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")


async def test_run_passes_input_and_environment_and_returns_the_output() -> None:
    out = await run(["/bin/sh", "-c", "cat; echo $NAME"], stdin=b"in ", env={**os.environ, "NAME": "x"})
    assert out == b"in x\n"


async def test_run_names_the_status_and_the_error_output() -> None:
    with pytest.raises(NotifyError, match=r"ended with status 3: it broke"):
        await run(["/bin/sh", "-c", "echo it broke >&2; exit 3"])


async def test_run_kills_a_command_that_takes_too_long() -> None:
    started = time.monotonic()
    with pytest.raises(NotifyError, match=r"sleep 60 did not end within 0 s"):
        await run(["/bin/sleep", "60"], timeout_s=0.05)
    assert time.monotonic() - started < 5


async def test_a_running_command_is_stopped_when_the_block_ends() -> None:
    async with running(["/bin/sleep", "60"]) as process:
        assert process.returncode is None
    assert process.returncode == -signal.SIGTERM


async def test_stop_kills_after_the_grace_period() -> None:
    process = await asyncio.create_subprocess_exec(*IGNORES_SIGTERM, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None and await process.stdout.readline() == b"ready\n"
    assert await stop(process, grace_s=0.1) == -signal.SIGKILL


async def test_stop_returns_the_status_of_a_process_that_has_ended() -> None:
    process = await asyncio.create_subprocess_exec(*python_module("this"), stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0
    assert await stop(process) == 0


def test_a_module_runs_with_this_interpreter() -> None:
    assert python_module("a.b", "c") == (sys.executable, "-m", "a.b", "c")
