"""`agents.apply_preferences`: durable record first, then rows and copies on their topics, then the acknowledgement."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from notify_streams.errors import PermanentFailure
from notify_streams.preferences.publisher import publisher_for
from notify_streams.preferences.row_codec import encode_row
from notify_streams.preferences.writer import AppliedUpdates
from notify_streams.records.batch import Headers
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.records.outcomes import DeadReason
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import PreferenceUpdate
from notify_streams.registry.signups import none_erased
from notify_streams.secret import Secret
from notify_streams.settings import Settings
from notify_streams.settings_public import PublicSettings
from tests.agents.agent_fakes import FakeEvent, FakeProducer, FakeStore
from tests.agents.conftest import LoadAgent
from tests.builders import NOON, ARecord, a_batch, some_settings, users_of

HERE, ALSO_HERE = users_of(3, 2)
(ELSEWHERE,) = users_of(4, 1)
KEY = "k" * 32
ROW = encode_row(2, {1: {"push": True}})


@dataclass
class FakePreferences(FakeStore):
    """Answers with `ROW` for every user; refuses the category `unknown`. The database never takes the category `unstorable`."""

    applied: list[tuple[int, str]] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)

    async def apply_updates(self, updates: Sequence[tuple[int, PreferenceUpdate]]) -> AppliedUpdates:
        self.called()
        if any(update.category == "unstorable" for _, update in updates):
            raise PermanentFailure("MongoDB refuses the document")
        self.sources += [update.source.value for _, update in updates]
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


async def test_an_update_that_the_database_never_takes_is_a_dead_letter_and_its_neighbours_go_on(
    load_agent: LoadAgent,
) -> None:
    agent = load_agent("registry", "agents.apply_preferences")
    event, writer, producer = (
        an_event(an_update(HERE), an_update(HERE, "unstorable"), an_update(ALSO_HERE)),
        FakePreferences(),
        FakeProducer(),
    )
    async with asyncio.timeout(5):
        await agent.apply_preferences(event, writer, producer, some_settings(), none_erased)
    (dead,) = [record for topic, _, record in producer.published if topic == "dead_letters"]
    assert (dead[1], dict(dead[2])["reason"]) == (event.value.records[1].value, b"bad_record")
    assert writer.applied == [(3, HERE), (3, ALSO_HERE)]
    assert producer.topics.count("preference_rows") == 2 and producer.topics.count("forward.eu") == 2
    assert event.acknowledged == 1


def settings_with(key: str | None, region: str = "us") -> Settings:
    return some_settings(
        region=region, regions=["us", "eu"], public=PublicSettings(address_key=None if key is None else Secret(key))
    )


async def applied_sources(agent: Any, record: ARecord, settings: Settings) -> tuple[list[str], list[ARecord]]:
    """The sources that the writer gets, and the copies for the other region."""
    writer, producer = FakePreferences(), FakeProducer()
    await agent.apply_preferences(an_event(record), writer, producer, settings, none_erased)
    copies = [ARecord(one[1], one[0], one[2]) for topic, _, one in producer.published if topic.startswith("forward.")]
    return writer.sources, copies


async def published(update: PreferenceUpdate, settings: Settings) -> ARecord:
    """What a `PUT`, a page or a webhook writes to the topic."""
    producer = FakeProducer()
    await publisher_for(producer, settings)([(3, update)], {HERE: ROW})
    (record,) = [one for topic, _, one in producer.published if topic == "preference_updates"]
    return ARecord(record[1], record[0], record[2])


SYSTEM_SOURCES = [one for one in ChoiceSource if one.value not in ("app", "api", "import", "cli")]


@pytest.mark.parametrize("source", SYSTEM_SOURCES)
async def test_a_client_that_names_a_source_of_this_system_counts_as_an_application(
    load_agent: LoadAgent, source: ChoiceSource
) -> None:
    """Also if it writes the headers of another region, a proof of another record or one with another key."""
    agent = load_agent("registry", "agents.apply_preferences")
    settings = settings_with(KEY)
    forged = PreferenceUpdate(HERE, "marketing", "push", False, NOON, source)
    real = await published(msgspec.structs.replace(forged, opted_in=True), settings)
    other_key = await published(forged, settings_with("o" * 32))
    for headers in (
        (),
        (("hops", b"1"), ("origin", b"eu")),
        real.headers,
        other_key.headers,
        (("source_proof", None),),
    ):
        record = ARecord(msgspec.json.encode(forged), b"k", headers)
        sources, copies = await applied_sources(agent, record, settings)
        assert sources == ["app"]
        for copy in copies:
            assert (await applied_sources(agent, copy, settings_with(KEY, "eu")))[0] == ["app"]
    assert (await applied_sources(agent, await published(forged, settings), settings_with(None)))[0] == ["app"]


@pytest.mark.parametrize("source", ChoiceSource)
async def test_what_this_system_publishes_keeps_its_source_in_every_region(
    load_agent: LoadAgent, source: ChoiceSource
) -> None:
    """Also if the worker's clock is ahead of Kafka's, so that the time is not the one that was published."""
    agent = load_agent("registry", "agents.apply_preferences")
    here, there = settings_with(KEY), settings_with(KEY, "eu")
    for at in (NOON, NOON + timedelta(days=20_000)):
        record = await published(PreferenceUpdate(HERE, "marketing", "push", False, at, source), here)
        sources, copies = await applied_sources(agent, record, here)
        assert (sources, len(copies)) == ([source.value], 1)
        assert await applied_sources(agent, copies[0], there) == ([source.value], [])


@pytest.mark.parametrize("source", ["app", "api", "import", "cli"])
async def test_a_client_may_name_the_sources_of_applications(load_agent: LoadAgent, source: str) -> None:
    agent = load_agent("registry", "agents.apply_preferences")
    update = PreferenceUpdate(HERE, "marketing", "push", False, NOON, ChoiceSource(source))
    assert (await applied_sources(agent, ARecord(msgspec.json.encode(update)), settings_with(KEY)))[0] == [source]


async def test_a_choice_keeps_its_time_though_the_workers_clock_is_behind(load_agent: LoadAgent) -> None:
    """Dated an hour back it would lose against what the person chose before."""
    chosen: list[datetime] = []

    class Dated(FakePreferences):
        async def apply_updates(self, updates: Sequence[tuple[int, PreferenceUpdate]]) -> AppliedUpdates:
            chosen.extend(update.updated_at for _, update in updates)
            return await super().apply_updates(updates)

    agent = load_agent("registry", "agents.apply_preferences")
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    value = msgspec.json.encode(PreferenceUpdate(HERE, "marketing", "push", False, at))
    event = an_event(ARecord(value, b"any key", timestamp=int(at.timestamp() * 1000)))
    more: dict[str, Any] = {"now": lambda bucket: at + timedelta(seconds=1)}
    await agent.apply_preferences(event, Dated(), FakeProducer(), some_settings(), none_erased, **more)
    assert chosen == [at]
