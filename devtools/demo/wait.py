"""Waits until workers are ready or lag is zero, with progress on the console."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import aiohttp
from aiokafka.errors import KafkaError
from pymongo.errors import PyMongoError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from devtools.workers import is_ready
from notify_streams import kafka
from notify_streams.admin.audit.topics import TopicReader
from notify_streams.admin.lag import LagReader
from notify_streams.app import web_port
from notify_streams.errors import StoreUnavailable
from notify_streams.roles import ROLES
from notify_streams.stores.mongo import Shards

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from notify_streams.settings import Settings

_POLL_S: Final = 0.25
_LINE_EVERY_S: Final = 3.0
#: Without progress.
_SAME_LINE_EVERY_S: Final = 15.0
#: So many workers that are not ready are listed by name.
_NAMED: Final = 4


class RegionWatcher:
    """``async with RegionWatcher(regions, console) as watcher``: reads `/ready`, lag and ledgers of several regions."""

    def __init__(self, regions: Sequence[Settings], console: Console) -> None:
        self._regions = tuple(regions)
        self._console = console
        self._closing = AsyncExitStack()
        self._lag_readers: dict[str, LagReader] = {}

    async def __aenter__(self) -> Self:
        for settings in self._regions:
            topics = await self._closing.enter_async_context(TopicReader(settings))
            shards = await self._closing.enter_async_context(Shards(settings, follows=True))
            admin = kafka.admin(settings.kafka_connection())
            await admin.start()
            self._closing.push_async_callback(admin.close)
            self._lag_readers[settings.region] = LagReader(settings, topics, shards, admin)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._closing.aclose()

    async def wait_until_ready(self, timeout_s: float, roles: Sequence[str] = ROLES) -> None:
        """Wait until `/ready` of every worker answers 200.

        Raises:
            StoreUnavailable: some are not ready after `timeout_s`; the message names them.
        """
        waiting = {
            (settings.region, role): f"http://127.0.0.1:{web_port(settings, role)}/ready"
            for settings in self._regions
            for role in roles
        }
        total = len(waiting)
        deadline = time.monotonic() + timeout_s
        with self.bar("workers ready", total) as show:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http:
                while waiting:
                    for worker, url in list(waiting.items()):
                        if await is_ready(http, url):
                            del waiting[worker]
                    names = ", ".join(f"{region}/{role}" for region, role in waiting)
                    show(total - len(waiting), f"waiting for {names}" if 0 < len(waiting) <= _NAMED else "")
                    if waiting and time.monotonic() > deadline:
                        raise StoreUnavailable(f"not ready after {timeout_s:.0f} s: {names}; see their logs")
                    await asyncio.sleep(_POLL_S)

    async def wait_until_drained(self, what: str, timeout_s: float) -> None:
        """Wait until no role of any region has lag, in two successive readings.

        Raises:
            StoreUnavailable: there was no progress for `timeout_s`; the message has the lag.
        """
        most, drained, before = 1, 0, -1
        deadline = time.monotonic() + timeout_s
        with self.bar(what, None) as show:
            while drained < 2:
                try:
                    lag = await self.lag()
                except (StoreUnavailable, KafkaError, PyMongoError):  # a service that is slow for a moment
                    if time.monotonic() > deadline:
                        raise
                    await asyncio.sleep(_POLL_S)
                    continue
                total_lag = sum(lag.values())
                most = max(most, total_lag)
                if total_lag != before:
                    before, deadline = total_lag, time.monotonic() + timeout_s
                drained = drained + 1 if total_lag == 0 else 0
                busiest = max(lag, key=lag.__getitem__)
                show(most - total_lag, f"{busiest} {lag[busiest]} behind" if total_lag else "", most)
                if time.monotonic() > deadline:
                    late = ", ".join(f"{name}: {count}" for name, count in lag.items() if count)
                    raise StoreUnavailable(f"{what}: no progress for {timeout_s:.0f} s; lag: {late}")
                await asyncio.sleep(_POLL_S)

    async def lag(self) -> dict[str, int]:
        """Lag by region and role."""
        found: dict[str, int] = {}
        for region, reader in self._lag_readers.items():
            found |= {f"{region}/{role}": count for role, count in (await reader.lag()).items()}
        return found

    async def taken(self) -> int:
        """Triggers with an outcome since the regions were created."""
        return sum([await reader.taken() for reader in self._lag_readers.values()])

    def bar(self, what: str, total: int | None) -> Bar:
        return Bar(self._console, what, total)


class Bar:
    """Progress: ``show(done, note)``. A bar on a terminal; without one a line every 3 s."""

    def __init__(self, console: Console, what: str, total: int | None) -> None:
        self._console = console
        self._what = what
        self._total = total
        self._printed_at, self._printed = 0.0, ""
        self._started = time.monotonic()
        columns = (
            TextColumn("{task.description:<24}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._live = Progress(*columns, console=console) if console.is_terminal else None
        self._task = self._live.add_task(what, total=total, note="") if self._live else None
        self._last = ""

    def __enter__(self) -> Bar:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()
        elif self._last:
            self._console.print(
                f"{self._what}: {self._last} after {time.monotonic() - self._started:.1f} s", highlight=False
            )

    def __call__(self, done: int, note: str, total: int | None = None) -> None:
        total = self._total if total is None else total
        self._last = f"{done}/{total}" + (f", {note}" if note else "")
        if self._live and self._task is not None:
            self._live.update(self._task, completed=done, total=total, note=note)
        elif time.monotonic() - self._printed_at > (
            _LINE_EVERY_S if self._last != self._printed else _SAME_LINE_EVERY_S
        ):
            self._printed_at, self._printed = time.monotonic(), self._last
            self._console.print(f"{self._what}: {self._last}", highlight=False)
