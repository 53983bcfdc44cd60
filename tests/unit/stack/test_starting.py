"""A start of the services that is cancelled can be undone."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from devtools.stack import Stack
from devtools.stack.starting import start_services

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from devtools.stack.stack import Report


class SlowStack(Stack):
    """`up` takes until the test says so."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.has_ended = False

    def up(
        self,
        regions: Sequence[str],
        members: int | None = None,
        report: Report = print,
        *,
        secure: bool | None = None,
    ) -> list[str]:
        self.begun.set()
        assert self.may_end.wait(30)
        self.has_ended = True
        return []


@pytest.mark.parametrize("signals", [1, 2])
async def test_a_cancelled_start_returns_when_nothing_more_is_started(tmp_path: Path, signals: int) -> None:
    """`Stack.down`, which follows, would otherwise come before what it must stop. An impatient second signal changes nothing."""
    stack = SlowStack(tmp_path)
    starting = asyncio.create_task(start_services(stack, ["us"]))
    await asyncio.to_thread(stack.begun.wait, 30)
    for _ in range(signals):
        starting.cancel()
        await asyncio.sleep(0)
    assert not starting.done()
    stack.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert stack.has_ended
