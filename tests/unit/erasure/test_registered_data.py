"""The steps for what is known of a person now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from notify_streams.erasure.registered_data import RegisteredData
from notify_streams.erasure.store import OpenErasure
from notify_streams.errors import RetryLater
from notify_streams.preferences.choices import Choice, PreferenceRecord
from notify_streams.preferences.erased_users import ERASED_NUMBER
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.records.user_records import Contacts
from notify_streams.registry.user import User
from notify_streams.secret import Secret
from notify_streams.settings import EdgePopSettings
from tests.agents.agent_fakes import FakeProducer
from tests.builders import NOON, contacts, some_settings

ANN = OpenErasure("person:1f", "ann", 3, datetime(2026, 11, 28, tzinfo=UTC), frozenset())
OUT, IN = Choice(False, NOON, 1), Choice(True, NOON, 2)
CHOICES = PreferenceRecord(2, {1: {"email": OUT, "push": IN}, ERASED_NUMBER: {"sms": OUT}})
EDGE = [EdgePopSettings("fra", "http", "http://127.0.0.1:1", Secret("t" * 16))]


@dataclass
class FakeStores:
    """Registry, contacts, preference records and suppressed addresses of one person."""

    row: User | None = field(default_factory=lambda: User("ann", "us", 4, NOON))
    held: Contacts | None = field(default_factory=lambda: contacts("ann"))
    record: PreferenceRecord = CHOICES
    suppressed: list[tuple[str, str, str, ChoiceSource]] = field(default_factory=list)
    #: The row changes between its reading and its deletion.
    changes: bool = False

    async def get(self, user_id: str) -> User | None:
        return self.row

    async def delete(self, first: Any, second: Any) -> bool:
        if first == "ann":
            assert self.row is not None and second == self.row.version
            self.row = None if not self.changes else self.row
        else:
            assert (first, second) == (3, "ann")
            self.held = None
        return not self.changes

    async def read(self, buckets: Mapping[str, int]) -> dict[str, Contacts]:
        return {} if self.held is None else {"ann": self.held}

    async def record_of(self, user_id: str, bucket: int) -> PreferenceRecord:
        return self.record

    async def forget(self, user_id: str, bucket: int) -> None:
        self.record = PreferenceRecord()

    async def suppress_address(self, channel: str, address: str, why: str, detail: str, source: ChoiceSource) -> None:
        assert self.held is not None, "once the contacts are gone, a repetition would not know the address"
        assert "ann" not in detail
        self.suppressed.append((channel, address, why, source))


def steps(stores: Any, producer: FakeProducer | None = None) -> RegisteredData:
    settings = some_settings(edge=EDGE)
    return RegisteredData(
        settings, stores, stores, stores, stores, producer or FakeProducer(), lambda user_id: user_id == "ann"
    )


async def run(stores: FakeStores, name: str, producer: FakeProducer | None = None) -> int:
    """Make one step; returns what it found."""
    counts: list[int] = []

    async def note(count: int) -> None:
        counts.append(count)

    await getattr(steps(stores, producer), name)(ANN, note)
    (found,) = counts
    return found


async def test_the_registrys_row_is_deleted_and_counted_once() -> None:
    stores = FakeStores()
    assert [await run(stores, "registry"), await run(stores, "registry")] == [1, 0]
    assert stores.row is None


async def test_a_row_that_changed_is_deleted_later() -> None:
    with pytest.raises(RetryLater):
        await run(FakeStores(changes=True), "registry")


async def test_locations_and_points_of_presence_get_records_without_a_value() -> None:
    producer = FakeProducer()
    assert await run(FakeStores(), "locations", producer) == 1
    assert producer.published == [(topic, 3, (b"ann", None, ())) for topic in ("user_locations", "edge.fra")]


async def test_only_an_address_on_which_something_was_stopped_is_suppressed() -> None:
    stores, producer = FakeStores(), FakeProducer()
    assert await run(stores, "contacts", producer) == 1
    assert stores.suppressed == [("email", "ann@example.org", "stopped", ChoiceSource.ERASURE)]
    assert stores.held is None and producer.published == [("contact_rows", 3, (b"ann", None, ()))]
    assert await run(stores, "contacts", producer) == 0


async def test_choices_are_counted_without_the_mark_of_the_erasure_itself() -> None:
    stores, producer = FakeStores(), FakeProducer()
    assert await run(stores, "preferences", producer) == 2
    assert stores.record.choices == {} and producer.topics == ["preference_rows"]


async def test_a_topic_that_does_not_answer_leaves_the_step_undone() -> None:
    with pytest.raises(RetryLater, match="user_locations"):
        await run(FakeStores(), "locations", FakeProducer(failures=1))
