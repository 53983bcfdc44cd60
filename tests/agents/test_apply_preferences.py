"""`agents.apply_preferences`: durable record first, then the table, then the acknowledgement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from notify_streams.preferences.row_codec import encode_row
from notify_streams.preferences.table_lag import TableLag
from notify_streams.preferences.writer import AppliedUpdates
from notify_streams.records.user_records import PreferenceUpdate
from tests.agents.agent_fakes import FakeEvent, FakeStore, FakeTable
from tests.agents.conftest import LoadAgent
from tests.builders import NOON, ARecord, a_batch


def a_row(version: int) -> bytes:
    return encode_row(version, {1: {"push": True}})


@dataclass
class FakePreferences(FakeStore):
    """Answers with a row of `version` for every user."""

    version: int = 2
    applied: list[tuple[int, str]] = field(default_factory=list)

    async def apply_updates(self, updates: Sequence[tuple[int, PreferenceUpdate]], now: datetime) -> AppliedUpdates:
        self.called()
        self.applied += [(bucket, update.user_id) for bucket, update in updates]
        rows = {update.user_id: a_row(self.version) for _, update in updates}
        return AppliedUpdates(rows, rejected=[], deltas_written=True)


def an_event(*user_ids: str) -> FakeEvent:
    updates = [PreferenceUpdate(user_id, "marketing", "push", True, NOON) for user_id in user_ids]
    records = [ARecord(msgspec.json.encode(update)) for update in updates]
    return FakeEvent(a_batch(*records, b"not JSON", topic="preference_updates"))


async def test_updates_are_stored_then_in_the_table_then_acknowledged(load_agent: LoadAgent) -> None:
    agent = load_agent("standard", "agents.apply_preferences")
    event, writer, table = an_event("ada", "bob"), FakePreferences(), FakeTable()
    await agent.apply_preferences(event, writer, table, TableLag())
    assert writer.applied == [(3, "ada"), (3, "bob")]
    assert table.rows == {(3, b"ada"): a_row(2), (3, b"bob"): a_row(2)}
    assert event.acknowledged == 1


async def test_a_newer_row_of_the_table_stays(load_agent: LoadAgent) -> None:
    agent = load_agent("standard", "agents.apply_preferences")
    event, table = an_event("ada", "bob"), FakeTable({(3, b"ada"): a_row(3), (3, b"bob"): a_row(1)})
    await agent.apply_preferences(event, FakePreferences(), table, TableLag())
    assert table.rows == {(3, b"ada"): a_row(3), (3, b"bob"): a_row(2)}


async def test_the_batch_is_applied_again_until_the_store_answers(load_agent: LoadAgent) -> None:
    agent = load_agent("standard", "agents.apply_preferences")
    event, writer, table = an_event("ada"), FakePreferences(failures=2), FakeTable(failures=1)
    await agent.apply_preferences(event, writer, table, TableLag())
    assert (writer.calls, event.acknowledged) == (3, 1)
    assert table.rows == {(3, b"ada"): a_row(2)}


async def test_a_batch_of_a_lost_partition_is_not_acknowledged(load_agent: LoadAgent) -> None:
    agent = load_agent("standard", "agents.apply_preferences")
    event = an_event("ada")
    await agent.apply_preferences(event, FakePreferences(), FakeTable(owned=False), TableLag())
    assert event.acknowledged == 0


async def test_the_lag_is_the_age_of_the_batch_until_it_is_in_the_table(load_agent: LoadAgent) -> None:
    agent = load_agent("standard", "agents.apply_preferences")
    lag, seen = TableLag(lambda: 10.0), list[float]()

    class Watched(FakePreferences):
        def called(self) -> None:
            seen.append(lag())

    await agent.apply_preferences(an_event("ada"), Watched(), FakeTable(), lag)
    assert (seen, lag()) == ([10.0], 0.0)
