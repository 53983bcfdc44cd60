"""`/search`: what it answers without services, and what it makes of results."""

from __future__ import annotations

import pytest

from notify_streams.errors import StoreUnavailable
from notify_streams.web.pages.rendering import Frame, render
from notify_streams.web.search import SearchResult, SearchResults, gathered
from tests.unit.web.conftest import READ_TOKEN, Visit
from tests.unit.web.test_pages import BROWSER, HOSTILE

BEARER = {"Authorization": f"Bearer {READ_TOKEN}"}
TRIGGER, PERSON = SearchResult("trigger", "a", "/notifications/a"), SearchResult("person", "a", "/users/a")


@pytest.mark.parametrize("query", ["", "?q=", "?q=%20", f"?q={'x' * 301}"])
async def test_an_id_is_needed(visit: Visit, query: str) -> None:
    response = await (await visit()).get(f"/search{query}", headers=BEARER)
    assert response.status == 400 and "`q`" in (await response.json())["error"]


async def test_what_cannot_be_searched_is_said(visit: Visit) -> None:
    client = await visit()
    response = await client.get("/search?q=t-1", headers=BEARER)
    assert response.status == 503 and (await response.json())["unknown"]
    page = await (await client.get("/search?q=t-1", headers=BEARER | BROWSER)).text()
    assert "Not searched everywhere" in page


async def test_a_search_that_fails_leaves_the_results_of_the_others() -> None:
    async def found() -> list[SearchResult]:
        return [TRIGGER]

    async def fails() -> list[SearchResult]:
        raise StoreUnavailable("shard 1 does not answer")

    results = await gathered(found(), fails())
    assert (results.found, results.unknown) == ([TRIGGER], ["shard 1 does not answer"])


async def test_a_defect_is_not_a_store_that_does_not_answer() -> None:
    async def fails() -> list[SearchResult]:
        raise KeyError("trigger_id")

    with pytest.raises(KeyError):
        await gathered(fails())


def test_several_results_are_listed_and_ids_are_escaped() -> None:
    page = render("search.html", Frame("us", "/search"), wanted=HOSTILE, results=SearchResults([TRIGGER, PERSON], []))
    assert 'href="/notifications/a"' in page and 'href="/users/a"' in page and "<img" not in page
    page = render("search.html", Frame("us", "/search"), wanted="a", results=SearchResults([], []))
    assert "Nothing found" in page
