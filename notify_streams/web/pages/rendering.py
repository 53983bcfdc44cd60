"""Renders the operators' pages with Jinja2, and makes their headers.

They load nothing from other hosts, and run no script but their own.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from notify_streams.web.wording import duration, number

if TYPE_CHECKING:
    from collections.abc import Mapping

_FOLDER: Final = Path(__file__).parent
CONTENT_TYPE: Final = "text/html; charset=utf-8"
#: What the navigation of each page links to.
_NAVIGATION: Final = {
    "/": "Overview",
    "/dead-letters": "Dead letters",
    "/templates": "Templates",
    "/runbooks": "Runbooks",
}


@dataclass(frozen=True, slots=True)
class Frame:
    """What surrounds the content of every page."""

    region: str
    #: The path of the request, as it was sent.
    path: str
    #: The rights of the browser's sessions: "read", "write".
    rights: tuple[str, ...] = ()
    #: Names the page's own style and script in its content security policy.
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    def is_in(self, path: str) -> bool:
        """Whether the page is the one at `path` or below it."""
        return self.path == path or (path != "/" and self.path.startswith(f"{path}/"))


def render(template: str, frame: Frame, **values: Any) -> str:
    """A whole page: `template` extends ``layout.html`` and fills its blocks `title` and `main`. All text is escaped."""
    return _environment().get_template(template).render(frame=frame, **values)


def page_title(title: str, region: str) -> str:
    """What a tab of the browser shows."""
    return f"{title} · {region} · notify-streams"


def macros(template: str) -> Any:
    """The macros of a template as functions that return HTML."""
    return _environment().get_template(template).module


def page_headers(frame: Frame, styled_attributes: bool = False) -> dict[str, str]:
    """The headers of a page. `styled_attributes`: it has a frame whose content has ``style`` attributes."""
    own = f"'nonce-{frame.nonce}'"
    attributes = "style-src-attr 'unsafe-inline'; " if styled_attributes else ""
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src {own}; {attributes}script-src {own}; connect-src 'self'; img-src data:; "
            "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        ),
        # Forms of the same origin must say where they come from; no other site learns a path with an id.
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Vary": "Accept",
    }


def wants_page(headers: Mapping[str, str]) -> bool:
    """Whether a browser asks. Clients of the API say nothing, or ``application/json``."""
    return "text/html" in headers.get("Accept", "")


def wants_json(headers: Mapping[str, str]) -> bool:
    """Whether JSON is asked for, of a view that shows its page to a client that says nothing, such as curl."""
    return "application/json" in headers.get("Accept", "") and not wants_page(headers)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "duration": duration,
        "moment": _moment,
        "segment": _segment,
        "code": _code,
    }
    environment.globals |= {
        "style": _file("pages.css"),
        "live_script": _file("live.js"),
        "navigation": _NAVIGATION,
        "page_title": page_title,
    }
    return environment


def _file(name: str) -> Markup:
    """The content of a file of this package, which is not escaped."""
    return Markup((_FOLDER / name).read_text())


def _moment(at: datetime) -> Markup:
    """A point in time, in UTC: the time of day, and the date if it is not today's."""
    at = at.astimezone(UTC)
    form = "%H:%M:%S" if at.date() == datetime.now(UTC).date() else "%Y-%m-%d %H:%M:%S"
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(timespec="milliseconds"), at.strftime(form))


def _segment(text: str) -> str:
    """One segment of a path."""
    return quote(text, safe="")


def _code(text: str) -> Markup:
    """A sentence whose commands and paths are between backticks."""
    parts = text.split("`")
    return Markup("").join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))
