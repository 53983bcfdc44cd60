"""Reads from MongoDB how deliveries ended, and their calls."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from notify_streams.delivery.attempt_reader import AttemptReader
from notify_streams.delivery.attempts import Phase, Rank, delivery_key, fold, unpack
from notify_streams.errors import NotifyError
from notify_streams.records.ids import delivery_id
from notify_streams.records.outcomes import DeliveryState
from notify_streams.stores.mongo import NOTIFICATIONS, TIMERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.roles import Channel
    from notify_streams.stores.mongo import Document, Shards

_STORE_S: Final = 10.0
_AT_ONCE: Final = 2_000
_POLL_S: Final = 1.0
#: The third retry of a mail may take so long.
_STALLED_S: Final = 300.0
_OPEN: Final = (DeliveryState.QUEUED.value, DeliveryState.RETRYING.value)
#: The place of the phase in an attempt's `_id`, behind the delivery and the number.
_PHASE: Final = 18


@dataclass(slots=True)
class Outcomes:
    """Of deliveries that have ended."""

    #: Delivery state -> deliveries.
    states: dict[str, int] = field(default_factory=dict)
    #: Calls of which there is an attempt.
    calls: int = 0
    #: Unix seconds at which the engine knew of each acceptance.
    accepted_at: list[float] = field(default_factory=list)


class OutcomeReader:
    """Reads the deliveries of one region."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._attempts = AttemptReader(shards, _STORE_S)

    async def retrying(self, role: str) -> int:
        """Deliveries of a role that wait for an attempt."""
        shards = range(len(self._shards))
        return sum([await self._shards.database(one)[TIMERS].count_documents({"role": role}) for one in shards])

    async def wait(self, channel: Channel, notification_ids: Sequence[str], stalled_s: float = _STALLED_S) -> Outcomes:
        """Returns when the delivery of each of these notifications has ended.

        Raises:
            NotifyError: none has ended for `stalled_s`, so there is no figure.
        """
        found = Outcomes()
        pending = list(notification_ids)
        moved_at = time.monotonic()
        while pending:
            ended = await self._ended(channel, pending[:_AT_ONCE], found)
            if ended:
                pending = [one for one in pending if one not in ended]
                moved_at = time.monotonic()
            elif time.monotonic() > moved_at + stalled_s:
                raise NotifyError(f"{len(pending)} deliveries have not ended, such as {pending[0]}: no figure")
            else:
                # The others may have ended before these.
                pending = pending[_AT_ONCE:] + pending[:_AT_ONCE]
                await asyncio.sleep(_POLL_S)
        return found

    async def _ended(self, channel: Channel, notification_ids: Sequence[str], found: Outcomes) -> set[str]:
        """Those that have ended; adds them to `found`."""
        ended: set[str] = set()
        keys: dict[int, dict[bytes, Document]] = defaultdict(dict)
        for shard in range(len(self._shards)):
            query = {"bucket": {"$in": self._shards.buckets(shard)}, "_id": {"$in": list(notification_ids)}}
            async for one in self._shards.database(shard)[NOTIFICATIONS].find(query):
                key = delivery_key(delivery_id(one["_id"], channel), one["decided_at"].timestamp())
                keys[one["bucket"]][key] = one
        for bucket, notifications in keys.items():
            documents = await self._attempts.documents(bucket, list(notifications))
            states = fold(documents)
            for key, one in notifications.items():
                state = states[key].state.value if key in states else one["deliveries"][channel]["state"]
                if state not in _OPEN:
                    ended.add(one["_id"])
                    found.states[state] = found.states.get(state, 0) + 1
            for document in documents:
                attempt = unpack(document["p"])
                if notifications[document["_id"][:16]]["_id"] in ended:
                    found.calls += document["_id"][_PHASE] == Phase.CALL and attempt.provider is not None
                    if attempt.rank == Rank.SENT:
                        found.accepted_at.append(attempt.at_ms / 1000)
        return ended
