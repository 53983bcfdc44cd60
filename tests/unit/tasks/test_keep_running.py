"""A background loop goes on after an unknown error."""

from __future__ import annotations

import asyncio

import pytest

from notify_streams import tasks
from tests.waiting import until


async def test_a_loop_begins_again_after_an_error_and_ends_by_cancellation(caplog: pytest.LogCaptureFixture) -> None:
    begun = 0

    async def loop() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise LookupError("defect")
        await asyncio.Event().wait()

    running = asyncio.create_task(tasks.keep_running("a loop", loop, pause_s=0.01))
    await until(lambda: begun == 3)
    await tasks.stop([running])
    assert running.cancelled()
    found = [(vars(one)["action"], vars(one)["what"]) for one in caplog.records]
    assert found == [("loop.again", "a loop")] * 2


async def test_it_pauses_before_it_begins_again() -> None:
    begun = 0

    async def loop() -> None:
        nonlocal begun
        begun += 1

    running = asyncio.create_task(tasks.keep_running("a loop", loop, pause_s=60.0))
    await until(lambda: begun)
    for _ in range(10):
        await asyncio.sleep(0)
    await tasks.stop([running])
    assert begun == 1
