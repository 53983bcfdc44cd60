"""One region at work for all end-to-end tests: started when the first one asks, ended with everything in it after the last."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from region_at_work import RegionAtWork, at_work

from notify_streams.devstack import Stack, StackFailed
from notify_streams.devstack.folders import PROJECT


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def region_at_work() -> AsyncIterator[RegionAtWork]:
    """Region us on a stack of its own, because topics and consumer groups have the same names in every run."""
    stack = Stack(PROJECT / ".stack" / "tests" / f"{os.getpid()}-e2e", environment={})
    try:
        async with at_work(stack) as region:
            yield region
    except StackFailed as failure:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the local stack does not come up: {str(failure).splitlines()[0]}")
    finally:
        await asyncio.to_thread(stack.down, wipe=True)
        shutil.rmtree(stack.folder, ignore_errors=True)
