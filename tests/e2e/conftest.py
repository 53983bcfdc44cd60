"""One region at work for all end-to-end tests: started when the first one asks, ended with everything in it after the last."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.e2e.running_region import RegionAtWork, at_work
from tests.local_services import own_stack


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def region_at_work() -> AsyncIterator[RegionAtWork]:
    """Region us on a stack of its own, because topics and consumer groups have the same names in every run."""
    async with own_stack("e2e") as stack, at_work(stack) as region:
        yield region
