"""`tasks.stop` ends tasks, even those that lose a cancellation."""

from __future__ import annotations

import asyncio

import pytest

from notify_streams import tasks


async def wait_forever() -> None:
    await asyncio.Event().wait()


async def test_running_tasks_are_cancelled_and_none_is_skipped() -> None:
    running = [asyncio.create_task(wait_forever()) for _ in range(3)]
    await tasks.stop([None, *running])
    assert all(task.cancelled() for task in running)


@pytest.mark.timeout(10)
async def test_a_task_that_swallows_its_first_cancellation_still_ends() -> None:
    swallowed, started = [], asyncio.Event()

    async def swallow_one() -> None:
        started.set()
        try:
            await wait_forever()
        except asyncio.CancelledError:
            swallowed.append(True)
        await wait_forever()

    task = asyncio.create_task(swallow_one())
    await started.wait()
    await tasks.stop([task])
    assert swallowed == [True] and task.cancelled()


async def test_the_error_of_a_task_stays_in_it() -> None:
    started = asyncio.Event()

    async def fail_at_the_end() -> None:
        started.set()
        try:
            await wait_forever()
        finally:
            raise ValueError("cleanup failed")

    task = asyncio.create_task(fail_at_the_end())
    await started.wait()
    await tasks.stop([task])
    assert isinstance(task.exception(), ValueError)


async def test_a_task_that_has_ended_is_left_as_it_is() -> None:
    async def one() -> int:
        return 1

    task = asyncio.create_task(one())
    await task
    await tasks.stop([task])
    assert task.result() == 1
