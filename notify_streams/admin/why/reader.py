"""Makes the story of the documents that a search found."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from notify_streams.admin.why.rules import PersonChoices, rule_of
from notify_streams.admin.why.story import Attempt, Delivery, Entry, NextAttempt, Notification, OtherOutcome, Waiting
from notify_streams.delivery.attempt_reader import attempt_fields, status_fields
from notify_streams.delivery.attempts import delivery_key, fold, key_of
from notify_streams.errors import RetryLater
from notify_streams.outbox.row_ids import backlog_range, created_ms
from notify_streams.records.ids import delivery_id, ledger_id
from notify_streams.records.outcomes import DeliveryState
from notify_streams.routing.waiting_triggers import unpack_waiting
from notify_streams.stores.mongo import LEDGER, OUTBOX, TIMERS
from notify_streams.stores.mongo_errors import mongo_call
from notify_streams.topics import FORWARDED

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from notify_streams.admin.why.search import Found
    from notify_streams.delivery.attempt_reader import AttemptReader
    from notify_streams.preferences.categories import Categories
    from notify_streams.roles import Channel
    from notify_streams.stores.mongo import Document, Shards

#: Rows of the outbox that are looked through for a message. A row has the messages of one flush.
_MAX_ROWS: Final = 50


class StoryReader:
    """Reads what belongs to the documents of one region."""

    def __init__(
        self,
        region: str,
        shards: Shards,
        attempts: AttemptReader,
        choices: PersonChoices,
        categories: Categories,
        timeout_s: float,
    ) -> None:
        self._region = region
        self._shards = shards
        self._attempts = attempts
        self._choices = choices
        self._categories = categories
        self._timeout_s = timeout_s

    async def notifications(self, found: Found) -> list[Notification]:
        """The notifications with their deliveries. What a shard does not tell is missing, and named in `found.problems`."""
        by_bucket: dict[int, list[Document]] = {}
        for one in found.notifications:
            by_bucket.setdefault(one["bucket"], []).append(one)
        parts = await asyncio.gather(*(self._of_bucket(*item, found.problems) for item in by_bucket.items()))
        return [one for part in parts for one in part]

    async def _of_bucket(self, bucket: int, documents: Sequence[Document], problems: list[str]) -> list[Notification]:
        keys = {
            delivery_key(delivery_id(one["_id"], channel), one["decided_at"].timestamp()): (one, channel)
            for one in documents
            for channel in one["deliveries"]
        }
        try:
            attempts, timers, _ = await asyncio.gather(
                self._attempts.documents(bucket, list(keys)),
                self._timers(bucket, list(keys)),
                self._choices.load(bucket, {one["user_id"] for one in documents}),
            )
            by_key: dict[bytes, list[Document]] = {}
            for attempt in attempts:
                by_key.setdefault(key_of(attempt["_id"]), []).append(attempt)
            unpublished = await self._unpublished(bucket, keys, by_key)
        except RetryLater as error:
            problems.append(str(error))
            by_key, timers, unpublished = {}, {}, {}
        stories: dict[str, list[Delivery]] = {one["_id"]: [] for one in documents}
        for key, (document, channel) in keys.items():
            stories[document["_id"]].append(
                self._delivery(document, channel, by_key.get(key, []), timers.get(key), unpublished.get(key))
            )
        return [self._notification(one, stories[one["_id"]]) for one in documents]

    async def _timers(self, bucket: int, keys: Sequence[bytes]) -> dict[bytes, NextAttempt]:
        with mongo_call(f"the timers of bucket {bucket}", self._timeout_s):
            query = {"bucket": bucket, "_id": {"$in": list(keys)}}
            found = await self._shards.collection(TIMERS, bucket).find(query, {"record": 0}).to_list()
        # Read after the timers, so a claim that is not the owner's is that of an earlier owner, never of a later one.
        owners = await self._owners(bucket, {one["role"] for one in found if one["claim"] is not None})
        return {one["_id"]: _next_attempt(one, owners.get(one["role"])) for one in found}

    async def _owners(self, bucket: int, roles: Collection[str]) -> dict[str, bytes]:
        """The tokens of the workers that own the bucket, by role."""
        if not roles:
            return {}
        with mongo_call(f"the ledgers of bucket {bucket}", self._timeout_s):
            query = {"bucket": bucket, "_id": {"$in": [ledger_id(role, role, bucket) for role in roles]}}
            found = self._shards.collection(LEDGER, bucket).find(query, {"role": 1, "token": 1})
            return {one["role"]: one["token"]["random"] async for one in found if "token" in one}

    async def _unpublished(
        self, bucket: int, keys: dict[bytes, tuple[Document, Channel]], attempts: dict[bytes, list[Document]]
    ) -> dict[bytes, datetime]:
        """Since when messages wait in the outbox, of queued deliveries without an attempt."""
        open_keys = {
            key: delivery_id(document["_id"], channel).encode()
            for key, (document, channel) in keys.items()
            if key not in attempts and document["deliveries"][channel]["state"] == DeliveryState.QUEUED
        }
        found: dict[bytes, datetime] = {}
        if not open_keys:
            return found
        lanes = {document["lane"] for document, _ in keys.values()}
        with mongo_call(f"the outbox of bucket {bucket}", self._timeout_s):
            for lane in lanes:
                query = {"bucket": bucket, "_id": backlog_range(lane, bucket)}
                rows = self._shards.collection(OUTBOX, bucket).find(query, {"records": 1}).limit(_MAX_ROWS)
                async for row in rows:
                    since = datetime.fromtimestamp(created_ms(row["_id"]) / 1000, UTC)
                    found |= {key: since for key, identity in open_keys.items() if identity in row["records"]}
        return found

    def _notification(self, one: Document, deliveries: list[Delivery]) -> Notification:
        copy = one.get("copy", {})
        topic = FORWARDED if "hops" in copy else f"triggers.{one['system']}"
        return Notification(
            region=self._region,
            notification_id=one["_id"],
            trigger_id=one["trigger_id"],
            system=one["system"],
            source=one.get("source", ""),
            user_id=one["user_id"],
            category=one["category"],
            lane=one["lane"],
            entry=entry_of(one, topic),
            decided_at=one["decided_at"],
            preference_version=int(one["preference_version"]),
            deliveries=deliveries,
        )

    def _delivery(
        self,
        one: Document,
        channel: Channel,
        attempts: list[Document],
        next_attempt: NextAttempt | None,
        outbox_since: datetime | None,
    ) -> Delivery:
        stored = one["deliveries"][channel]
        folded = fold(attempts)
        now = stored | status_fields(next(iter(folded.values()))) if folded else stored
        history = [Attempt(**attempt_fields(attempt)) for attempt in attempts]
        history.sort(key=lambda attempt: (attempt.at, attempt.number))
        published = [
            attempt.at - timedelta(milliseconds=attempt.since_published_ms)
            for attempt in history
            if attempt.since_published_ms is not None
        ]
        return Delivery(
            delivery_id=delivery_id(one["_id"], channel),
            channel=channel,
            state=now["state"],
            reason=now.get("reason"),
            why=rule_of(self._categories, one, channel, now, self._choices.of(one["user_id"])),
            published_at=published[0] if published else None,
            in_outbox_since=outbox_since,
            next_attempt=next_attempt,
            history=history,
        )

    def outcomes(self, found: Found) -> list[OtherOutcome]:
        """The triggers that became no notification."""
        return [
            OtherOutcome(
                region=self._region,
                outcome=one["outcome"],
                trigger_id=one["trigger_id"],
                user_id=one["user_id"],
                system=one.get("system"),
                entry=entry_of(one, one["topic"]),
                at=one["at"],
                reason=one.get("reason"),
                detail=one.get("detail"),
                to_region=one.get("region"),
            )
            for one in found.outcomes
        ]

    def waiting(self, found: Found) -> list[Waiting]:
        """The triggers whose user is not known yet."""
        return [
            Waiting(
                region=self._region,
                topic=unpack_waiting(one["record"])[0],
                partition=one["bucket"],
                due_at=one["due_at"],
            )
            for one in found.waiting
        ]


def entry_of(one: Document, topic: str) -> Entry:
    """The place of a notification's or another outcome's trigger."""
    copy: dict[str, Any] = one.get("copy", {})
    copied_from = copy.get("copied_from")
    offset = one.get("offset")
    return Entry(
        topic=topic,
        partition=one["bucket"],
        offset=None if offset is None else int(offset),
        at=one.get("entered_at"),
        copied_from=copied_from,
        copied_because=None if copied_from is None else _copied_because(topic, one["bucket"], copied_from),
        origin_at=copy.get("origin_at"),
        hops=copy.get("hops", 0),
        origin_region=copy.get("origin_region") or None,
        replayed_from=copy.get("replayed_from"),
    )


def _copied_because(topic: str, partition: int, copied_from: str) -> str:
    """A record that waited stays in its partition; one in a wrong partition is copied to another of its topic."""
    from_topic, from_partition, _ = copied_from.rsplit(":", 2)
    if topic == FORWARDED and from_topic != FORWARDED:
        return "forwarded"
    return "waited" if int(from_partition) == partition else "repartitioned"


def _next_attempt(timer: Document, owner: bytes | None) -> NextAttempt:
    """`owner`: the token of the worker that owns the bucket; None: none does, or the timer is not claimed."""
    is_claimed = timer["claim"] is not None
    return NextAttempt(
        number=timer["attempt"] + 1,
        due_at=timer["due_at"],
        under_way=is_claimed and timer["claim"] == owner,
        may_have_begun=is_claimed and timer["claim"] != owner,
        replay=bool(timer["replay"]),
    )
