"""Reports addresses that a provider knows no longer, to be removed."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from notify_streams import metrics, tasks
from notify_streams.records.user_records import Contacts, encode_record
from notify_streams.topics import USER_CONTACTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from notify_streams.records.batch import OutboxRecord
    from notify_streams.records.channel_message import ChannelMessage

log = logging.getLogger(__name__)

#: Each has some hundred bytes.
_MAX_WAITING: Final = 10_000


class DeadAddresses:
    """Publishes a record on `user_contacts` for each: the registry role removes the address, unless the user has given a newer one.

    A report that is lost, by a crash or because too many wait, is made again after the next message to the address.

    Args:
        publish: returns when Kafka has acknowledged all records (`outbox.direct_publish`).
    """

    def __init__(self, publish: Callable[[Iterable[OutboxRecord]], Awaitable[None]]) -> None:
        self._publish = publish
        self._waiting: list[OutboxRecord] = []
        self._added = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._running = asyncio.create_task(tasks.keep_running("dead addresses", self._run))

    async def stop(self) -> None:
        await tasks.stop([self._running])

    def add(self, bucket: int, message: ChannelMessage, address: str, called_ms: int) -> None:
        """The provider said that it does not know this address of the person of `message`.

        Args:
            called_ms: when the call began, in ms since the epoch. An address that the user gives later stays.
        """
        if len(self._waiting) >= _MAX_WAITING:
            metrics.DEAD_ADDRESSES.labels(message.channel, "not_reported").inc()
            return
        metrics.DEAD_ADDRESSES.labels(message.channel, "reported").inc()
        at = datetime.fromtimestamp(called_ms / 1000, UTC)
        record = Contacts(message.user_id, at, remove={message.channel: address})
        self._waiting.append((USER_CONTACTS, bucket, message.user_id.encode(), encode_record(record), ()))
        self._added.set()

    async def _run(self) -> None:
        while True:
            await self._added.wait()
            self._added.clear()
            found, self._waiting = self._waiting, []
            await self._publish(found)
