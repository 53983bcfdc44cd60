"""`/region/events`: what clients of the page's events get, and what they cannot do."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest

from devtools.stack.ports import free_port
from notify_streams.app import NotifyApp
from notify_streams.web.pages.region_page import SECTIONS
from notify_streams.web.region_events import RegionEvents
from notify_streams.web.verdict.collector import region_collector
from notify_streams.web.verdict.region_status import RegionStatus
from notify_streams.web.worker_objects import one_for
from notify_streams.web_server import MAX_STREAMS, Web
from tests.unit.web.conftest import NewWorker, Visit
from tests.unit.web.sample_region import KAFKA, a_status, some_totals
from tests.waiting import until


class Page:
    """One client of the events of a worker whose status the test sets."""

    def __init__(self, worker: NotifyApp, client: Any) -> None:
        self.worker = worker
        self.client = client

    def show(self, status: RegionStatus) -> None:
        region_collector(self.worker).status = status

    @property
    def events(self) -> RegionEvents:
        return one_for(self.worker, RegionEvents)

    async def open(self) -> aiohttp.ClientResponse:
        response: aiohttp.ClientResponse = await self.client.get("/region/events")
        return response


@pytest.fixture
async def page(visit: Visit, new_worker: NewWorker) -> AsyncIterator[Page]:
    worker = new_worker()
    page = Page(worker, await visit(worker))
    page.show(a_status())
    yield page
    await page.events.close()


async def next_event(response: aiohttp.ClientResponse) -> tuple[int, dict[str, Any]]:
    """The id and the data of the next event."""
    lines = []
    async with asyncio.timeout(20):
        while line := (await response.content.readline()).decode().rstrip("\n"):
            lines.append(line)
    assert lines[1] == "event: region"
    return int(lines[0].removeprefix("id: ")), json.loads(lines[2].removeprefix("data: "))


async def test_a_client_gets_everything_first_and_then_what_has_changed(page: Page) -> None:
    response = await page.open()
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    number, event = await next_event(response)
    assert set(event["sections"]) == set(SECTIONS) and event["title"] == "✓ Everything works. · us · notify-streams"
    page.show(a_status(totals=some_totals(outbox_rows=7)))
    following, event = await next_event(response)
    assert following == number + 1 and set(event["sections"]) == {"tiles"} and "7" in event["sections"]["tiles"]
    page.show(a_status([KAFKA], totals=some_totals(outbox_rows=7)))
    _, event = await next_event(response)
    assert event["title"] == f"✕ {KAFKA.text} · us · notify-streams" and set(event["sections"]) == {
        "verdict",
        "problems",
    }
    response.close()


async def test_what_has_not_changed_is_an_event_too_so_that_the_page_knows_it_is_current(page: Page) -> None:
    response = await page.open()
    await next_event(response)
    page.show(msgspec.structs.replace(a_status()))
    _, event = await next_event(response)
    assert event["sections"] == {}
    response.close()


async def test_nothing_is_rendered_without_a_client_and_all_share_one_rendering(page: Page) -> None:
    first, second = await page.open(), await page.open()
    assert await next_event(first) == await next_event(second)
    assert page.events.clients == 2
    first.close()
    second.close()

    async def nothing_runs() -> bool:
        page.show(msgspec.structs.replace(a_status()))  # a client that has gone is found at the next event
        return page.events.clients == 0 and not [
            task for task in asyncio.all_tasks() if task.get_name() == "region events"
        ]

    await until(nothing_runs)


async def test_a_client_after_a_time_without_any_gets_the_present_state_first(page: Page) -> None:
    events = page.events
    events.join()
    assert await events.after(0, 5.0) is not None
    await events.leave()
    page.show(a_status([KAFKA]))
    response = await page.open()
    _, event = await next_event(response)
    assert event["title"].startswith("✕")
    response.close()


async def test_streams_are_limited(page: Page) -> None:
    page.events.clients = MAX_STREAMS
    refused = await page.open()
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    page.events.clients = 0
    response = await page.open()
    assert response.status == 200
    response.close()


async def test_a_client_that_missed_events_gets_everything(page: Page) -> None:
    events = page.events
    events.join()
    first = await events.after(0, 5.0)
    assert first is not None
    page.show(a_status(totals=some_totals(outbox_rows=7)))
    second = await events.after(first.number, 5.0)
    assert second is not None and len(second.body_after(first.number)) < len(second.whole)
    assert second.body_after(0) == second.body_after(second.number - 2) == second.whole
    await events.leave()


async def test_silence_is_no_event_but_the_client_is_tried(page: Page) -> None:
    assert await page.events.after(0, 0.01) is None


async def test_the_streams_end_at_once_when_the_worker_stops(page: Page) -> None:
    response = await page.open()
    await next_event(response)
    began = asyncio.get_running_loop().time()
    await page.worker.stop()
    async with asyncio.timeout(5):
        assert await response.content.read() == b""
    assert asyncio.get_running_loop().time() - began < 1.0
    assert (await page.open()).status == 503


async def test_a_client_that_does_not_read_is_dropped(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notify_streams.web.region_events._WRITE_S", 0.2)
    with socket.create_connection((page.client.server.host, page.client.server.port)) as client:
        client.sendall(b"GET /region/events HTTP/1.1\r\nHost: here\r\n\r\n")
        await until(lambda: page.events.clients == 1)

        def is_dropped() -> bool:
            # More and more is sent, until all buffers are full.
            page.show(a_status(totals=some_totals(dead_reasons={f"reason-{n}": n for n in range(20_000)})))
            return page.events.clients == 0

        await until(is_dropped)


async def test_the_worker_serves_others_beside_all_streams_and_ends_them_within_a_second(new_worker: NewWorker) -> None:
    worker = new_worker(web_port=free_port())
    region_collector(worker).status = a_status()
    server = worker.web
    assert isinstance(server, Web)
    server.init_server()
    await server.start_server()
    here = f"http://127.0.0.1:{worker.settings.web_port}"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        opened = await asyncio.gather(*(http.get(f"{here}/region/events") for _ in range(MAX_STREAMS + 2)))
        streams = [one for one in opened if one.status == 200]
        assert [one.status for one in opened].count(503) == 2
        async with http.get(f"{here}/live") as other:
            assert other.status == 200
        await asyncio.gather(*(next_event(one) for one in streams))
        began = asyncio.get_running_loop().time()
        stopping = asyncio.create_task(worker.stop())
        await asyncio.gather(*(one.content.read() for one in streams))
        assert asyncio.get_running_loop().time() - began < 1.0
        await server.stop_server()
        await stopping
