"""The latest choice wins, in whatever order choices arrive."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.preferences import choices
from notify_streams.preferences.choices import EMPTY_RECORD, Choice, ChoiceChange, PreferenceRecord
from notify_streams.preferences.consents import replaced_choices
from notify_streams.preferences.mongo_document import record_of
from notify_streams.preferences.row_codec import decode_row
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.roles import CHANNELS
from tests.unit.preferences.preference_builders import NOON, a_change, later

MICROSECONDS = st.integers(0, 5_000)
CHANGES = st.lists(
    st.builds(
        lambda number, channel, opted_in, us: a_change(
            number=number, channel=channel, opted_in=opted_in, at=NOON + timedelta(microseconds=us)
        ),
        st.integers(0, 2),
        st.sampled_from(CHANNELS),
        st.booleans(),
        MICROSECONDS,
    ),
    max_size=12,
)


def merge(record: PreferenceRecord, changes: Iterable[ChoiceChange]) -> PreferenceRecord:
    return choices.merge(record, changes, later(60))


def what_holds(record: PreferenceRecord) -> dict[Any, Any]:
    return {
        (number, channel): (choice.opted_in, choice.at)
        for number, channels in record.choices.items()
        for channel, choice in channels.items()
    }


@given(CHANGES, st.randoms())
def test_the_order_of_arrival_does_not_matter(changes: Any, random: Any) -> None:
    shuffled = random.sample(changes, len(changes))
    assert what_holds(merge(EMPTY_RECORD, changes)) == what_holds(merge(EMPTY_RECORD, shuffled))


@given(CHANGES, st.integers(0, 12))
def test_one_batch_or_two_come_to_the_same(changes: Any, cut: Any) -> None:
    one, two = merge(EMPTY_RECORD, changes), merge(merge(EMPTY_RECORD, changes[:cut]), changes[cut:])
    assert (two.version, two.choices) == (one.version, one.choices)


@given(CHANGES, st.integers(0, 12))
def test_each_choice_that_ever_held_is_in_one_of_two_records(changes: Any, cut: Any) -> None:
    first = merge(EMPTY_RECORD, changes[:cut])
    second = merge(first, changes[cut:])
    known = {choice.version for record in (first, second) for _, _, choice in record.numbered()}
    assert known == set(range(1, second.version + 1))
    if second is not first:
        kept = {choice.version for _, _, choice in second.numbered()}
        assert {choice.version for _, _, choice in replaced_choices(first, second)} == (
            {choice.version for _, _, choice in first.numbered()} - kept
        )


@given(CHANGES)
def test_a_repeated_batch_changes_nothing(changes: Any) -> None:
    once = merge(EMPTY_RECORD, changes)
    assert merge(once, changes) is once


@given(CHANGES)
def test_the_version_rises_with_every_record_that_differs(changes: Any) -> None:
    record = EMPTY_RECORD
    for change in changes:
        after = merge(record, [change])
        assert (after.version == record.version) == (what_holds(after) == what_holds(record))
        assert after.version in (record.version, record.version + 1)
        record = after


@given(CHANGES, st.booleans(), MICROSECONDS)
def test_a_choice_by_hand_wins_whatever_is_stored(changes: Any, opted_in: Any, us: Any) -> None:
    immediate = a_change(opted_in=opted_in, at=NOON + timedelta(microseconds=us), immediate=True)
    before = merge(EMPTY_RECORD, changes)
    after = merge(before, [immediate])
    assert after.choices[1]["push"].opted_in is opted_in
    assert after.version == before.version + 1
    assert all(change.at <= after.choices[1]["push"].at + timedelta(milliseconds=1) for change in [immediate])


@given(CHANGES, CHANGES, st.lists(st.booleans(), min_size=12, max_size=12))
def test_what_is_published_is_what_is_stored(earlier: Any, changes: Any, by_hand: Any) -> None:
    before, now = merge(EMPTY_RECORD, earlier), later(60)
    changes = with_immediate(changes, by_hand)
    assert choices.merge(before, choices.to_publish(before, changes, now), now) == choices.merge(before, changes, now)


@given(CHANGES, CHANGES, st.lists(st.booleans(), min_size=12, max_size=12), st.integers(0, 12))
def test_a_reader_of_the_topic_may_store_any_part_of_it_first(
    earlier: Any, changes: Any, by_hand: Any, cut: int
) -> None:
    before, now = merge(EMPTY_RECORD, earlier), later(60)
    published = choices.to_publish(before, with_immediate(changes, by_hand), now)
    read = [msgspec.structs.replace(one, immediate=False, published_after=None) for one in published]
    alone = choices.merge(before, published, now)
    after = choices.merge(choices.merge(before, read[:cut], now), published, now)
    assert decode_row(after.row())[1] == decode_row(alone.row())[1], "the same choices, perhaps in another version"
    at_last = choices.merge(after, read, now)
    assert (at_last.version, what_holds(at_last)) == (alone.version, what_holds(alone))


def with_immediate(changes: Any, by_hand: Any) -> list[ChoiceChange]:
    return [msgspec.structs.replace(one, immediate=hand) for one, hand in zip(changes, by_hand, strict=False)]


def test_an_equal_choice_that_was_stored_before_the_publication_is_another_one() -> None:
    before = merge(EMPTY_RECORD, [a_change(at=NOON)])
    (published,) = choices.to_publish(before, [a_change(at=later(1), immediate=True)], later(60))
    assert merge(before, [published]).version == 2


def test_an_older_update_that_arrives_late_changes_nothing() -> None:
    now = merge(EMPTY_RECORD, [a_change(opted_in=True, at=later(2))])
    assert merge(now, [a_change(opted_in=False, at=later(1))]) is now


def test_a_repetition_under_another_source_changes_nothing() -> None:
    stored = choices.merge(EMPTY_RECORD, [a_change(source=ChoiceSource.ONE_CLICK, detail="n-1")], NOON)
    assert choices.merge(stored, [a_change(source=ChoiceSource.APP)], NOON) is stored


def test_the_opt_out_wins_a_tie() -> None:
    both = [a_change(opted_in=True), a_change(opted_in=False)]
    assert merge(EMPTY_RECORD, both).choices[1]["push"].opted_in is False
    assert merge(EMPTY_RECORD, both[::-1]).choices[1]["push"].opted_in is False


def test_a_choice_by_hand_moves_past_a_clock_that_ran_ahead() -> None:
    ahead = merge(EMPTY_RECORD, [a_change(opted_in=True, at=later(90))])
    chosen = merge(ahead, [a_change(opted_in=False, at=NOON, immediate=True)]).choices[1]["push"]
    assert chosen == Choice(False, later(90.001), 2)


def test_each_choice_knows_the_version_since_which_it_holds() -> None:
    record = merge(
        EMPTY_RECORD, [a_change(channel="push"), a_change(channel="sms"), a_change(channel="push", at=later(1))]
    )
    assert (record.choices[1]["sms"].version, record.choices[1]["push"].version, record.version) == (2, 3, 3)


@given(st.integers(301, 10**9), st.booleans())
def test_a_stored_choice_from_the_future_does_not_win_for_good(ahead_s: int, opted_in: bool) -> None:
    stored = PreferenceRecord(1, {1: {"push": Choice(not opted_in, later(ahead_s), 1)}})
    chosen = choices.merge(stored, [a_change(opted_in=opted_in, at=NOON)], NOON).choices[1]["push"]
    assert chosen == Choice(opted_in, NOON, 2)


def test_a_choice_from_a_source_of_a_later_release_counts() -> None:
    stored = {"in": False, "at": NOON, "v": 3, "s": "carrier_list", "d": "m-1"}
    record = record_of({"version": 3, "choices": {"1": {"push": stored}}, "replaced": [[1, "push", stored]]})
    assert record.choices[1]["push"] == Choice(False, NOON, 3, ChoiceSource.APP, "m-1")
    assert record.replaced == ((1, "push", record.choices[1]["push"]),)
