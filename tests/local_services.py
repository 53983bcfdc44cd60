"""Stacks of real services for fixtures.

A service that does not start fails the test in CI and skips it on a laptop. Everything started is stopped.
"""

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
from tests.log_leaks import leaks_below

#: One folder for each process that runs tests: `<pid>` or `<pid>-<purpose>`.
RUNS: Final = Path(os.environ.get("NOTIFY_TEST_RUNS") or PROJECT / ".stack" / "tests").absolute()


#: Whether new stacks want TLS, passwords and rights (`make test-secure`).
SECURE: Final = bool(os.environ.get("NOTIFY_TEST_SECURE"))


def new_stack(folder: Path) -> Stack:
    """A stack, not started, without the developer's own services."""
    return Stack(folder, environment={}, secure=SECURE)


@contextmanager
def or_skipped() -> Iterator[None]:
    """Skip the test, or fail it in CI, if the stack does not start inside the block."""
    try:
        yield
    except StackFailed as failure:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the local stack does not start: {str(failure).splitlines()[0]}")


@asynccontextmanager
async def own_stack(purpose: str) -> AsyncIterator[Stack]:
    """Another stack, not started; stopped and deleted at the end."""
    stack = new_stack(RUNS / f"{os.getpid()}-{purpose}")
    try:
        with or_skipped():
            yield stack
    finally:
        await asyncio.to_thread(remove, stack)


def remove(stack: Stack) -> None:
    """Stop and delete a stack; its workers' logs must show nothing of people."""
    found = leaks_below(stack.folder)
    delete(stack)
    assert not found, "\n".join(found)


def delete(stack: Stack) -> None:
    """Stop and delete a stack, whatever its logs show."""
    stack.down(wipe=True)
    shutil.rmtree(stack.folder, ignore_errors=True)
