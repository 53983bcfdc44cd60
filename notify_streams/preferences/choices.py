"""A user's choices and how changes are merged: the latest wins.

Times are compared in whole milliseconds, the precision of the preference record.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams.preferences.row_codec import encode_row
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.records.user_records import MAX_CLOCK_SKEW
from notify_streams.roles import Channel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MILLISECOND: Final = timedelta(milliseconds=1)


class Choice(msgspec.Struct, frozen=True, gc=False):
    """A user's choice for one category and channel, and the record's version since which it holds."""

    opted_in: bool
    at: datetime
    version: int
    source: ChoiceSource = ChoiceSource.APP
    #: See `PreferenceUpdate.detail`.
    detail: str = ""


class ChoiceChange(msgspec.Struct, frozen=True, gc=False):
    """A request to set one choice."""

    #: The category's number.
    number: int
    channel: Channel
    opted_in: bool
    at: datetime
    #: The user chooses it now, so it wins even over a stored choice with a later time, from a machine whose clock was ahead.
    immediate: bool = False
    source: ChoiceSource = ChoiceSource.APP
    detail: str = ""
    #: Of a change that was published before it is stored: the record's version before that. The same choice in a later version of the
    #: record is this change, stored by a reader of the topic.
    published_after: int | None = None


#: Category number, channel, choice.
NumberedChoice = tuple[int, Channel, Choice]


class PreferenceRecord(msgspec.Struct, frozen=True):
    """All choices of one user, by category number and channel."""

    version: int = 0
    choices: dict[int, dict[Channel, Choice]] = {}
    #: Choices that a later one of the same `merge` replaced, so that they are in no earlier record.
    replaced: tuple[NumberedChoice, ...] = ()

    def numbered(self) -> Iterator[NumberedChoice]:
        """All choices, the replaced ones too."""
        yield from self.replaced
        for number, channels in self.choices.items():
            for channel, choice in channels.items():
                yield number, channel, choice

    def row(self) -> bytes:
        """The record as a row."""
        return encode_row(
            self.version,
            {
                number: {channel: choice.opted_in for channel, choice in channels.items()}
                for number, channels in self.choices.items()
            },
        )


EMPTY_RECORD: Final = PreferenceRecord()


def merge(record: PreferenceRecord, changes: Iterable[ChoiceChange], now: datetime) -> PreferenceRecord:
    """The record with the changes that win; the same object if none does.

    A later `at` wins; of two different choices with the same `at` the opt-out wins; a repetition changes nothing, nor does a change that
    was published and is stored (`ChoiceChange.published_after`). A stored choice whose time lies ahead of `now` by more than clocks may
    differ does not win. Each stored change raises the version by one: of two rows of
    a user the higher version is the newer one.
    """
    version = record.version
    changed: dict[int, dict[Channel, Choice]] = {}
    replaced: list[NumberedChoice] = []
    for change in changes:
        channels = changed.get(change.number) or record.choices.get(change.number, {})
        stored = channels.get(change.channel)
        if stored is not None and _is_stored(change, stored, record.version):
            continue
        at = _winning_time(stored, change, now)
        if at is None:
            continue
        if stored is not None and stored.version > record.version:
            replaced.append((change.number, change.channel, stored))
        version += 1
        choice = Choice(change.opted_in, at, version, change.source, change.detail)
        changed[change.number] = channels | {change.channel: choice}
    if not changed:
        return record
    return PreferenceRecord(version, record.choices | changed, tuple(replaced))


def to_publish(record: PreferenceRecord, changes: Iterable[ChoiceChange], now: datetime) -> list[ChoiceChange]:
    """The changes with the times that `merge` would store, so that merging them anywhere, at any time, gives the same choices.

    A change that loses against one before it is left out. Of those of a category and channel only the last that wins stays immediate.
    """
    found: list[ChoiceChange] = []
    winners: dict[tuple[int, Channel], int] = {}
    for change in changes:
        key = (change.number, change.channel)
        if (earlier := winners.get(key)) is None:
            stored = record.choices.get(change.number, {}).get(change.channel)
        else:
            stored = Choice(found[earlier].opted_in, found[earlier].at, 0)
        at = _winning_time(stored, change, now)
        if earlier is not None:
            if at is None:
                continue
            found[earlier] = msgspec.structs.replace(found[earlier], immediate=False, published_after=None)
        if at is not None:
            winners[key] = len(found)
        found.append(msgspec.structs.replace(change, at=at or in_whole_ms(change.at), published_after=record.version))
    return found


def in_whole_ms(at: datetime) -> datetime:
    """`at` in the precision that MongoDB stores."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _is_stored(change: ChoiceChange, stored: Choice, version: int) -> bool:
    """Whether `stored`, of a record of this version, is the change. Its time may be an earlier one: see `read_preference_update`."""
    return (
        change.published_after is not None
        and change.published_after < stored.version <= version
        and (stored.opted_in, stored.source, stored.detail) == (change.opted_in, change.source, change.detail)
    )


def _winning_time(stored: Choice | None, change: ChoiceChange, now: datetime) -> datetime | None:
    """The time to store with the change; None if the stored choice wins."""
    at = in_whole_ms(change.at)
    if stored is None or at > stored.at or stored.at > now + MAX_CLOCK_SKEW:
        return at
    if change.immediate:
        return stored.at + _MILLISECOND
    if at == stored.at and stored.opted_in and not change.opted_in:
        return at
    return None
