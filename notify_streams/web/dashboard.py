"""`/` of the role `views`: the page, or this worker's `Summary` as JSON.

JSON is returned for ``Accept: application/json``. The page loads nothing from other hosts; its content security policy forbids it.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Final

from notify_streams.errors import StoreUnavailable
from notify_streams.web.ledger import read_ledger, sums
from notify_streams.web.outbox import read_outbox
from notify_streams.web.page import PageData, WorkerRow, dashboard
from notify_streams.web.peers import fetch_peers
from notify_streams.web.responses import Content, WebView, json_response, store_timeout_s
from notify_streams.web.shared_result import SharedResult
from notify_streams.web.summary import summary_of
from notify_streams.web.wording import duration

if TYPE_CHECKING:
    from aiohttp.web import Request, Response

    from notify_streams.app import NotifyApp
    from notify_streams.web.ledger import Sums
    from notify_streams.web.outbox import Backlog
    from notify_streams.web.peers import Peer

_PAGE: Final = Path(__file__).with_name("page.html")


@dataclass(frozen=True, slots=True)
class _Region:
    """What the page shows of the region; the same for all clients."""

    peers: list[Peer]
    ledger: Sums | None
    outbox: Backlog | None


class Dashboard(WebView):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._region = SharedResult(partial(_read_region, self.worker))

    async def get(self, request: Request) -> Response:
        worker = self.worker
        own = summary_of(worker)
        if wants_json(request.headers.get("Accept", "")):
            return json_response(own)
        region = await self._region.get()
        linked_host = None if worker.settings.web_peers else request.url.host or "localhost"
        workers = [WorkerRow(f"{own.role} (this one)", own, None)]
        workers += [WorkerRow(peer.name, peer.summary, _link(linked_host, peer.port)) for peer in region.peers]
        nonce = secrets.token_urlsafe(16)
        body = _template().substitute(
            title=escape(f"{worker.settings.region} · notify-streams"),
            region=escape(worker.settings.region),
            subtitle=escape(f"up {duration(own.uptime_s)}, version {own.version}"),
            at=f"{datetime.now(UTC):%H:%M:%S}",
            nonce=nonce,
            main=dashboard(PageData(workers, region.ledger, region.outbox)),
        )
        headers = {"Content-Security-Policy": content_security_policy(nonce)}
        return Content(body.encode(), "text/html; charset=utf-8", headers=headers).response()


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


async def _read_region(worker: NotifyApp) -> _Region:
    return _Region(*await asyncio.gather(fetch_peers(worker.settings), _ledger(worker), _outbox(worker)))


def _link(host: str | None, port: int) -> str | None:
    """None for workers on other machines, whose addresses a browser cannot reach."""
    if host is None:
        return None
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
