"""Whatever happens in whatever order, the books close: workers come and go, the broker fails, records come again, answers get lost.

The model is the list of records that Kafka holds. A worker reads them from the position that the outbox gives, and only from there.
"""

import asyncio
import random
from typing import Any

import pytest

from notify_streams.errors import StoreUnavailable
from notify_streams.outbox.transaction import FlushStore
from notify_streams.records.ids import notification_id
from notify_streams.retry import STORE
from notify_streams.stores.mongo import NOTIFICATIONS
from tests.builders import a_decided_batch, an_entry
from tests.integration.outbox.conftest import OpenBench
from tests.integration.outbox.outbox_fixtures import EVEN, Bench, end
from tests.waiting import until

TOPICS = ("triggers.a", "triggers.b")
RECORDS = 60


class Unreliable:
    """A store that now and then fails before it has written, or after."""

    def __init__(self, real: Any, chance: random.Random) -> None:
        self._real, self._chance = real, chance

    async def write(self, flush: Any, published: Any) -> None:
        fate = self._chance.random()
        if fate < 0.15:
            raise StoreUnavailable("not written")
        await self._real.write(flush, published)
        if fate > 0.85:
            raise StoreUnavailable("written, but the answer is lost")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Reader:
    """One worker: reads its topics' records from where the ledger says, and again from where it is refused."""

    def __init__(self, bench: Bench, log: dict[str, list[tuple[str, str]]], chance: random.Random) -> None:
        self._bench, self._log, self._chance = bench, log, chance
        self.outbox = bench.outbox(
            flush_store=lambda *place: Unreliable(FlushStore(*place), chance),
            sweep_every_s=0.05,
            flush_records=7,
            waiting_records=20,
        )
        self._positions: dict[str, int] = {}
        self.done = dict.fromkeys(TOPICS, 0)

    async def work(self) -> None:
        found = await STORE.call(self.outbox.on_assigned, [(topic, EVEN) for topic in TOPICS])
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
            entries = [an_entry(identity, bucket=EVEN, title=said) for identity, said in records]
            batch = a_decided_batch(*entries, start=start, topic=topic, partition=EVEN)
            self._positions[topic] = batch.end
            batch.ack_handle.ack = lambda topic=topic, end=batch.end: self._ack(topic, end)
            batch.ack_handle.refuse = lambda position, topic=topic: self._refused(topic, position)
            await self.outbox.submit(batch)

    def _ack(self, topic: str, position: int) -> None:
        self.done[topic] = max(self.done[topic], position)

    def _refused(self, topic: str, position: int) -> None:
        self._positions[topic] = position
        self.done[topic] = max(self.done[topic], position)

    async def crash(self) -> None:
        await self.outbox.cancel()


@pytest.mark.parametrize("seed", range(6))
async def test_the_books_close_whatever_happens(bench_of: OpenBench, seed: Any) -> None:
    chance = random.Random(seed)
    # Half of the ids come again somewhere, some with other words.
    log = {topic: [(str(chance.randint(0, 60)), chance.choice("xxxy")) for _ in range(RECORDS)] for topic in TOPICS}
    bench = await bench_of()

    async def unreliable(topic: str, partition: int) -> None:
        await asyncio.sleep(0)
        if chance.random() < 0.1:
            raise ConnectionError("the broker is away")

    bench.broker.before = bench.broker.after = unreliable
    finished = False
    workers = 0
    while not finished:
        workers += 1
        reader = Reader(bench, log, chance)
        rival = Reader(bench, log, chance) if workers % 2 == 0 else None
        tasks = [asyncio.create_task(one.work()) for one in (reader, rival) if one is not None]
        moment_s = None if workers > 6 else chance.random() * 0.08
        done, _ = await asyncio.wait(tasks, timeout=moment_s or 60, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        finished = bool(done)
        if finished and rival is None:
            await reader.outbox.stop()
        await end(*tasks)
        for one in (reader, rival):
            if one is not None:
                await one.crash()

    bench.broker.before = bench.broker.after = None
    await bench.relay.drain([EVEN])
    ledgers = await bench.ledgers()
    assert {one["next_offset"] for one in ledgers.values()} == {RECORDS}
    assert await bench.closes()
    wanted = {identity for records in log.values() for identity, _ in records}
    assert set(await bench.trigger_ids()) == wanted and len(await bench.trigger_ids()) == len(wanted)
    assert set(bench.broker.ids()) == wanted, "each notification was published at least once"
    found = {one["_id"]: one["fingerprint"] for one in await bench.all_of(NOTIFICATIONS)}
    acks = {
        identity: {an_entry(identity, title=said).fingerprint for _, said in [(0, "x"), (0, "y")]}
        for identity in wanted
    }
    assert all(found[notification_id(identity, "u-42")] in prints for identity, prints in acks.items())
    conflicts = sum(one.get("dead_reasons", {}).get("id_conflict", 0) for one in ledgers.values())
    both = {
        identity: {said for records in log.values() for one, said in records if one == identity} for identity in wanted
    }
    assert (conflicts > 0) == any(len(said) > 1 for said in both.values())
    await until(bench.closes)
