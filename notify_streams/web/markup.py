"""Builds HTML; escapes all text."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Html(str):
    """HTML that is not escaped again."""

    __slots__ = ()


Part = str | int | None


def tag(name: str, *children: Part, **attributes: str | int | bool | None) -> Html:
    """An element. Write ``class`` as `class_` and ``aria-label`` as `aria_label`; None and False omit an attribute."""
    written = [name]
    for attribute, value in attributes.items():
        if value is None or value is False:
            continue
        key = attribute.rstrip("_").replace("_", "-")
        written.append(key if value is True else f'{key}="{escape(str(value))}"')
    return Html(f"<{' '.join(written)}>{join(children)}</{name}>")


def join(parts: Iterable[Part]) -> Html:
    """The concatenated parts."""
    return Html("".join(_escaped(part) for part in parts))


def table(name: str, caption: str, heads: Sequence[str], rows: Iterable[Sequence[Part]]) -> Html:
    """A table with a caption that scrolls on a narrow screen. The first cell of a row is its header."""
    head = tag("tr", *(tag("th", one, scope="col") for one in heads))
    body = [tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows]
    inner = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body))
    return tag("div", inner, class_="scroll", id=name, role="region", aria_label=caption, tabindex="0")


def _escaped(part: Part) -> str:
    if part is None:
        return ""
    return part if isinstance(part, Html) else escape(str(part))
