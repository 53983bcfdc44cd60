"""The commands of the documents: blocks of code with how they are run, and what is named in a line.

A block of commands has the language ``console`` and is run by `tests/e2e/test_documents.py` in the order of the pages, unless a comment
directly above it says otherwise:

``<!-- not run: REASON -->``
    with the test that runs the same, if there is one: ``tests/…/test_….py``
``<!-- exits 1: REASON -->``
    each of its commands says by its exit status what is not as it should be, and has done its work all the same
``<!-- needs: PROGRAM -->``
    it is left out where the program is not installed
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from devtools.stack.paths import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOCS: Final = PROJECT / "docs"
README: Final = PROJECT / "README.md"
_MARKER: Final = re.compile(r"<!-- (not run|exits 1|needs): (.+) -->")
_FENCE: Final = re.compile(r"```(\w*)\n(.*?)\n```", re.DOTALL)
_INLINE: Final = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    #: `not run`, `exits 1`, `needs`, or nothing
    marker: str = ""
    #: what the marker says: the reason, the program
    value: str = ""

    @property
    def place(self) -> str:
        """``docs/start/index.md:32``"""
        return f"{self.page.relative_to(PROJECT)}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """Each with its continued lines, without comments."""
        found: list[str] = []
        continued = False
        for line in self.text.splitlines():
            if continued:
                found[-1] += f"\n{line}"
            elif line.strip() and not line.startswith("#"):
                found.append(line)
            continued = line.endswith(("\\", "|"))
        return found


def pages() -> list[Path]:
    """README.md and the pages of the site, in the order of its navigation."""

    def of(entry: Any) -> Iterator[Path]:
        if isinstance(entry, str):
            yield DOCS / entry
        elif isinstance(entry, dict):
            yield from of([*entry.values()])
        else:
            for one in entry:
                yield from of(one)

    return [README, *of(yaml.safe_load((PROJECT / "mkdocs.yml").read_text())["nav"])]


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = page.read_text()
    found = []
    for match in _FENCE.finditer(text):
        before = text[: match.start()]
        marker = _MARKER.fullmatch(before.rstrip("\n").rpartition("\n")[2])
        kind, value = (marker[1], marker[2]) if marker else ("", "")
        found.append(Block(page, before.count("\n") + 1, match[1], match[2], kind, value))
    return found


def commands_in_text(page: Path) -> list[str]:
    """What a page has between backquotes outside of its blocks."""
    return [match[1].replace("\\|", "|") for match in _INLINE.finditer(_FENCE.sub("", page.read_text()))]
