"""Renders the pages; they need no JavaScript and load nothing."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from notify_streams.public.pages.texts import TEXTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from notify_streams.public.pages.texts import Texts
    from notify_streams.roles import Channel

_FOLDER: Final = Path(__file__).parent
CONTENT_TYPE: Final = "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class LocalText:
    """A text of the settings, and its locale, which may be another one than the page's."""

    text: str
    locale: str


@dataclass(frozen=True, slots=True)
class Line:
    """One channel of a category."""

    channel: Channel
    #: How the form names it.
    field: str
    sends: bool
    #: The person cannot turn it off.
    is_fixed: bool


@dataclass(frozen=True, slots=True)
class Section:
    """One category."""

    title: LocalText
    description: LocalText | None
    lines: Sequence[Line]

    @property
    def has_fixed(self) -> bool:
        return any(line.is_fixed for line in self.lines)


def preferences_page(texts: Texts, sections: Sequence[Section], result: str | None = None) -> str:
    """All choices in a form. `result`: what the previous request did."""
    may_change = any(not line.is_fixed for section in sections for line in section.lines)
    return _render(
        "preferences.html", texts, title=texts.title, sections=sections, result=result, may_change=may_change
    )


def question_page(
    texts: Texts, title: str, text: str, button: str, *, fields: Mapping[str, str], cancel: str | None = None
) -> str:
    """A question with a button that sends `fields` by POST to the same path. `cancel`: the text of the link to that path."""
    return _render("question.html", texts, title=title, text=text, button=button, fields=fields, cancel=cancel)


def message_page(texts: Texts, title: str, text: str) -> str:
    """One sentence, such as why a link does not work."""
    return _render("message.html", texts, title=title, text=text)


@cache
def page_headers() -> dict[str, str]:
    """The address is a secret: no cache keeps the page, no other page learns of it, no search engine lists it."""
    own_style = b64encode(sha256(_style().encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{own_style}'; img-src data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Robots-Tag": "noindex, nofollow",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Vary": "Accept-Language",
    }


def _render(name: str, texts: Texts, **values: Any) -> str:
    style = Markup(_style())  # a file of this package
    return _environment().get_template(name).render(texts=texts, languages=TEXTS.values(), style=style, **values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _style() -> str:
    return (_FOLDER / "page.css").read_text()
