"""Puts preference updates on `preference_updates`, each in its bucket, from where every table learns them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import msgspec

from notify_streams.topics import PREFERENCE_UPDATES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.outbox.taken import Headers
    from notify_streams.preferences.writing import Publish
    from notify_streams.records.users import PreferenceUpdate


class Sender(Protocol):
    """What the transport's batch producer offers."""

    async def send_batch(
        self, topic: str, partition: int, records: Sequence[tuple[bytes | None, bytes | None, Headers]]
    ) -> object: ...


def publisher_through(sender: Sender) -> Publish:
    """A `Publish` over a batch producer: one batch for each bucket, all at once."""
    encode = msgspec.json.Encoder().encode

    async def publish(updates: Sequence[tuple[int, PreferenceUpdate]]) -> None:
        batches: dict[int, list[tuple[bytes | None, bytes | None, Headers]]] = {}
        for bucket, update in updates:
            batches.setdefault(bucket, []).append((update.user_id.encode(), encode(update), ()))
        await asyncio.gather(
            *(sender.send_batch(PREFERENCE_UPDATES, bucket, records) for bucket, records in batches.items())
        )

    return publish
