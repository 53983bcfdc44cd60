"""One running region for all end-to-end tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.running_region import RunningRegion, start_region
from tests.local_services import own_stack

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Mark the tests of this folder. They run after the others, because their workers take the processors also when they are idle."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.e2e)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running_region() -> AsyncIterator[RunningRegion]:
    """Region us on a stack of its own, because every run uses the same topics and consumer groups."""
    async with own_stack("e2e") as stack, start_region(stack) as region:
        yield region
