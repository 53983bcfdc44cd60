"""A call that blocks has its result, and delays no end of the process."""

from __future__ import annotations

import asyncio
import gc
import threading
import time

import pytest

from notify_streams.tasks import in_thread
from tests.waiting import until


async def test_the_result_and_the_error_of_the_call_arrive() -> None:
    assert await in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 7, 0)


def test_a_call_that_blocks_delays_no_end() -> None:
    release = threading.Event()

    async def leave_it() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(in_thread(release.wait, 3.0), 0.01)

    began = time.monotonic()
    try:
        asyncio.run(leave_it())
        assert time.monotonic() - began < 2.0
    finally:
        release.set()


async def test_an_error_that_is_not_awaited_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()

    def fail() -> None:
        release.wait(5.0)
        raise LookupError("secret-host")

    result = in_thread(fail)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(result), 0.01)
    release.set()
    await until(result.done)
    del result
    gc.collect()
    assert caplog.text == ""
