"""`notify-streams bench why`: how long the story of one trigger takes, among many."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID, uuid4

import msgspec

from devtools.benchmarks.results import Figure, Goal, percentile_figures, report
from devtools.percentiles import percentiles_of
from notify_streams.admin.shards.init import init_shards
from notify_streams.admin.why import By, Question, ask
from notify_streams.cli.output import categories_of, print_progress
from notify_streams.delivery.attempts import Attempt, Phase, Rank, attempt_document, delivery_key
from notify_streams.errors import NotifyError
from notify_streams.outbox.decided_batch import DecidedBatch
from notify_streams.outbox.outcome_notes import notes_of
from notify_streams.records.ids import delivery_id, notification_id
from notify_streams.records.outcomes import DeadReason, DeliveryState
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.periods import end_of_period
from notify_streams.routing.decision import ChannelDecision
from notify_streams.routing.notification_codec import NotificationEncoder
from notify_streams.routing.outcome_records import dead_letter
from notify_streams.stores.mongo import ATTEMPTS, NOTIFICATIONS, OUTCOMES, Shards

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Document

_GOAL: Final = Goal("under", 1000.0)
_AT_ONCE: Final = 2_000
_DAYS: Final = 30
_PEOPLE: Final = 100_000


class _Record(NamedTuple):
    value: bytes
    key: bytes = b""
    headers: Sequence[tuple[str, bytes]] = ()
    offset: int = 0
    timestamp: int = 1_700_000_000_000


class _NoAck:
    """A batch that was never read."""

    def ack(self) -> None:
        return

    def refuse(self, position: int) -> None:
        return

    def current(self) -> bool:
        return True


_DECISIONS: Final = (ChannelDecision("sms", DeliveryState.QUEUED),)


async def measure(settings: Settings, notifications: int, dead: int, questions: int) -> dict[str, Any]:
    settings = msgspec.structs.replace(settings, database=f"bench_{uuid4().hex[:8]}")
    async with Shards(settings) as shards:
        try:
            await init_shards(settings, shards)
            asked = await _fill(settings, shards, notifications, dead, Random(1))
            return report(await _ask(settings, shards, asked, questions), notifications=notifications, dead=dead)
        finally:
            for shard in range(len(shards)):
                await shards.client(shard).drop_database(settings.database)


async def _fill(
    settings: Settings, shards: Shards, notifications: int, dead: int, random: Random
) -> dict[tuple[str, By], list[str]]:
    """Write all; returns what can be asked for."""
    asked: dict[tuple[str, By], list[str]] = {
        ("a trigger", By.TRIGGER): [],
        ("a person", By.PERSON): [],
        ("an SMS of a provider", By.PROVIDER_MESSAGE): [],
        ("a dead letter", By.TRIGGER): [],
        ("an unknown id", By.TRIGGER): [str(uuid4()) for _ in range(1_000)],
    }
    now = datetime.now(UTC).replace(microsecond=0)
    for first in range(0, notifications, _AT_ONCE):
        documents: dict[tuple[str, int], list[Any]] = {}
        for _ in range(_AT_ONCE):
            at = now - timedelta(seconds=random.randrange(_DAYS * 86_400))
            user, trigger, message = (
                f"user-{random.randrange(_PEOPLE)}",
                str(UUID(int=random.getrandbits(128))),
                f"SM{random.getrandbits(128):032x}",
            )
            bucket = bucket_of(user, settings.partitions)
            shard = shards.of(bucket)
            notification, attempt = _story(settings, bucket, at, user, trigger, message)
            documents.setdefault((NOTIFICATIONS, shard), []).append(notification)
            documents.setdefault((ATTEMPTS, shard), []).append(attempt)
        for (name, shard), some in documents.items():
            await shards.database(shard)[name].insert_many(some, ordered=False)
        asked["a trigger", By.TRIGGER].append(trigger)
        asked["a person", By.PERSON].append(user)
        asked["an SMS of a provider", By.PROVIDER_MESSAGE].append(message)
        if first % 100_000 == 0:
            print_progress(f"{first:,} of {notifications:,} notifications")
    asked["a dead letter", By.TRIGGER] = await _fill_dead(settings, shards, dead, now)
    return asked


async def _fill_dead(settings: Settings, shards: Shards, dead: int, now: datetime) -> list[str]:
    ids = []
    for first in range(0, dead, _AT_ONCE):
        bucket = first // _AT_ONCE % settings.partitions
        records = [
            _Record(b'{"id":"%b","user_id":"user-%d"}' % (str(uuid4()).encode(), one), offset=one)
            for one in range(first, first + _AT_ONCE)
        ]
        entries = [
            dead_letter(one, "triggers.payments", bucket, DeadReason.UNKNOWN_CATEGORY, "no such category")
            for one in records
        ]
        batch = DecidedBatch("triggers.payments", bucket, first, first + _AT_ONCE, entries, 0, _NoAck())
        notes = list(notes_of([batch], now))
        await shards.collection(OUTCOMES, bucket).insert_many(notes, ordered=False)
        ids.append(notes[0]["trigger_id"])
        if first % 200_000 == 0:
            print_progress(f"{first:,} of {dead:,} dead letters")
    return ids


async def _ask(
    settings: Settings, shards: Shards, asked: dict[tuple[str, By], list[str]], questions: int
) -> list[Figure]:
    @asynccontextmanager
    async def opened(settings: Settings) -> AsyncIterator[Shards]:
        yield shards

    figures: list[Figure] = []
    for (name, by), ids in asked.items():
        took: list[float] = []
        found = 0
        for number in range(questions):
            began = time.perf_counter()
            question = Question(by, ids[number % len(ids)])
            story = await ask(question, [settings.region], lambda region: settings, categories_of(), None, opened, 5.0)
            took.append(time.perf_counter() - began)
            found += not story.is_empty
        if found != (0 if name == "an unknown id" else questions):
            raise NotifyError(f"{name}: {found} of {questions} were found")
        figures += percentile_figures(f"why of {name}", percentiles_of(took), _GOAL)
    return figures


def _story(
    settings: Settings, bucket: int, at: datetime, user: str, trigger: str, message: str
) -> tuple[Any, Document]:
    """A notification and its attempt."""
    period_s = settings.retention.period_s
    encoder = NotificationEncoder(bucket, settings.region, False, at, end_of_period(at, period_s), period_s)
    identity = notification_id(trigger, user, "payments")
    at_ms = int(at.timestamp()) * 1000
    notification = encoder.encode(
        identity, trigger, user.encode(), "payments", "", "payments", 1, _DECISIONS, 1, 1, at_ms, {}
    )
    attempt = Attempt(Rank.SENT, at_ms, None, "twilio", message, "201", to="+1*42", took_ms=30, since_published_ms=9)
    key = delivery_key(delivery_id(identity, "sms"), at.timestamp())
    return notification, attempt_document(key, bucket, 1, Phase.CALL, b"own", attempt)
