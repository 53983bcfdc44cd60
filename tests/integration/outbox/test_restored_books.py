"""The books of a region whose database is older than its Kafka, or has another one, on real MongoDB."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition

from notify_streams.admin.audit.snapshot import Extent
from notify_streams.admin.restore.books import Books
from notify_streams.admin.restore.situation import Situation, read_situation
from notify_streams.delivery.attempt_reader import AttemptReader
from notify_streams.delivery.delivery_ledger import DeliveryLedger, Token, delivery_sums_close
from notify_streams.delivery.timers import new_timer
from notify_streams.errors import Refused
from notify_streams.failpoints import FailpointReached, armed
from notify_streams.outbox.ledger import sums_close
from notify_streams.retry import failing_calls
from notify_streams.roles import CHANNEL_ROLES
from notify_streams.stores.maintenance import MaintenanceLog, wait_for_maintenance
from notify_streams.stores.mongo import ATTEMPTS, LEDGER, NOTIFICATIONS, SEALED_SUMS, TIMERS
from notify_streams.topics import USER_SIGNUPS, trigger_topics
from tests.builders import ARecord, a_message, an_outcome
from tests.integration.outbox.conftest import OpenBench
from tests.integration.outbox.outbox_fixtures import EVEN, ROLE, SOURCE, Bench, batch, flush_of
from tests.waiting import until

TIMEOUT_S = 5.0


#: Records on a channel topic that no router wrote.
FOREIGN = [b"", msgspec.json.encode(a_message(decided_at=datetime(1969, 1, 1, tzinfo=UTC)))]


class Topics:
    """What is in Kafka: nothing but these extents, and what is `FOREIGN`."""

    def __init__(self, extents: Mapping[tuple[str, int], Extent]) -> None:
        self._extents = dict(extents)

    async def extents(self, topics: Iterable[str]) -> dict[tuple[str, int], Extent]:
        return {place: one for place, one in self._extents.items() if place[0] in {*topics}}

    async def read(self, topics: Iterable[str], starts: Any = None) -> AsyncIterator[tuple[TopicPartition, Any]]:
        for offset, value in enumerate(FOREIGN):
            yield TopicPartition("push", EVEN), ARecord(value, offset=offset)


class Unknown:
    async def among(self, buckets: Mapping[str, int]) -> set[str]:
        return set()


async def a_backup(bench: Bench) -> None:
    """Three triggers are notified; their messages, and one call that a dead worker had claimed, are under way."""
    await bench.open()
    now = datetime.now(UTC).replace(microsecond=0)
    await bench.store().write(flush_of(batch(*(an_outcome(one, bucket=EVEN, now=now) for one in "abc"))), ())
    ledger = DeliveryLedger(bench.shards, "push", TIMEOUT_S)
    await ledger.create({EVEN: 0}, Token(7))
    timer = new_timer(b"k" * 16, EVEN, "push", 0, 1, False, b"{}", replay=True) | {"claim": b"dead"}
    await bench.shards.collection(TIMERS, EVEN).insert_one(timer)


async def a_restore(bench: Bench, *, is_new: bool, end: int) -> tuple[Books, Topics, Situation]:
    """`end`: of each partition in this Kafka."""
    places = [(topic, EVEN) for topic in (*trigger_topics(bench.settings), *CHANNEL_ROLES)]
    extents = dict.fromkeys(places, Extent(0, end))
    ledgers = {(one["role"], one["topic"], one["partition"]): one for one in await bench.all_of(LEDGER)}
    situation = Situation(is_new, not is_new, ledgers, extents, trigger_topics(bench.settings), {}, [datetime.now(UTC)])
    return Books(bench.settings, bench.shards, bench.broker, situation), Topics(extents), situation


async def test_a_new_kafka_the_positions_begin_anew_and_each_lost_delivery_has_its_end(bench: Bench) -> None:
    await a_backup(bench)
    log = MaintenanceLog(bench.shards, TIMEOUT_S)
    one = await log.begin("restore apply", {})
    books, topics, _ = await a_restore(bench, is_new=True, end=0)
    assert await books.timers() == {"released": 1}
    (timer,) = await bench.all_of(TIMERS)
    assert (timer["claim"], timer["in_doubt"], timer["replay"]) == (None, True, False)
    assert await books.outbox() == {"published": 1} and len(bench.broker.ids()) == 3
    assert await bench.rows() == []

    with armed("inside_restore_step=raise@1"), pytest.raises(FailpointReached):
        await books.positions(one, topics)  # type: ignore[arg-type]
    books, topics, _ = await a_restore(bench, is_new=True, end=0)
    await books.positions(one, topics)  # type: ignore[arg-type]
    before = await bench.ledgers()
    await books.positions(one, topics)  # type: ignore[arg-type]
    again = await bench.ledgers()
    ends = {name: {"period_end": ledger["period_end"]} for name, ledger in again.items()}
    assert again == {name: ledger | ends[name] for name, ledger in before.items()}, "a repetition changes nothing"
    closing = {one["_id"]: one for one in await bench.all_of(SEALED_SUMS) if "shift" in one}
    assert [(one["role"], one["shift"], one["closing"]["next_offset"]) for one in closing.values()] == [(ROLE, -3, 0)]
    router, push = before[f"{ROLE}:{SOURCE[0]}:{SOURCE[1]}"], before[f"push:push:{EVEN}"]
    assert (router["next_offset"], router["first_offset"], router["notified"]) == (0, -3, 3)
    assert sums_close(router) and delivery_sums_close(push) and push["claimed_to"] == 0

    books, topics, _ = await a_restore(bench, is_new=True, end=0)
    with armed("inside_restore_step=raise@1"), pytest.raises(FailpointReached):
        await books.lost_deliveries(one, topics, Unknown())  # type: ignore[arg-type]
    assert await books.lost_deliveries(one, topics, Unknown()) == {"push": 3}  # type: ignore[arg-type]
    assert await books.lost_deliveries(one, topics, Unknown()) == {}  # type: ignore[arg-type]
    push = (await bench.ledgers())[f"push:push:{EVEN}"]
    assert (push["fresh"], push["failed"], push["next_offset"]) == (3, 3, 0) and delivery_sums_close(push)
    found = await bench.all_of(NOTIFICATIONS)
    await AttemptReader(bench.shards, TIMEOUT_S).add_status(found)
    states = [(one["deliveries"]["push"]["state"], one["deliveries"]["push"]["reason"]) for one in found]
    assert states == [("failed", "lost")] * 3

    # A worker of a new group, whose generations begin at 1, takes over at once.
    owned = await DeliveryLedger(bench.shards, "push", TIMEOUT_S).acquire([EVEN], Token(1))
    restored = owned[EVEN].restored
    assert restored is not None and restored.is_new


async def test_a_kept_kafka_the_positions_stay_and_nothing_is_lost(bench: Bench) -> None:
    await a_backup(bench)
    one = await MaintenanceLog(bench.shards, TIMEOUT_S).begin("restore apply", {})
    books, topics, _ = await a_restore(bench, is_new=False, end=9)
    found = await books.positions(one, topics)  # type: ignore[arg-type]
    assert found["unread"] == {ROLE: 6, "push": 9} and found["left_out"] == {}
    assert await books.lost_deliveries(one, topics, Unknown()) == {}  # type: ignore[arg-type]
    ledgers = await bench.ledgers()
    assert ledgers[f"{ROLE}:{SOURCE[0]}:{SOURCE[1]}"]["next_offset"] == 3
    (owned,) = (await DeliveryLedger(bench.shards, "push", TIMEOUT_S).acquire([EVEN], Token(1))).values()
    assert (owned.next_offset, owned.claimed_to) == (0, 9)
    assert owned.restored is not None
    assert owned.restored.again[SOURCE[0]] == (3, 9) and set(owned.restored.again) == {*trigger_topics(bench.settings)}
    assert await bench.all_of(ATTEMPTS) == []


async def test_a_restore_that_goes_on_reads_again_from_the_backup_on(
    bench_of: OpenBench, kafka_bootstrap: str, mongo_shards: list[str]
) -> None:
    """The steps after `positions` need the time of the backup, which the ledgers have no more then: opt-outs are read again from it on."""
    bench = await bench_of(kafka=kafka_bootstrap, region="restored", shards=(mongo_shards[0],))
    await a_backup(bench)
    _, topics, _ = await a_restore(bench, is_new=False, end=9)

    async def situation(begun: Mapping[str, Any] | None = None) -> Situation:
        places = Topics({(topic, EVEN): Extent(0, 9) for topic in (*ledger_topics, *CHANNEL_ROLES)})
        return await read_situation(bench.settings, bench.shards, places, "kept", None, begun)  # type: ignore[arg-type]

    ledger_topics = (*trigger_topics(bench.settings), USER_SIGNUPS)
    before = await situation()
    log = MaintenanceLog(bench.shards, TIMEOUT_S)
    one = await log.begin("restore apply", before.options())
    await Books(bench.settings, bench.shards, bench.broker, before).positions(one, topics)  # type: ignore[arg-type]

    killed = await log.under_way()
    assert killed is not None
    after = await situation(killed.options)
    assert before.oldest_backup is not None and after.reread_from() == before.reread_from()
    assert (after.is_new, after.backups) == (before.is_new, before.backups)
    # An earlier release has not kept it: then everything is read again.
    of_before = await situation({"kafka": "kept", "since": None})
    assert of_before.oldest_backup is None and of_before.reread_from() < before.reread_from()


async def test_of_two_operators_who_begin_a_restore_at_the_same_time_one_at_most_does(bench: Bench) -> None:
    """Each would reopen the ledgers, and move `first_offset` twice."""
    log = MaintenanceLog(bench.shards, TIMEOUT_S)
    begun = await asyncio.gather(*(log.begin("restore apply", {}) for _ in range(4)), return_exceptions=True)
    assert sum(not isinstance(one, Refused) for one in begun) <= 1
    if (left := await log.under_way()) is not None:
        await log.withdraw(left)
    one = await log.begin("restore apply", {})
    with pytest.raises(Refused, match="another `notify-streams restore apply` has begun"):
        await log.begin("restore apply", {})
    left = await log.under_way()
    assert left is not None and left.id == one.id


async def test_a_worker_that_starts_waits_for_the_end_of_a_restore(bench: Bench) -> None:
    log = MaintenanceLog(bench.shards, TIMEOUT_S)
    one = await log.begin("restore apply", {"kafka": "new"})
    await log.step_done(one, "timers", {"released": 1})
    again = await log.under_way()
    assert again is not None and (again.id, again.done, again.found) == (
        one.id,
        {"timers"},
        {"timers": {"released": 1}},
    )
    waiting = asyncio.create_task(wait_for_maintenance(bench.shards, TIMEOUT_S))
    await until(lambda: "maintenance.wait" in failing_calls(), "the worker waits")
    assert not waiting.done()
    await log.finish(one)
    await asyncio.wait_for(waiting, 10.0)
    assert await log.under_way() is None and [found["_id"] for found in await log.finished("restore apply")] == [one.id]
