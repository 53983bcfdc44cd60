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

    A later `at` wins; of two different choices with the same `at` the opt-out wins; a repetition changes nothing. A stored choice
    whose time lies ahead of `now` by more than clocks may differ does not win. Each stored change raises the version by one: of two rows of
    a user the higher version is the newer one.
    """
    version = record.version
    changed: dict[int, dict[Channel, Choice]] = {}
    replaced: list[NumberedChoice] = []
    for change in changes:
        channels = changed.get(change.number) or record.choices.get(change.number, {})
        stored = channels.get(change.channel)
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


def in_whole_ms(at: datetime) -> datetime:
    """`at` in the precision that MongoDB stores."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


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
