"""Sends records as an upstream system does: each to its user's bucket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams.field_errors import DECODE_ERRORS
from notify_streams.records.partitioner import bucket_of
from notify_streams.transport import BatchProducer, TransportSettings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from notify_streams.records.batch import Headers, KeyedRecord
    from notify_streams.settings import Settings

#: Topic, user id (None: unknown, any bucket), value, headers.
Upload = tuple[str, str | None, bytes | None, "Headers"]
_AT_ONCE: Final = 5_000
#: Above the workers' own time-out: fault tests restart the broker under load.
_PRODUCE_TIMEOUT_S: Final = 60.0


class TriggerProducer:
    """A producer for one region. ``async with TriggerProducer(settings) as producer: await producer.send(records)``."""

    def __init__(self, settings: Settings) -> None:
        self._partitions = settings.partitions
        transport = TransportSettings(produce_timeout_s=_PRODUCE_TIMEOUT_S)
        self._producer = BatchProducer(settings.kafka_connection(), transport, client_id="notify-streams-upstream")

    async def __aenter__(self) -> Self:
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()

    async def send(self, uploads: Iterable[Upload]) -> int:
        """Write all and return their number. The order per user is kept.

        Raises:
            SendError: Kafka did not acknowledge some records; the message says which.
        """
        sent = 0
        batches: dict[tuple[str, int], list[KeyedRecord]] = {}
        for topic, user_id, value, headers in uploads:
            bucket = 0 if user_id is None else bucket_of(user_id, self._partitions)
            key = None if user_id is None else user_id.encode()
            batches.setdefault((topic, bucket), []).append((key, value, headers))
            sent += 1
            if sent % _AT_ONCE == 0:
                await self._write(batches)
                batches = {}
        await self._write(batches)
        return sent

    async def _write(self, batches: dict[tuple[str, int], list[KeyedRecord]]) -> None:
        await asyncio.gather(
            *(self._producer.send_batch(topic, bucket, records) for (topic, bucket), records in batches.items())
        )


class TriggerOwner(msgspec.Struct):
    """The fields of a trigger that are needed to send it."""

    user_id: str | None = None
    category: str = ""
    id: str | None = None


_decode_owner = msgspec.json.Decoder(TriggerOwner)


def owner_of(value: bytes | None) -> TriggerOwner:
    """The user, category and id of a trigger, as far as it can be read."""
    try:
        return _decode_owner.decode(value or b"")
    except DECODE_ERRORS:
        return TriggerOwner()
