"""One stream of triggers through whatever routes them: sent on schedule, each timed until its last channel message can be read."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
from aiokafka import TopicPartition

from devtools.load.open_loop import SingleSender, at_rate
from notify_streams import kafka
from notify_streams.errors import NotifyError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from notify_streams.settings import Settings

SOURCE: Final = "triggers.payments"
_LOOK_EVERY_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Asked:
    """A trigger to send, and the topics on which its messages must appear."""

    id: str
    user_id: str
    value: bytes
    topics: frozenset[str]


@dataclass(frozen=True, slots=True)
class Timed:
    """What one trigger met, in monotonic seconds."""

    due: float
    acknowledged: float
    readable: float


class _Named(msgspec.Struct):
    """A channel message names its trigger; the bare loop hands the trigger itself on."""

    trigger_id: str = ""
    id: str = ""


_decode = msgspec.json.Decoder(_Named).decode


class Stream:
    """``async with Stream(settings, topics) as stream: await stream.timed(triggers, rate, patience_s)``. Reads committed records only."""

    def __init__(self, settings: Settings, topics: Sequence[str]) -> None:
        self._places = [TopicPartition(topic, number) for topic in topics for number in range(settings.partitions)]
        self._closing = AsyncExitStack()
        self._sender = SingleSender(settings)
        self._consumer = kafka.consumer(
            settings.kafka_connection(),
            isolation_level="read_committed",
            fetch_max_wait_ms=settings.broker.fetch_max_wait_ms,
        )
        #: trigger id -> topic -> when its message was first read.
        self._read: dict[str, dict[str, float]] = {}

    async def __aenter__(self) -> Self:
        await self._closing.enter_async_context(self._sender)
        self._closing.push_async_callback(self._consumer.stop)
        await self._consumer.start()
        self._consumer.assign(self._places)
        await self._consumer.seek_to_end()
        reading = asyncio.create_task(self._read_on())
        self._closing.push_async_callback(_end, reading)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._closing.aclose()

    async def timed(self, triggers: Sequence[Asked], rate: float, patience_s: float) -> list[Timed]:
        """Send the triggers at `rate` a second, and wait until every message of every one was read.

        Raises:
            NotifyError: one has not come `patience_s` after the last trigger was acknowledged.
        """
        acknowledged: dict[str, tuple[float, float]] = {}

        async def send(number: int, due: float) -> None:
            one = triggers[number]
            acknowledged[one.id] = due, await self._sender.send(SOURCE, one.user_id, one.value)

        await at_rate(len(triggers), 1 / rate, send)
        until = time.monotonic() + patience_s
        while missing := self._missing(triggers):
            if time.monotonic() > until:
                raise NotifyError(
                    f"{len(missing)} of {len(triggers)} triggers have not all their channel messages {patience_s:.0f} s after the last "
                    f"was sent, such as {missing[0]}: no figure"
                )
            await asyncio.sleep(_LOOK_EVERY_S)
        return [Timed(*acknowledged[one.id], max(self._read[one.id].values())) for one in triggers]

    def _missing(self, triggers: Sequence[Asked]) -> list[str]:
        return [one.id for one in triggers if not one.topics <= self._read.get(one.id, {}).keys()]

    async def _read_on(self) -> None:
        while True:
            found = await self._consumer.getmany(timeout_ms=1_000)
            now = time.monotonic()
            for place, records in found.items():
                for record in records:
                    named = _decode(record.value)
                    self._read.setdefault(named.trigger_id or named.id, {}).setdefault(place.topic, now)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
