"""`/`: the dashboard of the region as HTML, or this worker's `Summary` as JSON.

JSON is returned for ``Accept: application/json``. The page loads nothing from other hosts; its content security policy forbids it.
"""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Final

from notify_streams.errors import StoreUnavailable
from notify_streams.roles import ROLES
from notify_streams.web.ledger import read_ledger, sums
from notify_streams.web.outbox import read_outbox
from notify_streams.web.page import PageData, dashboard
from notify_streams.web.peers import fetch_summaries, web_port_of
from notify_streams.web.responses import WebView, json_response, make_response, store_timeout_s
from notify_streams.web.summary import summary_of
from notify_streams.web.wording import duration

if TYPE_CHECKING:
    from aiohttp.web import Request, Response

    from notify_streams.app import NotifyApp
    from notify_streams.web.ledger import Sums
    from notify_streams.web.outbox import Backlog

_PAGE: Final = Path(__file__).with_name("page.html")


class Dashboard(WebView):
    async def get(self, request: Request) -> Response:
        if wants_json(request.headers.get("Accept", "")):
            return json_response(await summary_of(self.worker))
        worker = self.worker
        own, others, ledger, outbox = await asyncio.gather(
            summary_of(worker), fetch_summaries(worker.settings, worker.role), _ledger(worker), _outbox(worker)
        )
        workers = {role: own if role == worker.role else others[role] for role in ROLES}
        host = request.url.host or "localhost"
        links = {role: _link(host, web_port_of(worker.settings, role)) for role in ROLES}
        nonce = secrets.token_urlsafe(16)
        body = _template().substitute(
            title=escape(f"{worker.settings.region} {worker.role} · notify-streams"),
            region=escape(worker.settings.region),
            subtitle=escape(f"served by {worker.role}, up {duration(own.uptime_s)}, version {own.version}"),
            at=f"{datetime.now(UTC):%H:%M:%S}",
            nonce=nonce,
            main=dashboard(PageData(worker.role, workers, links, ledger, outbox)),
        )
        return make_response(
            body.encode(),
            "text/html; charset=utf-8",
            headers={"Content-Security-Policy": content_security_policy(nonce)},
        )


def wants_json(accept: str) -> bool:
    """Browsers and curl get the page."""
    return "application/json" in accept and "text/html" not in accept


def content_security_policy(nonce: str) -> str:
    """Allows the page's own style and script, and requests to its own origin."""
    own = f"'nonce-{nonce}'"
    return (
        f"default-src 'none'; style-src {own}; script-src {own}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@cache
def _template() -> Template:
    return Template(_PAGE.read_text())


def _link(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


async def _ledger(worker: NotifyApp) -> Sums | None:
    try:
        rows, complete = await read_ledger(worker.shards, store_timeout_s(worker))
    except StoreUnavailable:
        return None
    return sums(rows, complete=complete)


async def _outbox(worker: NotifyApp) -> Backlog | None:
    try:
        return await read_outbox(worker.shards, store_timeout_s(worker))
    except StoreUnavailable:
        return None
