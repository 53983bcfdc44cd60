"""Fixtures of the move tests: a worker under load, and a move that can be killed."""

import asyncio
from collections.abc import Callable
from functools import partial

from notify_streams import tasks
from notify_streams.admin.shards import init_shards, move_bucket
from notify_streams.admin.shards.init import COLLECTIONS
from notify_streams.admin.shards.move import WaitTimes
from notify_streams.retry import STORE
from notify_streams.stores.mongo import Document, Shards
from tests.builders import AckRecorder
from tests.integration.outbox.outbox_fixtures import Bench, batch

LEASE_S = 0.5
WAITS = WaitTimes(directory_s=1.2 * LEASE_S, operations_s=0.2)
#: For tests without a running worker.
NO_WAITS = WaitTimes(directory_s=0.0, operations_s=0.0)
TOPIC = "triggers.payments"


class Killed(Exception):
    """The move ended at a step."""


async def initialised(bench: Bench) -> Bench:
    """With the collections and indexes of a region."""
    await init_shards(bench.settings, bench.shards)
    return bench


async def move(
    bench: Bench,
    bucket: int,
    to: int,
    dies_at: int | None = None,
    waits: WaitTimes = WAITS,
    on_step: Callable[[str], object] = len,
) -> list[str]:
    """Run the command once with its own clients; returns its steps. `on_step` is called before each one.

    Raises:
        Killed: before step number `dies_at`.
    """
    steps: list[str] = []

    def report(step: str) -> None:
        if len(steps) == dies_at:
            raise Killed(step)
        steps.append(step)
        on_step(step)

    async with Shards(bench.settings) as shards:
        await move_bucket(bench.settings, shards, bucket, to, report, waits)
    return steps


async def rows_on(bench: Bench, shard: int, bucket: int) -> dict[str, list[Document]]:
    """A bucket's rows on one shard, by collection, whatever the directory says."""
    database = bench.shards.client(shard)[bench.settings.database]
    query = {"bucket": bucket, "_id": {"$not": {"$type": "number"}}}
    return {name: await database[name].find(query).sort("_id").to_list() for name in COLLECTIONS}


class Worker:
    """Reads an endless topic of some buckets: from the ledger's positions, and again from a refused one."""

    def __init__(self, bench: Bench, buckets: tuple[int, ...]) -> None:
        self.bench = bench
        self.outbox = bench.outbox(sweep_every_s=0.5, waiting_records=20, flush_records=10)
        self.read = dict.fromkeys(buckets, 0)
        self.done = dict.fromkeys(buckets, 0)
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    async def start(self) -> None:
        sources = [(TOPIC, bucket) for bucket in self.read]
        await self.bench.open(*sources)
        await self.outbox.on_assigned(sources)
        found = await STORE.call(self.outbox.acquire, sources)
        self.read = {bucket: found[TOPIC, bucket] for bucket in self.read}
        self.done = dict(self.read)
        await self.outbox.start()
        self._tasks = [asyncio.create_task(self._read(bucket)) for bucket in self.read]

    async def _read(self, bucket: int) -> None:
        while not self._stopping or self.done[bucket] < self.read[bucket]:
            if self._stopping or self.read[bucket] > self.done[bucket] + 10:
                await asyncio.sleep(0.005)
                continue
            start = self.read[bucket]
            self.read[bucket] = start + 2
            acks = AckRecorder(partial(self._acknowledged, bucket, start + 2), partial(self._refused, bucket))
            ids = [f"{bucket}-{start + n:05}" for n in range(2)]
            await self.outbox.submit(batch(*ids, start=start, bucket=bucket, acks=acks))
            await asyncio.sleep(0.01)

    def _acknowledged(self, bucket: int, at: int) -> None:
        self.done[bucket] = max(self.done[bucket], at)

    def _refused(self, bucket: int, at: int) -> None:
        self.read[bucket] = at
        self._acknowledged(bucket, at)
        if self._stopping and at > self.done[bucket]:
            self._stopping = False

    async def finish(self) -> None:
        """Stop reading, and return when everything that was read is acknowledged."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        await self.outbox.stop()

    async def crash(self) -> None:
        await self.outbox.cancel()
        await tasks.stop(self._tasks)

    def acknowledged(self) -> list[str]:
        """The ids of all acknowledged triggers."""
        return sorted(f"{bucket}-{n:05}" for bucket, at in self.done.items() for n in range(at))
