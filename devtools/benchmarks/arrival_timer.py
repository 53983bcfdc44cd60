"""Notes when each record of some topics became readable."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition

from notify_streams import kafka, tasks
from notify_streams.transport.fetch_decoding import fetch_ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from notify_streams.settings import Settings


def _value_of(value: bytes) -> Any:
    return value


class ArrivalTimer:
    """Reads committed records without a group, from the ends that the topics have when the block begins.

    ``async with ArrivalTimer(settings, topics) as timer: timer.start(); …; timer.arrived[topic]``.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[str],
        key: Callable[[bytes], Any] = _value_of,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`key`: what identifies a record, from its value. `clock`: seconds."""
        self._places = [TopicPartition(topic, number) for topic in topics for number in range(settings.partitions)]
        self._consumer = kafka.consumer(
            settings.kafka_connection(),
            isolation_level="read_committed",
            fetch_max_wait_ms=settings.broker.fetch_max_wait_ms,
        )
        self._key = key
        self._clock = clock
        self._reading: asyncio.Task[None] | None = None
        self._starts: dict[TopicPartition, int] = {}
        #: topic -> key -> when it was first read.
        self.arrived: dict[str, dict[Any, float]] = {topic: {} for topic in topics}

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        self._starts = await self._consumer.end_offsets(self._places)
        return self

    async def __aexit__(self, *_: object) -> None:
        await tasks.stop([self._reading])
        await self._consumer.stop()

    async def count(self) -> int:
        """Records written since, duplicates included. Asks for the ends only, to take no time from what is measured."""
        ends = await self._consumer.end_offsets(self._places)
        return sum(ends[place] - start for place, start in self._starts.items())

    def start(self) -> None:
        """Note each record in `arrived` from now on, also those written since the block began."""
        self._consumer.assign(self._places)
        for place, start in self._starts.items():
            self._consumer.seek(place, start)
        self._reading = asyncio.create_task(self._note())

    async def wait_for(self, topic: str, wanted: int, timeout_s: float) -> None:
        """Return when `wanted` different records of the topic have arrived, or after `timeout_s`."""
        until = time.monotonic() + timeout_s
        # It polls: an event for each record would cost time that is measured.
        while len(self.arrived[topic]) < wanted and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    async def _note(self) -> None:
        while True:
            for place, fetched in await fetch_ranges(self._consumer, 1.0):
                now, arrived = self._clock(), self.arrived[place.topic]
                for record in fetched.records:
                    arrived.setdefault(self._key(record.value or b""), now)
