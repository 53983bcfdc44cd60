"""What stops messages: what is written, for whom, and what is refused."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from notify_streams.errors import Refused
from notify_streams.preferences.choices import EMPTY_RECORD, PreferenceRecord, merge
from notify_streams.preferences.row_codec import EMPTY_ROW, encode_row
from notify_streams.preferences.stops import Stops, fitting_detail
from notify_streams.preferences.suppressed_addresses import (
    SUPPRESSION_NUMBERS,
    SUPPRESSION_REASONS,
    AddressIds,
    number_of,
    suppression_in,
)
from notify_streams.preferences.writer import PreferenceWriter, StoredChoice
from notify_streams.records.address_ids import address_id
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.records.outcomes import Reason
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.user_records import ALL
from tests.unit.preferences.preference_builders import NOON, the_categories

KEY = b"k" * 32


@dataclass
class WriterThatNotes:
    taken: list[Any] = field(default_factory=list)

    async def put(self, *choice: Any, immediate: bool = True) -> StoredChoice:
        *head, _now, source, detail = choice
        self.taken.append((*head, source, detail))
        return StoredChoice(1, NOON)


@pytest.fixture
def writer() -> WriterThatNotes:
    return WriterThatNotes()


@pytest.fixture
def stops(writer: Any) -> Stops:
    return Stops(writer, the_categories(), 8, AddressIds(KEY, 8))


async def test_a_choice_is_written_with_its_source(stops: Stops, writer: WriterThatNotes) -> None:
    await stops.stop_choice("u-1", "marketing", "email", ChoiceSource.ONE_CLICK, "n-1.email")
    await stops.stop_choice("u-1", ALL, ALL, ChoiceSource.PREFERENCE_PAGE)
    bucket = bucket_of("u-1", 8)
    assert writer.taken == [
        ("u-1", bucket, "marketing", "email", False, ChoiceSource.ONE_CLICK, "n-1.email"),
        ("u-1", bucket, ALL, ALL, False, ChoiceSource.PREFERENCE_PAGE, ""),
    ]


@pytest.mark.parametrize(
    ("category", "channel"), [("security", "email"), ("marketing", "sms"), ("spam", "email"), ("spam", ALL)]
)
async def test_what_nobody_can_turn_off_is_refused(
    stops: Stops, writer: WriterThatNotes, category: str, channel: Any
) -> None:
    assert not stops.can_be_turned_off(category, channel)
    with pytest.raises(Refused):
        await stops.stop_choice("u-1", category, channel, ChoiceSource.ONE_CLICK)
    assert not writer.taken


async def test_an_address_is_written_under_its_hash(stops: Stops, writer: WriterThatNotes) -> None:
    await stops.suppress_address("sms", "+15550100200", "stopped", "SM1")
    await stops.suppress_address("sms", "+15550100200", "stopped", "n-1.sms", ChoiceSource.PROVIDER_OPT_OUT)
    await stops.suppress_address("email", "Ann@example.org", "complaint", "e-1")
    await stops.allow_address("sms", "+15550100200", "SM2")
    phone, mail = address_id(KEY, "sms", "+15550100200"), address_id(KEY, "email", "ann@example.org")
    at = bucket_of(phone, 8)
    assert writer.taken == [
        (phone, at, "stopped", "sms", False, ChoiceSource.SMS_KEYWORD, "SM1"),
        (phone, at, "stopped", "sms", False, ChoiceSource.PROVIDER_OPT_OUT, "n-1.sms"),
        (mail, bucket_of(mail, 8), "complaint", "email", False, ChoiceSource.COMPLAINT, "e-1"),
        (phone, at, "stopped", "sms", True, ChoiceSource.SMS_KEYWORD, "SM2"),
    ]


class RecordsInMemory:
    """Records of addresses, merged as the repository does."""

    def __init__(self) -> None:
        self.records: dict[str, PreferenceRecord] = {}

    async def read_earlier(self, bucket: int, user_id: str) -> PreferenceRecord:
        return self.records.get(user_id, EMPTY_RECORD)

    async def apply(self, changes: Any, then: Any) -> dict[str, PreferenceRecord]:
        for _, user_id, change in changes:
            self.records[user_id] = merge(self.records.get(user_id, EMPTY_RECORD), [change], datetime.now(UTC))
        await then(self.records)
        return self.records

    async def write(self, rows: Any) -> None:
        return

    async def publish(self, updates: Any, rows: Any) -> None:
        return


async def test_a_start_that_is_older_than_the_stop_does_not_take_it_back() -> None:
    stored: Any = RecordsInMemory()
    bound: Any = None
    writer = PreferenceWriter(stored, stored, bound, the_categories(), stored.publish, stored)
    stops = Stops(writer, the_categories(), 8, AddressIds(KEY, 8))
    number = "+15550100200"

    def why() -> Reason | None:
        return suppression_in(stored.records[address_id(KEY, "sms", number)].row(), "sms")

    await stops.suppress_address("sms", number, "stopped", "SM2")
    await stops.allow_address("sms", number, "SM1", at=datetime.now(UTC) - timedelta(minutes=1))
    assert why() is Reason.STOPPED
    await stops.allow_address("sms", number, "SM3")
    assert why() is None
    await stops.suppress_address("sms", number, "stopped", "SM4")
    assert why() is Reason.STOPPED


def test_a_detail_that_does_not_fit_has_a_digest_of_its_own() -> None:
    fitting = [fitting_detail(detail) for detail in ("SM1", "a" * 300, "b" * 300, "c\n", "\ud800")]
    assert fitting[0] == "SM1" and all(map(fitting_detail, fitting))
    assert len(set(fitting)) == 5 and [fitting_detail(one) for one in fitting] == fitting


async def test_without_a_key_no_address_is_written(writer: Any) -> None:
    stops = Stops(writer, the_categories(), 8, None)
    assert not stops.suppresses_addresses
    with pytest.raises(Refused, match="address_key"):
        await stops.suppress_address("sms", "+15550100200", "stopped")
    assert not writer.taken


@pytest.mark.parametrize(("number", "reason"), SUPPRESSION_REASONS.items())
def test_a_row_of_an_address_says_why_nothing_is_sent(number: int, reason: Reason) -> None:
    assert number_of(reason) == number
    assert suppression_in(encode_row(1, {number: {"sms": False}}), "sms") is reason
    assert suppression_in(encode_row(2, {number: {"sms": True}}), "sms") is None
    assert suppression_in(encode_row(1, {number: {"sms": False}}), "email") is None
    assert suppression_in(EMPTY_ROW, "sms") is None


def test_no_category_has_the_number_of_a_suppression() -> None:
    used = {category.number for category in the_categories().values()}
    assert not used & set(SUPPRESSION_NUMBERS.values())
