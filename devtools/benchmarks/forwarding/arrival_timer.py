"""What has arrived in the far region, by the short way. In: its settings; out: counts, records and the moment each became readable."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from aiokafka import TopicPartition

from devtools.benchmarks.forwarding.load import TARGET
from notify_streams import kafka
from notify_streams.transport.fetch_decoding import fetch_ranges

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

    from notify_streams.settings import Settings


class ArrivalTimer:
    """Reads from the end that the topic has when it begins. ``async with Stopwatch(far) as stopwatch``."""

    def __init__(self, far: Settings) -> None:
        self._places = [TopicPartition(TARGET, partition) for partition in range(far.partitions)]
        self._consumer = kafka.consumer(far.kafka_connection())
        self._reading: asyncio.Task[None] | None = None
        self._starts: dict[Any, int] = {}
        #: By the record's value: seconds of `time.time` when it was first read.
        self.arrived: dict[bytes, float] = {}

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        self._starts = await self._consumer.end_offsets(self._places)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading
        await self._consumer.stop()

    async def count(self) -> int:
        """How many came, duplicates counted: the ends alone, so that counting takes nothing from what is measured."""
        ends = await self._consumer.end_offsets(self._places)
        return sum(ends[place] - self._starts[place] for place in self._places)

    def read(self) -> None:
        """Begin to note each record in `arrived`."""
        self._consumer.assign(self._places)
        for place in self._places:
            self._consumer.seek(place, self._starts[place])
        self._reading = asyncio.create_task(self._note())

    async def until(self, wanted: int, patience_s: float) -> None:
        """Return when `arrived` has so many records, or when time is up: the caller counts."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while len(self.arrived) < wanted:  # noqa: ASYNC110 (a stopwatch that wakes for each record would slow it)
                    await asyncio.sleep(0.05)

    async def _note(self) -> None:
        while True:
            for _, stretch in await fetch_ranges(self._consumer, 1.0):
                now = time.time()
                for record in stretch.records:
                    self.arrived.setdefault(record.value or b"", now)
