"""Random faults in random order: the ledgers add up and nothing is lost or doubled.

Workers crash and compete, the broker and the store fail, ids repeat with the same or other content.

The model is the list of records that Kafka holds. A worker reads them from the position that the outbox gives, and only from there.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from notify_streams import tasks
from notify_streams.errors import StoreUnavailable
from notify_streams.outbox.flush_plan import Flush
from notify_streams.outbox.transaction import FlushStore
from notify_streams.records.ids import notification_id
from notify_streams.retry import STORE
from notify_streams.stores.mongo import NOTIFICATIONS
from tests.builders import AckRecorder, a_decided_batch, an_outcome
from tests.integration.outbox.conftest import OpenBench
from tests.integration.outbox.outbox_fixtures import EVEN, Bench
from tests.waiting import until

TOPICS = ("triggers.a", "triggers.b")
RECORDS = 60


class UnreliableStore(FlushStore):
    """Sometimes fails before a write, or after it."""

    def __init__(self, chance: random.Random, *args: Any) -> None:
        super().__init__(*args)
        self._chance = chance

    async def write(self, flush: Flush, published: Sequence[Mapping[str, Any]]) -> None:
        drawn = self._chance.random()
        if drawn < 0.15:
            raise StoreUnavailable("not written")
        await super().write(flush, published)
        if drawn > 0.85:
            raise StoreUnavailable("written, but the reply is lost")


class Reader:
    """One worker: reads its topics from the ledger's positions, and again from a refused one."""

    def __init__(self, bench: Bench, log: dict[str, list[tuple[str, str]]], chance: random.Random) -> None:
        self._bench, self._log, self._chance = bench, log, chance
        self.outbox = bench.outbox(
            flush_store=partial(UnreliableStore, chance),
            sweep_every_s=0.05,
            flush_records=7,
            waiting_records=20,
        )
        self._positions: dict[str, int] = {}
        self.done = dict.fromkeys(TOPICS, 0)

    async def work(self) -> None:
        sources = [(topic, EVEN) for topic in TOPICS]
        await self.outbox.on_assigned(sources)
        found = await STORE.call(self.outbox.acquire, sources)
        self._positions = {topic: found.get((topic, EVEN), 0) for topic in TOPICS}
        self.done = dict(self._positions)
        await self.outbox.start()
        while any(position < RECORDS for position in self.done.values()):
            topic = self._chance.choice(TOPICS)
            start = self._positions[topic]
            records = self._log[topic][start : start + self._chance.randint(1, 8)]
            if not records:
                await asyncio.sleep(0.002)
                continue
            entries = [an_outcome(trigger_id, bucket=EVEN, title=title) for trigger_id, title in records]
            self._positions[topic] = end = start + len(entries)
            acks = AckRecorder(partial(self._acknowledged, topic, end), partial(self._refused, topic))
            await self.outbox.submit(a_decided_batch(*entries, start=start, topic=topic, partition=EVEN, acks=acks))

    def _acknowledged(self, topic: str, position: int) -> None:
        self.done[topic] = max(self.done[topic], position)

    def _refused(self, topic: str, position: int) -> None:
        self._positions[topic] = position
        self._acknowledged(topic, position)


@pytest.mark.parametrize("seed", range(6))
async def test_ledgers_add_up_after_random_faults(bench_of: OpenBench, seed: int) -> None:
    chance = random.Random(seed)
    # Half of the ids are repeated, some with another title.
    log = {topic: [(str(chance.randint(0, 60)), chance.choice("xxxy")) for _ in range(RECORDS)] for topic in TOPICS}
    bench = await bench_of()

    async def unreliable(topic: str, partition: int) -> None:
        await asyncio.sleep(0)
        if chance.random() < 0.1:
            raise ConnectionError("the broker is unavailable")

    bench.broker.before = bench.broker.after = unreliable
    finished = False
    workers = 0
    while not finished:
        workers += 1
        reader = Reader(bench, log, chance)
        rival = Reader(bench, log, chance) if workers % 2 == 0 else None
        readers = [reader] if rival is None else [reader, rival]
        working = [asyncio.create_task(one.work()) for one in readers]
        crash_after_s = None if workers > 6 else chance.random() * 0.08
        done, _ = await asyncio.wait(working, timeout=crash_after_s or 60, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        finished = bool(done)
        if finished and rival is None:
            await reader.outbox.stop()
        await tasks.stop(working)
        for one in readers:
            await one.outbox.cancel()

    bench.broker.before = bench.broker.after = None
    await bench.relay.drain([EVEN])
    ledgers = await bench.ledgers()
    assert {one["next_offset"] for one in ledgers.values()} == {RECORDS}
    assert await bench.ledgers_add_up()
    titles: dict[str, set[str]] = {}
    for trigger_id, title in [record for records in log.values() for record in records]:
        titles.setdefault(trigger_id, set()).add(title)
    wanted = set(titles)
    assert set(await bench.trigger_ids()) == wanted and len(await bench.trigger_ids()) == len(wanted)
    assert set(bench.broker.ids()) == wanted, "each notification was published at least once"
    found = {one["_id"]: one["fingerprint"] for one in await bench.all_of(NOTIFICATIONS)}
    for trigger_id in wanted:
        possible = {an_outcome(trigger_id, title=title).fingerprint for title in "xy"}
        assert found[notification_id(trigger_id, "u-42", "payments")] in possible
    conflicts = sum(one.get("dead_reasons", {}).get("id_conflict", 0) for one in ledgers.values())
    assert (conflicts > 0) == any(len(different) > 1 for different in titles.values())
    await until(bench.ledgers_add_up)
