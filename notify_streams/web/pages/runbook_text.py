"""Renders `docs/runbooks.md`.

The file is in this package too, by a link, so that it can be read without the internet.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from markdown_it import MarkdownIt
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it.token import Token

_FILE: Final = Path(__file__).with_name("runbooks.md")


class Runbooks(NamedTuple):
    """The text as HTML, and its headings of the second level: anchor → text."""

    html: Markup
    headings: dict[str, str]


@cache
def runbooks() -> Runbooks:
    """The runbooks of this version."""
    return rendered(_FILE.read_text())


def rendered(markdown: str) -> Runbooks:
    """`markdown` as HTML, without its heading of the first level. HTML in it is shown as text."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    headings: dict[str, str] = {}
    for place, token in enumerate(tokens):
        if token.type == "heading_open" and token.tag != "h1":
            text = tokens[place + 1].content
            token.attrSet("id", anchor(text))
            if token.tag == "h2":
                headings[anchor(text)] = text
        _adapt(token.children or [])
    body = [token for token in tokens if not _is_title(token, tokens)]
    return Runbooks(Markup(parser.renderer.render(body, parser.options, {})), headings)


def anchor(heading: str) -> str:
    """The anchor of a heading, as GitHub and MkDocs make it."""
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())


def _adapt(tokens: Sequence[Token]) -> None:
    """Line ends before bold words are kept. Links to other files of the repository become emphasised text: they are not served here."""
    for token, following in pairwise(tokens):
        if token.type == "softbreak" and following.type == "strong_open":
            token.type = "hardbreak"
    for place, token in enumerate(tokens):
        if token.type == "link_open" and not re.match(r"https?:|#", str(token.attrGet("href"))):
            closing = next(one for one in tokens[place:] if one.type == "link_close")
            token.tag = closing.tag = "em"
            token.attrs = {}


def _is_title(token: Token, tokens: Sequence[Token]) -> bool:
    place = tokens.index(token)
    return token.tag == "h1" or (place > 0 and tokens[place - 1].tag == "h1" and token.type == "inline")
