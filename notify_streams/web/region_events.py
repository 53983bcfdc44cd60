"""`/region/events`: changes of the region's page, as server-sent events.

https://html.spec.whatwg.org/multipage/server-sent-events.html

Each event has all sections for a client that has none or has missed one, else those that have changed. They are rendered once for all
clients, and only while there is one. Nothing is kept for a client: who reads slowly misses events, and who does not read is dropped.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

import msgspec
from aiohttp.web import StreamResponse

from notify_streams import tasks
from notify_streams.web.pages.rendering import page_title
from notify_streams.web.region_page import RenderedRegion, time_of, title_of
from notify_streams.web.responses import RETRY_AFTER, WebView
from notify_streams.web.verdict.collector import region_collector
from notify_streams.web.worker_objects import one_for
from notify_streams.web_server import MAX_STREAMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.web import Request

    from notify_streams.app import NotifyApp
    from notify_streams.web.verdict.region_status import RegionStatus

log = logging.getLogger(__name__)

#: How often the collector is asked for a new status, and whether the worker stops.
_LOOK_EVERY_S: Final = 0.25
#: A client that does not read for so long is dropped.
_WRITE_S: Final = 5.0
#: What is sent after so long without an event, to find clients that have gone. It is a comment, which browsers do not show.
_SILENT_S: Final = 10.0
_COMMENT: Final = b":\n\n"
_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    # nginx would keep the events until its buffer is full.
    "X-Accel-Buffering": "no",
}


class Event(NamedTuple):
    """One state of the page."""

    #: Ascending; the id of the event.
    number: int
    #: All sections.
    whole: bytes
    #: The sections that differ from those of the event before.
    changed: bytes

    def body_after(self, number: int) -> bytes:
        """For a client whose last event was `number`; 0: it has none."""
        return self.changed if number and number + 1 == self.number else self.whole


class RegionEvents:
    """The events of one worker, for all its clients."""

    def __init__(self, worker: NotifyApp) -> None:
        self._worker = worker
        self._collector = region_collector(worker)
        self._status: RegionStatus | None = None
        self._sections: Mapping[str, str] = {}
        self._event: Event | None = None
        self._next = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.clients = 0
        self.has_ended = False
        worker.add_stop(self.close)

    def join(self) -> None:
        """Render while there is a client."""
        self.clients += 1
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="region events")

    async def leave(self) -> None:
        self.clients -= 1
        if not self.clients:
            task, self._task = self._task, None
            # The next client must get the state of its time first, not of this one.
            self._status, self._sections, self._event = None, {}, None
            await tasks.stop([task])

    async def close(self) -> None:
        self._end()
        await tasks.stop([self._task])

    async def after(self, number: int, timeout_s: float) -> Event | None:
        """The newest event if it is not `number`, else the next one. None: there was none in time, or the worker ends."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self.has_ended and (self._event is None or self._event.number == number):
                    await self._next.wait()
        except TimeoutError:
            return None
        return None if self.has_ended else self._event

    async def _run(self) -> None:
        while not self._worker.should_stop:
            status = self._collector.status
            if status is not None and status is not self._status:
                try:
                    self._show(status)
                except Exception:
                    log.exception("the page was not rendered", extra={"action": "region_page.failed"})
                    self._status = status
            await asyncio.sleep(_LOOK_EVERY_S)
        self._end()

    def _show(self, status: RegionStatus) -> None:
        found = one_for(self._worker, RenderedRegion).sections(status)
        changed = {name: html for name, html in found.items() if self._sections.get(name) != html}
        number = 1 if self._event is None else self._event.number + 1
        self._event = Event(number, encoded(number, status, found), encoded(number, status, changed))
        self._status, self._sections = status, found
        self._wake()

    def _end(self) -> None:
        self.has_ended = True
        self._wake()

    def _wake(self) -> None:
        self._next.set()
        self._next = asyncio.Event()


def encoded(number: int, status: RegionStatus, found: Mapping[str, str]) -> bytes:
    """An event with its id; JSON has no line ends."""
    data = msgspec.json.encode(
        {
            "at": time_of(status),
            "title": page_title(title_of(status), status.region),
            "sections": {name: str(html) for name, html in found.items()},
        }
    )
    return b"id: %d\nevent: region\ndata: %s\n\n" % (number, data)


class RegionEventStream(WebView):
    """At most `MAX_STREAMS` clients; more get 503. Ends when the worker stops."""

    #: Until the client goes.
    timeout_s: ClassVar[float | None] = None

    async def get(self, request: Request) -> Any:
        events = one_for(self.worker, RegionEvents)
        if events.has_ended or events.clients >= MAX_STREAMS:
            return self.error_response(request, "too many pages are open: try again", 503, RETRY_AFTER)
        events.join()
        try:
            return await self._stream(request, events)
        finally:
            await events.leave()

    async def _stream(self, request: Request, events: RegionEvents) -> StreamResponse:
        response = StreamResponse(headers=_HEADERS)
        response.force_close()
        await response.prepare(request)
        number = 0
        try:
            while True:
                event = await events.after(number, _SILENT_S)
                if events.has_ended:
                    break
                async with asyncio.timeout(_WRITE_S):
                    await response.write(_COMMENT if event is None else event.body_after(number))
                number = number if event is None else event.number
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()
        return response
