"""A person's choices and how a change joins them: the latest wins, whatever the order of arrival. Values in, values out.

Times are compared in whole milliseconds, which is what the durable record keeps.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams.preferences.row_codec import compile_row
from notify_streams.roles import Channel

if TYPE_CHECKING:
    from collections.abc import Iterable

#: An update from further ahead than this is refused: it would win over everything the person chooses until then.
FUTURE_LIMIT: Final = timedelta(minutes=5)
_TICK: Final = timedelta(milliseconds=1)


class Choice(msgspec.Struct, frozen=True, gc=False):
    """What a person chose for a channel of a category, when, and the record's version since which it holds."""

    opted_in: bool
    at: datetime
    version: int


class ChoiceChange(msgspec.Struct, frozen=True, gc=False):
    """A wish to set one choice."""

    #: The category's number.
    number: int
    channel: Channel
    opted_in: bool
    at: datetime
    #: The person asks for it now, so it wins over whatever is stored, even if another machine's clock ran ahead when that was stored.
    by_hand: bool = False


class PreferenceRecord(msgspec.Struct, frozen=True):
    """All choices of one person, by category number and channel."""

    version: int = 0
    choices: dict[int, dict[Channel, Choice]] = {}

    def row(self) -> bytes:
        """The compiled row."""
        chosen = {
            number: {channel: choice.opted_in for channel, choice in channels.items()}
            for number, channels in self.choices.items()
        }
        return compile_row(self.version, chosen)


EMPTY_RECORD: Final = PreferenceRecord()


def merge(record: PreferenceRecord, changes: Iterable[ChoiceChange]) -> PreferenceRecord:
    """The record with those changes that win; the very same object if none does.

    A later `at` wins; of two different choices with the same `at` the opt-out wins; a repetition changes nothing. Each change that
    is stored raises the version by one, so the version says which of two rows of a person is newer.
    """
    version = record.version
    touched: dict[int, dict[Channel, Choice]] = {}
    for change in changes:
        channels = touched.get(change.number) or record.choices.get(change.number, {})
        at = _winning_time(channels.get(change.channel), change)
        if at is None:
            continue
        version += 1
        touched[change.number] = channels | {change.channel: Choice(change.opted_in, at, version)}
    if not touched:
        return record
    return PreferenceRecord(version, record.choices | touched)


def in_whole_ms(at: datetime) -> datetime:
    """`at` as precisely as it is stored."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _winning_time(stored: Choice | None, change: ChoiceChange) -> datetime | None:
    at = in_whole_ms(change.at)
    if stored is None or at > stored.at:
        return at
    if change.by_hand:
        return stored.at + _TICK
    if at == stored.at and stored.opted_in and not change.opted_in:
        return at
    return None
