"""`GET /seen` (HTML), `/seen.json` and `/seen/mail/{number}` of the sandbox."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from devtools.sandbox.seen.kept_messages import KeptMessages
from devtools.sandbox.seen.links import Links, visible
from devtools.sandbox.seen.seen import Seen, Shown, search, show
from notify_streams.addresses import is_loopback
from notify_streams.records.push_subscription import push_subscription

#: Characters of one text on the page; `/seen.json` has all that is kept.
_LONGEST_TEXT: Final = 4_000
#: A longer query cannot be part of an address or an id.
_LONGEST_QUERY: Final = 512
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
#: For the HTML of a mail: as the frame around it, without scripts, forms and anything of other hosts. CSS is inlined in mails.
_MAIL_POLICY: Final = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)


class SeenViews:
    """They show contacts and texts, so only clients on this machine get them."""

    def __init__(self, kept: KeptMessages, links: Links, *, any_client: bool = False) -> None:
        """`any_client`: whatever its address. In a container all clients have that of its gateway."""
        self._kept = kept
        self._links = links
        self._any_client = any_client

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get("/seen", self.page)
        app.router.add_get("/seen.json", self.json)
        app.router.add_get(r"/seen/mail/{number:\d{1,18}}", self.mail)

    async def page(self, request: web.Request) -> web.Response:
        self._check_local(request)
        seen = await self._search(request)
        nonce = secrets.token_urlsafe(16)
        text = await asyncio.to_thread(
            _template().render,
            nonce=nonce,
            seen=seen,
            counts=self._kept,
            links=self._links,
            devices=by_address(seen.shown["push"]),
            threads=by_address(seen.shown["sms"]),
            inboxes=by_address(seen.shown["email"]),
        )
        policy = (
            f"default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; frame-src 'self'; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'"
        )
        return _response(text, "text/html", policy)

    async def json(self, request: web.Request) -> web.Response:
        self._check_local(request)
        return _response(msgspec.json.encode(await self._search(request)).decode(), "application/json")

    async def mail(self, request: web.Request) -> web.Response:
        """The HTML part of one mail."""
        self._check_local(request)
        kept = self._kept.numbered(int(request.match_info["number"]))
        mail = None if kept is None else (await asyncio.to_thread(show, kept, self._links)).mail
        if mail is None or mail.html is None:
            raise web.HTTPNotFound(text="no such mail, or not kept any more\n", headers=_HEADERS)
        return _response(mail.html, "text/html", _MAIL_POLICY)

    def _check_local(self, request: web.Request) -> None:
        """Refuse another machine, and a page of another site whose name leads here (DNS rebinding)."""
        remote = request.remote or ""
        is_local = self._any_client or is_loopback(f"http://[{remote}]" if ":" in remote else f"http://{remote}")
        if not (is_local and is_loopback(f"http://{request.host}")):
            raise web.HTTPForbidden(text="open it on this machine, as 127.0.0.1 or localhost\n", headers=_HEADERS)

    async def _search(self, request: web.Request) -> Seen:
        query = request.query.get("q", "")[:_LONGEST_QUERY]
        # In a thread, so that providers' requests do not wait for it.
        return await asyncio.to_thread(search, self._kept.all(), query, self._links)


def by_address(messages: list[Shown]) -> dict[str, list[Shown]]:
    """Address → its messages, in the given order."""
    found: dict[str, list[Shown]] = {}
    for one in messages:
        found.setdefault(one.to, []).append(one)
    return found


def _response(text: str, content_type: str, policy: str = "default-src 'none'; frame-ancestors 'none'") -> web.Response:
    return web.Response(
        body=text.encode("utf-8", "replace"),
        content_type=content_type,
        charset="utf-8",
        headers={**_HEADERS, "Content-Security-Policy": policy},
    )


@cache
def _template() -> Template:
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"visible": visible, "clip": _clip, "clock": _clock, "device": _device}
    return environment.get_template("page.html")


def _device(address: str) -> str:
    """A device's token, or where a browser gets its messages."""
    subscription = push_subscription(address)
    return address if subscription is None else subscription.endpoint


def _clip(text: str) -> str:
    left_out = len(text) - _LONGEST_TEXT
    return text if left_out <= 0 else f"{text[:_LONGEST_TEXT]}… ({left_out:,} more characters)"


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
