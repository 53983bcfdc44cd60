"""Reads dead letters, and sends their records again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

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

    from notify_streams.records.batch import Headers
    from notify_streams.settings import Settings
    from notify_streams.transport import Record


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


async def replay_dead_letters(settings: Settings, letters: Collection[DeadLetter]) -> int:
    """Send the records again to the topics that they came from; they are validated, decided and counted as new ones.

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
    async with TriggerProducer(settings) as producer:
        return await producer.send(
            (
                letter.why["topic"],
                owner_of(letter.value).user_id,
                letter.value,
                (*letter.headers, (REPLAYED_HEADER, letter.place.encode())),
            )
            for letter in letters
        )
