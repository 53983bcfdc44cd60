"""Checks of pages in Chromium: accessibility rules, width, both themes; screenshots."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, Page

from devtools.npm import packages

#: Folder for screenshots of each page, to be looked at; without it none are taken.
SCREENSHOTS: Final = os.environ.get("NOTIFY_TEST_SCREENSHOTS")
WIDTHS: Final = (375, 1280)
#: What axe-core cannot judge: the signs before texts of the same colour, a frame without scripts.
_UNDECIDABLE: Final = re.compile(r'^(<span class="sign"|<iframe sandbox)')
#: Neither the contrast of texts in drawings: they have the colour of other texts.
_RUN: Final = "axe.run({exclude: ['.chart svg > *']})"
#: What reaches beyond the right edge, or is wider than its own box, and cannot be scrolled.
_CUT: Final = """() => [...document.querySelectorAll("main *, header *")].filter((one) =>
  !one.closest(".unseen, .skip, svg, thead") && getComputedStyle(one).overflowX === "visible" &&
  (one.getBoundingClientRect().right > innerWidth + 1 || one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0)
).map((one) => one.outerHTML.slice(0, 120))"""


def axe() -> Path:
    """The script of axe-core."""
    return packages() / "node_modules" / "axe-core" / "axe.min.js"


async def open_page(browser: Browser, url: str, errors: list[str], **options: object) -> Page:
    """The page at `url`; what the browser complains of is added to `errors`."""
    # axe-core is injected into the page, which the page's own policy would forbid.
    context = await browser.new_context(bypass_csp=True, **options)  # type: ignore[arg-type]
    page = await context.new_page()
    page.on("console", lambda message: errors.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: errors.append(str(error)))
    await page.goto(url)
    return page


async def check_page(page: Page, name: str) -> None:
    """At both widths and in both themes: nothing is cut, and no rule of accessibility is broken."""
    await page.add_script_tag(path=axe())
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": 800})
        assert await page.evaluate("document.documentElement.scrollWidth") == width
        assert await page.evaluate(_CUT) == []
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (background == "rgb(244, 246, 249)") is (scheme == "light")
            if SCREENSHOTS:
                await page.screenshot(path=f"{SCREENSHOTS}/{name}-{width}-{scheme}.png", full_page=True)
            found = await page.evaluate(_RUN)
            problems = [
                (one["id"], node["html"], node["failureSummary"])
                for kind in ("violations", "incomplete")
                for one in found[kind]
                for node in one["nodes"]
                if kind == "violations" or not _UNDECIDABLE.search(node["html"])
            ]
            assert problems == [], problems
            assert len(found["passes"]) > 15
