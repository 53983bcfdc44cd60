"""Chromium for tests that look at a page."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, async_playwright

_PROGRAM = shutil.which("chromium")
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A running browser. Where it is not installed, the test is skipped; in CI it fails."""
    if _PROGRAM is None:
        if os.environ.get("CI"):
            raise AssertionError("chromium is not installed")
        pytest.skip("chromium is not installed")
    async with async_playwright() as driver:
        started = await driver.chromium.launch(executable_path=_PROGRAM, args=_FLAGS)
        yield started
        await started.close()
