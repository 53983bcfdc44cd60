"""Real services for fixtures: what does not come up fails the test in CI and skips it on a laptop; what was started is ended."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import pytest

from devtools.stack import Stack, StackFailed
from devtools.stack.paths import PROJECT

#: Holds a folder for each process that runs tests: `<pid>`, or `<pid>-<what for>`.
RUNS: Final = Path(os.environ.get("NOTIFY_TEST_RUNS") or PROJECT / ".stack" / "tests").absolute()


@contextmanager
def or_skipped() -> Iterator[None]:
    """Whoever starts services does it in here."""
    try:
        yield
    except StackFailed as failure:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the local stack does not come up: {str(failure).splitlines()[0]}")


@asynccontextmanager
async def own_stack(purpose: str) -> AsyncIterator[Stack]:
    """A stack beside the run's own, nothing started; whatever it starts is ended and wiped."""
    stack = Stack(RUNS / f"{os.getpid()}-{purpose}", environment={})
    try:
        with or_skipped():
            yield stack
    finally:
        await asyncio.to_thread(remove, stack)


def remove(stack: Stack) -> None:
    stack.down(wipe=True)
    shutil.rmtree(stack.folder, ignore_errors=True)
