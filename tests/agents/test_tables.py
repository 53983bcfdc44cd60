"""The tables that roles have, and which users a router knows to be new."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from notify_streams.records.user_records import LocationRecord, encode_record
from notify_streams.stores.shard_clocks import FollowedClocks
from notify_streams.transport import PartitionedTable, ReplicatedTable
from tests.agents.conftest import LoadAgent
from tests.builders import ShardsWithClock
from tests.unit.transport.transport_builders import ARecord


@pytest.mark.parametrize(("role", "kind"), [("critical", PartitionedTable), ("registry", ReplicatedTable)])
def test_a_router_has_the_locations_of_its_partitions(load_agent: LoadAgent, role: str, kind: type) -> None:
    assert type(load_agent(role, "tables.locations").locations) is kind


def test_users_of_the_last_minute_are_recent_whenever_their_record_is_read(load_agent: LoadAgent) -> None:
    module = load_agent("standard", "tables.locations")
    now_ms = int(time.time() * 1000)

    def record(user_id: str, age_s: float, value: bytes | None = encode_record(LocationRecord("u", "us"))) -> ARecord:
        return ARecord(0, user_id.encode(), value, now_ms - int(1000 * age_s))

    module._note_recent([record("long-ago", 3_600), record("before", 90)])
    module._note_recent([record("before", 90), record("new", 30), record("gone", 1, None), record("ahead", -5)])
    names = ("long-ago", "before", "new", "gone", "ahead")
    assert [name in module.recent_users for name in names] == [False, False, True, False, True]


async def test_a_clock_that_is_ahead_makes_no_new_user_an_old_one(load_agent: LoadAgent) -> None:
    """Their contacts may follow: a trigger that does not wait for them reaches no address."""
    module = load_agent("standard", "tables.locations")
    right: Any = ShardsWithClock(lambda: datetime.now(UTC) - timedelta(hours=1))
    module.app.shards.clocks = clocks = FollowedClocks(right, 5.0)
    await clocks.read(0)
    an_hour_ago_ms = int(time.time() * 1000) - 3_600_000
    module._note_recent([ARecord(0, b"new", encode_record(LocationRecord("u", "us")), an_hour_ago_ms)])
    assert "new" in module.recent_users
