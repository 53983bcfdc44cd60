"""Reads attempts, and deletes those that have expired."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams.delivery.attempts import (
    Phase,
    Rank,
    before_second,
    delivery_key,
    fold,
    has_known_phase,
    key_of,
    key_range,
    number_of,
    phase_of,
    unpack,
)
from notify_streams.records.ids import delivery_id
from notify_streams.records.masks import shown_mask
from notify_streams.records.outcomes import DeliveryState
from notify_streams.stores.mongo import ATTEMPTS, NOTIFICATIONS
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from notify_streams.delivery.attempts import Attempt, DeliveryStatus
    from notify_streams.stores.mongo import Document, Shards

#: Ranges in one query.
_RANGES: Final = 200


class AttemptReader:
    """Reads the attempts of a region's deliveries."""

    def __init__(self, shards: Shards, timeout_s: float) -> None:
        self._shards = shards
        self._timeout_s = timeout_s

    async def documents(self, bucket: int, keys: Sequence[bytes]) -> list[Document]:
        """The attempts of these deliveries of one bucket.

        Raises:
            StoreUnavailable: the shard does not answer.
        """
        found: list[Document] = []
        for first in range(0, len(keys), _RANGES):
            ranges = [{"_id": key_range(key)} for key in keys[first : first + _RANGES]]
            with mongo_call(f"read attempts of bucket {bucket}", self._timeout_s):
                found += (
                    await self._shards.collection(ATTEMPTS, bucket).find({"bucket": bucket, "$or": ranges}).to_list()
                )
        return found

    async def status(self, bucket: int, keys: Sequence[bytes]) -> dict[bytes, DeliveryStatus]:
        """The status of each of these deliveries that has attempts.

        Raises:
            StoreUnavailable: the shard does not answer.
        """
        return fold(await self.documents(bucket, keys))

    async def delete_before(self, bucket: int, second: int) -> None:
        """Delete the attempts of deliveries decided before `second` (since the epoch).

        Raises:
            StoreUnavailable: the shard does not answer.
        """
        with mongo_call(f"delete expired attempts of bucket {bucket}", self._timeout_s):
            await self._shards.collection(ATTEMPTS, bucket).delete_many(
                {"bucket": bucket, "_id": before_second(second)}
            )

    async def history(self, bucket: int, notification: str, channel: str, decided_at: datetime) -> list[Document]:
        """The attempts of one delivery, in the order of their times: see `attempt_fields`.

        Raises:
            StoreUnavailable: the shard does not answer.
        """
        key = delivery_key(delivery_id(notification, channel), decided_at.timestamp())
        documents = sorted(await self.documents(bucket, [key]), key=lambda one: unpack(one["p"]).at_ms)
        return [attempt_fields(one) for one in documents]

    async def first_states(self, bucket: int, keys: Sequence[bytes]) -> dict[bytes, DeliveryState]:
        """What the first attempt of each of these deliveries led to, if it is stored.

        Raises:
            StoreUnavailable: the shard does not answer.
        """
        return first_states(await self.documents(bucket, keys))

    async def notified(self, bucket: int, notification_ids: Sequence[str]) -> set[str]:
        """Which of these notifications of one bucket exist.

        Raises:
            StoreUnavailable: the shard does not answer.
        """
        query = {"bucket": bucket, "_id": {"$in": list(notification_ids)}}
        with mongo_call(f"read notifications of bucket {bucket}", self._timeout_s):
            cursor = self._shards.collection(NOTIFICATIONS, bucket).find(query, {"_id": 1})
            return {one["_id"] async for one in cursor}

    async def add_status(self, notifications: Sequence[Document]) -> dict[str, DeliveryStatus]:
        """Replace in notification documents the state of each delivery as decided by its status, if it has attempts.

        Returns:
            These statuses, by delivery id.

        Raises:
            StoreUnavailable: a shard does not answer.
        """
        by_bucket: dict[int, dict[bytes, tuple[str, Document]]] = {}
        for one in notifications:
            decided_s = one["decided_at"].timestamp()
            for channel, delivery in one["deliveries"].items():
                identity = delivery_id(one["_id"], channel)
                by_bucket.setdefault(one["bucket"], {})[delivery_key(identity, decided_s)] = identity, delivery
        found: dict[str, DeliveryStatus] = {}
        for bucket, deliveries in by_bucket.items():
            for key, status in (await self.status(bucket, list(deliveries))).items():
                identity, delivery = deliveries[key]
                delivery.update(status_fields(status))
                found[identity] = status
        return found


def attempt_fields(document: Document) -> Document:
    """``kind`` (`call`, `answer`, `receipt`; `unknown` of a later release), ``number``, ``at``, ``state`` and the other fields of `Attempt`.

    A receipt that does not name its attempt has the number 0. `to` is masked, for people. `devices`: see `device_fields`.
    """
    attempt = unpack(document["p"])
    return {
        "kind": phase_of(document["_id"]).name.lower() if has_known_phase(document["_id"]) else "unknown",
        "number": number_of(document["_id"]),
        "state": attempt.state.value,
        "reason": attempt.reason,
        "provider": attempt.provider,
        "provider_id": attempt.provider_id,
        "code": attempt.code,
        "to": None if attempt.to is None else shown_mask(attempt.to),
        "segments": attempt.segments,
        "at": datetime.fromtimestamp(attempt.at_ms / 1000, UTC),
        "took_ms": attempt.took_ms,
        "since_published_ms": attempt.since_published_ms,
        "in_doubt": attempt.in_doubt,
        "possible_duplicate": attempt.possible_duplicate,
        "replay": attempt.replay,
        "template_version": attempt.template_version,
        "devices": device_fields(attempt),
    }


def device_fields(attempt: Attempt) -> list[Document] | None:
    """What each device's provider answered: the fields of `DeviceOutcome`; None for a person with a single token."""
    return None if attempt.devices is None else [msgspec.structs.asdict(one) for one in attempt.devices]


def status_fields(status: DeliveryStatus) -> Document:
    """The fields of a delivery in a notification document: ``state``, ``attempts``, ``at`` and what is known of ``reason``,
    ``provider``, ``provider_id``, ``code``, ``segments`` and ``devices``."""
    last, called = status.last, status.called or status.last
    by_receipt = last.rank >= Rank.FAILED_BY_RECEIPT
    fields: Document = {
        "state": last.state.value,
        "attempts": status.attempts,
        "at": datetime.fromtimestamp(last.at_ms / 1000, UTC),
        "reason": last.reason,
        "provider": called.provider,
        "provider_id": called.provider_id,
        "code": (last.code if by_receipt else None) or called.code,
        "segments": called.segments,
        "devices": device_fields(called),
    }
    return {name: value for name, value in fields.items() if value is not None}


def may_have_been_accepted(status: DeliveryStatus) -> bool:
    """Whether a provider took a call of this delivery, or may have: however it ended, the next call may be a duplicate.

    A receipt is about a call that was accepted, also where the worker does not know of it.
    """
    return status.in_doubt or status.was_accepted or any(call.receipt is not None for call in status.calls.values())


def last_provider(status: DeliveryStatus) -> str | None:
    """That of the last call; None if no call is known."""
    calls = (call.ended for _, call in sorted(status.calls.items(), reverse=True))
    return next((ended.provider for ended in calls if ended is not None and ended.provider is not None), None)


def first_states(documents: Iterable[Document]) -> dict[bytes, DeliveryState]:
    """Retrying if any attempt did not end the delivery, because then it has, or had, a timer; else the end.

    Attempts after a receipt that said failed are left out: the first one had ended the delivery.
    """
    documents = [one for one in documents if has_known_phase(one["_id"])]
    refuted: dict[bytes, int] = {}
    for document in documents:
        if unpack(document["p"]).rank == Rank.RETRYING_BY_RECEIPT:
            key, number = key_of(document["_id"]), number_of(document["_id"])
            refuted[key] = min(number, refuted.get(key, number))
    documents = [
        one
        for one in documents
        if (last := refuted.get(key_of(one["_id"]))) is None
        or (number_of(one["_id"]) <= last and phase_of(one["_id"]) is not Phase.RECEIPT)
    ]
    states = {key: status.state for key, status in fold(documents).items()}
    for document in documents:
        if unpack(document["p"]).rank == Rank.RETRYING:
            states[key_of(document["_id"])] = DeliveryState.RETRYING
    return states
