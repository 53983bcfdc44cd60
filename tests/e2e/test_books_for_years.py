"""A region that keeps records and notifications for a minute, for five minutes: the audit holds throughout, and finds each seeded defect."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from typing import Any, Final

import pytest
import pytest_asyncio

from notify_streams.admin.audit import audit
from notify_streams.stores.mongo import ATTEMPTS, NOTIFICATIONS, Shards
from tests.e2e import test_audit as seeded
from tests.e2e.processes import until
from tests.e2e.running_region import USERS, RunningRegion, start_region
from tests.local_services import own_stack

pytestmark = [
    pytest.mark.stack,
    pytest.mark.drill,
    pytest.mark.timeout(1200),
    pytest.mark.asyncio(loop_scope="session"),
]

KEPT_S: Final = 60
MINUTE = str(KEPT_S / 3600)
SHORT = {
    "NOTIFY_RETENTION__TOPICS_H": MINUTE,
    "NOTIFY_RETENTION__NOTIFICATIONS_H": MINUTE,
    "NOTIFY_RETENTION__PERIOD_S": "5",
}
FOR_S: Final = 300
TOPICS: Final = ("push", "cric_push", "email", "triggers.payments", "dead_letters", "notification_events.payments")

DEFECTS: dict[str, Callable[[RunningRegion, str], Awaitable[None]]] = {
    "a notification is removed": seeded.test_a_notification_removed_by_hand_is_a_difference,
    **{
        f"the ledger counts one more {count}": lambda region, sent, count=count: (  # type: ignore[misc]
            seeded.test_a_changed_count_in_the_ledger_is_a_difference(region, sent, count)
        )
        for count in ("notified", "taken", "next_offset", "other_lane", "dead")
    },
    **{
        f"sealed sums: {change}": lambda region, sent, change=change: (  # type: ignore[misc]
            seeded.test_a_change_of_sealed_sums_is_a_difference(region, sent, change)
        )
        for change in ("removed", "closing", "opening")
    },
    "a line of the provider log is missing": seeded.test_a_line_missing_in_the_provider_log_is_a_difference,
    "accepted twice": seeded.test_a_message_that_was_accepted_twice_is_a_difference_unless_it_is_marked,
    "a delivery without its attempts": seeded.test_a_delivery_whose_attempts_are_gone_is_a_difference,
    "a message without a notification": (
        seeded.test_a_channel_message_without_a_notification_is_a_difference_and_is_not_sent
    ),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def region() -> AsyncIterator[RunningRegion]:
    async with own_stack("books") as stack, start_region(stack, SHORT) as region:
        for shard in stack.region("us").shards:
            for member in shard.members:
                member.admin("setParameter", 1, ttlMonitorSleepSecs=5)
        yield region


async def traffic(region: RunningRegion, stop: asyncio.Event) -> None:
    """Both lanes, dead letters, and records in wrong partitions: about 20 a second."""
    number = 0
    while not stop.is_set():
        for user_id in USERS[:10]:
            await region.trigger(user_id, isCritical=number % 2 == 0)
            number += 1
        await region.send("triggers.payments", b"not JSON", key="ada")
        await region.send("triggers.payments", b"{}", partition=number % 8)
        await asyncio.sleep(0.5)


async def audits(region: RunningRegion, for_s: float) -> list[dict[str, Any]]:
    """Audit every few seconds; each one must hold."""
    reports = []
    until_at = time.monotonic() + for_s
    while time.monotonic() < until_at:
        report = await audit([region.settings])
        assert report["holds"], report["differences"]
        reports.append(report["regions"]["us"])
        await asyncio.sleep(3)
    return reports


async def test_the_audit_holds_while_retention_and_time_to_live_delete_what_it_has_seen(region: RunningRegion) -> None:
    stop = asyncio.Event()
    sending = asyncio.create_task(traffic(region, stop))
    try:
        reports = await audits(region, FOR_S)
    finally:
        stop.set()
        await sending
    last = reports[-1]
    assert last["lost"] == 0 and last["sealed"]["holds"] and last["sealed"]["count"] > 200
    assert {*TOPICS, NOTIFICATIONS} <= last["compared_from"].keys()
    kept = sum(sum(states.values()) for states in last["deliveries"].values())
    assert 0 < kept < last["notified"], "two each; most are deleted, and the others are compared"
    for before, after in pairwise(reports):
        assert before["sealed"]["count"] <= after["sealed"]["count"]


@pytest.mark.parametrize("name", DEFECTS)
async def test_each_seeded_defect_is_still_found(region: RunningRegion, name: str) -> None:
    sent = await region.trigger("ada")
    await region.audited()
    await seeded.all_sealed(region)
    await DEFECTS[name](region, sent)
    await region.audited()


async def test_when_all_is_deleted_the_audit_holds_by_the_sealed_sums(region: RunningRegion) -> None:
    async def all_is_deleted() -> bool:
        async with Shards(region.settings) as shards:
            for shard in range(len(shards)):
                for name in (NOTIFICATIONS, ATTEMPTS):
                    if await shards.database(shard)[name].find_one() is not None:
                        return False
        return True

    await until(all_is_deleted, within_s=6 * KEPT_S)
    numbers = await region.audited()
    assert numbers["notified"] > 1_000 and numbers["sealed"]["holds"] and not any(numbers["deliveries"].values())
    done = await region.cli("ledger", "--sealed", "--json")
    counted = sum(row["sums"].get("taken", 0) for row in done.json["periods"] if row["stage"] == "routing")
    assert counted == numbers["taken"] > 0
