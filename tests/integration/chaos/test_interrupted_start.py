"""A start of the chaos test's region that is interrupted leaves nothing behind."""

from __future__ import annotations

import asyncio

import pytest

from devtools.chaos.environment import ChaosEnvironment
from tests.local_services import own_stack
from tests.waiting import until

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]


async def test_services_that_were_started_are_stopped() -> None:
    async with own_stack("chaos-interrupted") as stack:
        environment = ChaosEnvironment(stack.folder, 1, lambda line: None)
        entering = asyncio.create_task(environment.__aenter__())
        await until(lambda: stack.regions == ["us"])
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        assert stack.regions == []
