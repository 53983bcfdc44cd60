"""`/search?q=`: finds a page by the id of a trigger, a person or a message."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import msgspec

from notify_streams.admin.why.search import RegionSearch
from notify_streams.errors import RetryLater, StoreUnavailable
from notify_streams.web.pages.rendering import wants_page
from notify_streams.web.responses import WebView, json_response
from notify_streams.web.user_lookup import user_lookup

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from aiohttp.web import Request, Response

    from notify_streams.admin.why.search import Found

_MAX_CHARS: Final = 300


class SearchResult(msgspec.Struct, frozen=True):
    """One page that was found."""

    #: trigger or person
    kind: str
    id: str
    path: str


@dataclass(frozen=True, slots=True)
class SearchResults:
    """`unknown`: what could not be searched, and why."""

    found: list[SearchResult]
    unknown: list[str]


class Search(WebView):
    """One result leads to its page. 404 if nothing was found."""

    right = "read"

    async def get(self, request: Request) -> Response:
        wanted = request.query.get("q", "").strip()
        if not 0 < len(wanted) <= _MAX_CHARS:
            return self.error_response(request, f"`q` must be an id of 1 to {_MAX_CHARS} characters", 400)
        results = await gathered(self._triggers(wanted), self._messages(wanted), self._people(wanted))
        status = 200 if results.found else 503 if results.unknown else 404
        if not wants_page(request.headers):
            return json_response({"results": results.found, "unknown": results.unknown}, status)
        if len(results.found) == 1 and not results.unknown:
            return self.redirect(request, results.found[0].path)
        return self.page(request, "search.html", status, wanted=wanted, results=results)

    async def _triggers(self, wanted: str) -> list[SearchResult]:
        return _pages_of(await self._in_region().by_trigger(wanted))

    async def _messages(self, wanted: str) -> list[SearchResult]:
        """By the id that a provider gave a message."""
        return _pages_of(await self._in_region().by_provider_id(wanted))

    def _in_region(self) -> RegionSearch:
        return RegionSearch(self.worker.settings, self.worker.shards, self.store_timeout_s)

    async def _people(self, wanted: str) -> list[SearchResult]:
        user = await user_lookup(self.worker).find(wanted)
        return [] if user is None else [SearchResult("person", wanted, f"/users/{quote(wanted, safe='')}")]


def _pages_of(found: Found) -> list[SearchResult]:
    """The pages of the triggers.

    Raises:
        StoreUnavailable: nothing was found, and a shard did not answer.
    """
    ids = dict.fromkeys(one["trigger_id"] for one in (*found.notifications, *found.outcomes))
    if not ids and found.problems:
        raise StoreUnavailable(found.problems[0])
    return [SearchResult("trigger", one, f"/notifications/{quote(one, safe='')}") for one in ids]


async def gathered(*searches: Awaitable[list[SearchResult]]) -> SearchResults:
    """All results. A search whose store does not answer leaves the others as they are."""
    found: list[SearchResult] = []
    unknown: list[str] = []
    for one in await asyncio.gather(*searches, return_exceptions=True):
        if isinstance(one, RetryLater):
            unknown.append(str(one))
        elif isinstance(one, BaseException):
            raise one
        else:
            found += one
    return SearchResults(found, unknown)
