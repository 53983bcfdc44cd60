"""`agents.apply_preferences`: durable record first, then rows and copies on their topics, then the acknowledgement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import pytest

from notify_streams.preferences.row_codec import encode_row
from notify_streams.preferences.writer import AppliedUpdates
from notify_streams.records.batch import Headers
from notify_streams.records.outcomes import DeadReason
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import PreferenceUpdate
from notify_streams.registry.signups import none_erased
from tests.agents.agent_fakes import FakeEvent, FakeProducer, FakeStore
from tests.agents.conftest import LoadAgent
from tests.builders import NOON, ARecord, a_batch, some_settings, users_of

HERE, ALSO_HERE = users_of(3, 2)
(ELSEWHERE,) = users_of(4, 1)
ROW = encode_row(2, {1: {"push": True}})


@dataclass
class FakePreferences(FakeStore):
    """Answers with `ROW` for every user; refuses the category `unknown`."""

    applied: list[tuple[int, str]] = field(default_factory=list)

    async def apply_updates(self, updates: Sequence[tuple[int, PreferenceUpdate]]) -> AppliedUpdates:
        self.called()
        self.applied += [(bucket, update.user_id) for bucket, update in updates]
        refused = [index for index, (_, update) in enumerate(updates) if update.category == "unknown"]
        rejections = [(index, Rejection(DeadReason.UNKNOWN_CATEGORY, "no such category")) for index in refused]
        rows = {update.user_id: ROW for _, update in updates if update.category != "unknown"}
        return AppliedUpdates(rows, rejections, deltas_written=True)


def an_update(user_id: str, category: str = "marketing", headers: Headers = ()) -> ARecord:
    return ARecord(msgspec.json.encode(PreferenceUpdate(user_id, category, "push", True, NOON)), b"any key", headers)


def an_event(*records: ARecord | bytes) -> FakeEvent:
    return FakeEvent(a_batch(*records, topic="preference_updates"))


async def test_updates_are_stored_and_their_rows_and_copies_published(load_agent: LoadAgent) -> None:
    agent = load_agent("registry", "agents.apply_preferences")
    event, writer, producer = an_event(an_update(HERE), an_update(ALSO_HERE)), FakePreferences(), FakeProducer()
    await agent.apply_preferences(event, writer, producer, some_settings(), none_erased)
    assert writer.applied == [(3, HERE), (3, ALSO_HERE)]
    rows = [(partition, *record) for topic, partition, record in producer.published if topic == "preference_rows"]
    assert rows == [(3, HERE.encode(), ROW, ()), (3, ALSO_HERE.encode(), ROW, ())]
    assert producer.topics[2:] == ["forward.eu", "forward.eu", "forward.asia", "forward.asia"]
    assert event.acknowledged == 1


async def test_an_update_that_another_region_sent_is_not_copied_again(load_agent: LoadAgent) -> None:
    agent = load_agent("registry", "agents.apply_preferences")
    event = an_event(an_update(HERE, headers=(("hops", b"1"), ("origin", b"eu"))))
    producer = FakeProducer()
    await agent.apply_preferences(event, FakePreferences(), producer, some_settings(), none_erased)
    assert (producer.topics, event.acknowledged) == (["preference_rows"], 1)


async def test_an_update_in_a_foreign_partition_is_published_in_its_users_bucket(load_agent: LoadAgent) -> None:
    agent = load_agent("registry", "agents.apply_preferences")
    record, writer, producer = an_update(ELSEWHERE), FakePreferences(), FakeProducer()
    event = an_event(record)
    await agent.apply_preferences(event, writer, producer, some_settings(), none_erased)
    ((topic, partition, (key, value, headers)),) = producer.published
    assert (topic, partition, key, value) == ("preference_updates", 4, ELSEWHERE.encode(), record.value)
    assert dict(headers) == {"source": b"preference_updates:3:0", "origin_ms": b"0"}
    assert (writer.applied, event.acknowledged) == ([], 1)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (ARecord(b"not JSON"), b"not_json"),
        (an_update(HERE, "unknown"), b"unknown_category"),
        (an_update(HERE, headers=(("h", b"x" * 200_000),)), b"too_large"),
    ],
    ids=["undecodable", "unknown category", "huge headers"],
)
async def test_an_update_that_cannot_be_applied_is_a_dead_letter_and_stops_nobody(
    load_agent: LoadAgent, record: ARecord, reason: bytes
) -> None:
    agent = load_agent("registry", "agents.apply_preferences")
    event, producer = an_event(record, an_update(ALSO_HERE)), FakeProducer()
    await agent.apply_preferences(event, FakePreferences(), producer, some_settings(), none_erased)
    (dead,) = [record for topic, _, record in producer.published if topic == "dead_letters"]
    assert dead[:2] == (record.key, record.value)
    assert dict(dead[2])["reason"] == reason
    assert [record[0] for topic, _, record in producer.published if topic == "preference_rows"] == [ALSO_HERE.encode()]
    assert event.acknowledged == 1


async def test_the_batch_is_applied_again_until_the_store_answers(load_agent: LoadAgent) -> None:
    agent = load_agent("registry", "agents.apply_preferences")
    event, writer, producer = an_event(an_update(HERE)), FakePreferences(failures=2), FakeProducer(failures=1)
    await agent.apply_preferences(event, writer, producer, some_settings(), none_erased)
    assert (writer.calls, event.acknowledged) == (3, 1)
    assert "preference_rows" in producer.topics
