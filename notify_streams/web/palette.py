"""The colours of the pages, and what their links and buttons look like."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def palette() -> str:
    """CSS, for a `style` element."""
    return Path(__file__).with_name("palette.css").read_text()
