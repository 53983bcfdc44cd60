"""The region's page, open in Chromium while faults are injected.

Errors of its console are collected, and its memory is measured.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from notify_streams import tasks
from notify_streams.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from playwright.async_api import CDPSession, ConsoleMessage

_FLAGS: Final = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
_EVERY_S: Final = 5.0
#: The number of nodes of the document.
_SHOWN: Final = """() => {
  const nodes = document.createTreeWalker(document);
  let count = 1;
  while (nodes.nextNode()) count++;
  return count;
}"""
#: The most by which the median of the last quarter of the samples may exceed that of the first.
_GROWTH: Final = 1.2


@dataclass(frozen=True, slots=True)
class Sample:
    """What the page holds after a garbage collection."""

    heap_bytes: int
    #: Those that the page shows, and any that it keeps without need.
    nodes: int
    #: Those of its document: a page with more problems has more.
    shown_nodes: int
    headline: str


@dataclass
class OpenPage:
    """What was seen of the page so far."""

    errors: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.type}: {message.text}")

    def result(self) -> dict[str, Any]:
        """``{"holds", "errors", "samples", "heap_bytes", "nodes", "nodes_per_shown", "headlines"}``.

        Figures are medians of the first and the last quarter. Numbers in headlines are `#`.
        """
        heap = _ends([one.heap_bytes for one in self.samples])
        per_shown = _ends([one.nodes / one.shown_nodes for one in self.samples])
        flat = bool(self.samples) and all(last <= first * _GROWTH for first, last in (heap, per_shown))
        return {
            "holds": flat and not self.errors,
            "errors": self.errors,
            "samples": len(self.samples),
            "heap_bytes": heap,
            "nodes": _ends([one.nodes for one in self.samples]),
            "nodes_per_shown": per_shown,
            "headlines": [*dict.fromkeys(re.sub(r"\d+", "#", one.headline) for one in self.samples)],
        }


def _ends(values: Sequence[float]) -> tuple[float, float]:
    quarter = max(1, len(values) // 4)
    return (median(values[:quarter]), median(values[-quarter:])) if values else (0, 0)


@asynccontextmanager
async def open_page(url: str, seen: OpenPage, report: Callable[[str], None]) -> AsyncIterator[None]:
    """The page at `url` is open during the block, and looked at every 5 s; then what was seen is reported.

    Raises:
        SettingsError: Chromium is not installed.
    """
    from playwright.async_api import async_playwright

    program = shutil.which("chromium")
    if program is None:
        raise SettingsError("chromium is not installed; install it (Debian: apt-get install chromium), or omit --page")
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=program, args=_FLAGS)
        page = await browser.new_page()
        page.on("console", seen.console)
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        await page.goto(url)
        session = await page.context.new_cdp_session(page)
        await session.send("Performance.enable")

        async def look() -> None:
            while True:
                await asyncio.sleep(_EVERY_S)
                heap, nodes = await _memory(session)
                shown = await page.evaluate(_SHOWN)
                seen.samples.append(Sample(heap, nodes, shown, await page.locator("h1").inner_text()))

        looking = asyncio.create_task(look())
        try:
            yield
        finally:
            await tasks.stop([looking])
            if not looking.cancelled() and (error := looking.exception()):
                seen.errors.append(f"the page could not be read: {error}")
            await browser.close()
            report(f"the open page: {seen.result()}")


async def _memory(session: CDPSession) -> tuple[int, int]:
    """Bytes of the heap, and the number of nodes."""
    await session.send("HeapProfiler.collectGarbage")
    found = {one["name"]: int(one["value"]) for one in (await session.send("Performance.getMetrics"))["metrics"]}
    return found["JSHeapUsedSize"], found["Nodes"]
