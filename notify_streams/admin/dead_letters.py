"""Reads dead letters, and sends their records again."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from notify_streams.admin.audit.topics import TopicReader
from notify_streams.admin.trigger_producer import TriggerProducer, owner_of
from notify_streams.errors import Refused
from notify_streams.records.origin import REPLAYED_HEADER
from notify_streams.routing.outcome_records import DEAD_LETTER_HEADERS
from notify_streams.topics import (
    DEAD_LETTERS,
    PREFERENCE_UPDATES,
    RECEIPTS,
    USER_CONTACTS,
    USER_ERASURES,
    USER_SIGNUPS,
    trigger_topics,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from notify_streams.admin.trigger_producer import Upload
    from notify_streams.records.batch import Headers
    from notify_streams.settings import Settings
    from notify_streams.transport import Record

#: Of values that are in memory at once when they are sent again.
_BYTES_AT_ONCE: Final = 16 * 1024 * 1024
_RECORDS_AT_ONCE: Final = 5_000


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter."""

    partition: int
    offset: int
    at: datetime
    #: Why, and of which topic, partition and offset.
    why: dict[str, str]
    key: bytes | None
    value: bytes | None
    #: Those of the record itself.
    headers: Headers

    @property
    def place(self) -> str:
        """``partition:offset`` in the topic `dead_letters`."""
        return f"{self.partition}:{self.offset}"

    @property
    def user_id(self) -> str | None:
        """The user whom the record is about: by its value, else by its key, as of a record that removes; None: neither says."""
        key = (self.key or b"").decode("utf-8", "replace")
        return owner_of(self.value).user_id or (key if key.encode() == self.key else None) or None

    def without_contents(self) -> DeadLetter:
        """For a list: any number of them fits in memory."""
        return replace(self, key=None, value=None, headers=())

    @property
    def is_cut(self) -> bool:
        """Whether the record was too large to be kept whole."""
        return "; cut to its first" in self.why["detail"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters; None selects all."""

    places: Collection[str] | None = None
    reason: str | None = None
    topic: str | None = None
    trigger_id: str | None = None
    since: datetime | None = None

    def selects(self, letter: DeadLetter) -> bool:
        return (
            (self.places is None or letter.place in self.places)
            and self.reason in (None, letter.why["reason"])
            and self.topic in (None, letter.why["topic"])
            and (self.since is None or letter.at >= self.since)
            and (self.trigger_id is None or owner_of(letter.value).id == self.trigger_id)
        )


async def read_dead_letters(settings: Settings, selection: Selection) -> AsyncIterator[DeadLetter]:
    """The dead letters that Kafka still has, in order within a partition.

    Raises:
        StoreUnavailable: Kafka does not answer.
    """
    async with TopicReader(settings) as topics:
        async for place, record in topics.read([DEAD_LETTERS]):
            letter = dead_letter_of(place.partition, record)
            if letter is not None and selection.selects(letter):
                yield letter


def dead_letter_of(partition: int, record: Record) -> DeadLetter | None:
    """The dead letter of a record; None if it has not the headers that one has."""
    added = record.headers[-len(DEAD_LETTER_HEADERS) :]
    if tuple(name for name, _ in added) != DEAD_LETTER_HEADERS:
        return None
    why = {name: (content or b"").decode("utf-8", "replace") for name, content in added}
    at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    return DeadLetter(
        partition, record.offset, at, why, record.key, record.value, record.headers[: -len(DEAD_LETTER_HEADERS)]
    )


async def newest_dead_letters(settings: Settings, selection: Selection, limit: int) -> tuple[int, list[DeadLetter]]:
    """How many there are, and the newest `limit` of them in the order of their times, without contents.

    Raises:
        StoreUnavailable: Kafka does not answer.
    """
    count = 0
    newest: list[tuple[datetime, int, DeadLetter]] = []
    async for letter in read_dead_letters(settings, selection):
        count += 1
        heapq.heappush(newest, (letter.at, count, letter.without_contents()))
        if len(newest) > limit:
            heapq.heappop(newest)
    return count, [letter for _, _, letter in sorted(newest)]


async def replay_dead_letters(settings: Settings, letters: Collection[DeadLetter]) -> int:
    """Send the records again to the topics that they came from; they are validated, decided and counted as new ones.

    `letters` need no contents: these are read again, and are in memory some at a time.

    Returns:
        How many were sent.

    Raises:
        Refused: one was cut, or its topic takes no records of clients; nothing was sent.
        StoreUnavailable, SendError: Kafka does not answer; some may be sent.
    """
    topics = {
        *trigger_topics(settings),
        USER_SIGNUPS,
        USER_CONTACTS,
        USER_ERASURES,
        PREFERENCE_UPDATES,
        RECEIPTS,
    }
    for letter in letters:
        if letter.is_cut:
            raise Refused(f"dead letter {letter.place} has only a part of its record: send it again from its source")
        if letter.why["topic"] not in topics:
            raise Refused(
                f"dead letter {letter.place} is of topic {letter.why['topic']}, to which no record is sent again"
            )
    sent = size = 0
    uploads: list[Upload] = []
    async with TriggerProducer(settings) as producer:
        async for letter in read_dead_letters(settings, Selection({letter.place for letter in letters})):
            uploads.append(_upload(letter))
            size += len(letter.value or b"")
            if size >= _BYTES_AT_ONCE or len(uploads) == _RECORDS_AT_ONCE:
                sent += await producer.send(uploads)
                uploads, size = [], 0
        return sent + await producer.send(uploads)


def _upload(letter: DeadLetter) -> Upload:
    headers = (*letter.headers, (REPLAYED_HEADER, letter.place.encode()))
    return letter.why["topic"], letter.user_id, letter.value, headers
