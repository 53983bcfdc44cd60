"""One running region for all end-to-end tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.e2e.running_region import RunningRegion, start_region
from tests.local_services import own_stack


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running_region() -> AsyncIterator[RunningRegion]:
    """Region us on a stack of its own, because every run uses the same topics and consumer groups."""
    async with own_stack("e2e") as stack, start_region(stack) as region:
        yield region
