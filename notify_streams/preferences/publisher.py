"""Publishes choices: `preference_updates`, and users' rows on `preference_rows`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from notify_streams.records.address_ids import is_address_id
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.source_proofs import SourceProofs
from notify_streams.records.user_records import encode_record
from notify_streams.topics import PREFERENCE_ROWS, PREFERENCE_UPDATES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from notify_streams.preferences.writer import Publish
    from notify_streams.records.batch import KeyedRecord, Producer
    from notify_streams.records.user_records import PreferenceUpdate
    from notify_streams.settings import Settings


def publisher_for(producer: Producer, settings: Settings) -> Publish:
    """A `Publish` that sends one batch for each topic and bucket, concurrently."""
    proofs = SourceProofs(settings.public.address_key)

    async def publish(updates: Sequence[tuple[int, PreferenceUpdate]], rows: Mapping[str, bytes]) -> None:
        batches: dict[tuple[str, int], list[KeyedRecord]] = {}
        for bucket, update in updates:
            key = update.user_id.encode()
            value = encode_record(update)
            batches.setdefault((PREFERENCE_UPDATES, bucket), []).append((key, value, proofs.headers(update, value)))
        for user_id, row in rows.items():
            if not is_address_id(user_id):
                place = (PREFERENCE_ROWS, bucket_of(user_id, settings.partitions))
                batches.setdefault(place, []).append((user_id.encode(), row, ()))
        await asyncio.gather(*(producer.send_batch(*place, records) for place, records in batches.items()))

    return publish
