"""Publishes preference updates on `preference_updates`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from notify_streams.topics import PREFERENCE_UPDATES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.preferences.writer import Publish
    from notify_streams.records.batch import KeyedRecord, Producer
    from notify_streams.records.user_records import PreferenceUpdate


def publisher_for(producer: Producer) -> Publish:
    """A `Publish` that sends one batch for each bucket, concurrently."""
    encode = msgspec.json.Encoder().encode

    async def publish(updates: Sequence[tuple[int, PreferenceUpdate]]) -> None:
        batches: dict[int, list[KeyedRecord]] = {}
        for bucket, update in updates:
            batches.setdefault(bucket, []).append((update.user_id.encode(), encode(update), ()))
        await asyncio.gather(
            *(producer.send_batch(PREFERENCE_UPDATES, bucket, records) for bucket, records in batches.items())
        )

    return publish
