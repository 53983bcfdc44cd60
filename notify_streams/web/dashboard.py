"""`/` of the role `views`: the page, or this worker's `Summary` as JSON.

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

from notify_streams.addresses import is_loopback
from notify_streams.errors import StoreUnavailable
from notify_streams.web.ledger import region_ledger, sums
from notify_streams.web.outbox import region_outbox
from notify_streams.web.page import PageData, WorkerRow, dashboard
from notify_streams.web.pages.rendering import wants_json
from notify_streams.web.palette import palette
from notify_streams.web.peers import region_peers
from notify_streams.web.responses import Content, WebView, json_response
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
        worker = self.worker
        own = summary_of(worker)
        if wants_json(request.headers):
            return json_response(own)
        peers, ledger, outbox = await asyncio.gather(region_peers(worker), _ledger(worker), _outbox(worker))
        workers = [WorkerRow(f"{own.role} (this one)", own, None)]
        workers += [
            WorkerRow(peer.role, peer.summary, _link(peer.host, peer.port))
            for peer in peers.workers
            if peer.registered.entry.id != worker.worker_id
        ]
        nonce = secrets.token_urlsafe(16)
        body = _template().substitute(
            title=escape(f"{worker.settings.region} · notify-streams"),
            region=escape(worker.settings.region),
            subtitle=escape(f"up {duration(own.uptime_s)}, version {own.version}"),
            at=f"{datetime.now(UTC):%H:%M:%S}",
            nonce=nonce,
            palette=palette(),
            main=dashboard(PageData(workers, ledger, outbox)),
        )
        headers = {"Content-Security-Policy": content_security_policy(nonce)}
        return Content(body.encode(), "text/html; charset=utf-8", headers=headers).response()


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


def _link(host: str, port: int) -> str | None:
    """None for workers on other machines, whose addresses a browser cannot reach."""
    if not is_loopback(f"http://{host}"):
        return None
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


async def _ledger(worker: NotifyApp) -> Sums | None:
    try:
        rows, complete = await region_ledger(worker)
    except StoreUnavailable:
        return None
    return sums(rows, complete=complete)


async def _outbox(worker: NotifyApp) -> Backlog | None:
    try:
        return await region_outbox(worker)
    except StoreUnavailable:
        return None
