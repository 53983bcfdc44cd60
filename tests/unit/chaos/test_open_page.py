"""What is said of a page that was open in a browser."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestServer
from aiohttp.web import Application, Request, Response, get

from devtools.chaos import open_page
from devtools.chaos.open_page import OpenPage, Sample
from tests.waiting import until

needs_chromium = pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")


@pytest.mark.parametrize(
    ("last", "nodes", "shown", "errors", "holds"),
    [
        (1_100, 20, 10, [], True),
        (1_300, 20, 10, [], False),
        (1_100, 40, 20, [], True),
        (1_100, 40, 10, [], False),
        (1_100, 20, 10, ["error: x is not defined"], False),
    ],
    ids=["flat", "grows", "shows more", "keeps what it does not show", "an error"],
)
def test_a_page_holds_with_flat_memory_and_without_errors(
    last: int, nodes: int, shown: int, errors: list[str], holds: bool
) -> None:
    samples = [Sample(size, 20, 10, f"gone for {size} s") for size in (1_000, 5_000, 1_100)]
    result = OpenPage(errors, [*samples, Sample(last, nodes, shown, "gone for 2 s")]).result()
    assert (result["holds"], result["heap_bytes"], result["headlines"]) == (holds, (1_000, last), ["gone for # s"])


def test_a_page_that_was_never_seen_does_not_hold() -> None:
    assert OpenPage().result()["holds"] is False


@pytest.fixture
async def page() -> AsyncIterator[str]:
    async def answer(_: Request) -> Response:
        return Response(text="<h1>All is well</h1><script>console.log(1); missing()</script>", content_type="text/html")

    app = Application()
    app.add_routes([get("/", answer)])
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


@needs_chromium
async def test_the_errors_of_a_real_page_are_found(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_page, "_EVERY_S", 0.05)
    seen, reports = OpenPage(), list[str]()
    async with open_page.open_page(page, seen, reports.append):
        await until(lambda: len(seen.samples) > 1)
    assert [one.partition("{")[0] for one in reports] == ["the open page: "]
    assert seen.samples[0].headline == "All is well" and seen.samples[0].nodes >= seen.samples[0].shown_nodes > 4
    assert any("missing is not defined" in one for one in seen.errors)
    assert not any("log:" in one for one in seen.errors)
