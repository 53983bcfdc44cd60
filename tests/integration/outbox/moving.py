"""What the tests of moves stand on: a worker that never stops, a mover that dies where it is told, and a look at both sides."""

import asyncio
from collections.abc import Callable

from notify_streams.admin.shards import init_shards, move_bucket
from notify_streams.admin.shards.init import COLLECTIONS
from notify_streams.admin.shards.move import WaitTimes
from notify_streams.retry import STORE
from notify_streams.stores.mongo import Document, Shards
from tests.integration.outbox.outbox_fixtures import Bench, batch, end

LEASE_S = 0.5
WAITS = WaitTimes(directory_s=1.2 * LEASE_S, operations_s=0.2)
#: Where no worker looks.
NO_WAITS = WaitTimes(directory_s=0.0, operations_s=0.0)
TOPIC = "triggers.payments"


class Killed(Exception):
    """The mover ended at a step."""


async def ready(bench: Bench) -> Bench:
    """With the indexes and collections of a real region."""
    await init_shards(bench.settings, bench.shards)
    return bench


async def move(
    bench: Bench,
    bucket: int,
    to: int,
    dies_at: int | None = None,
    waits: WaitTimes = WAITS,
    seen: Callable[[str], object] = len,
) -> list[str]:
    """Run the command once with clients of its own; returns the steps it took. With `dies_at` it ends before that step.

    `seen` hears of each step before it is taken.
    """
    steps: list[str] = []

    def say(step: str) -> None:
        if len(steps) == dies_at:
            raise Killed(step)
        steps.append(step)
        seen(step)

    shards = Shards(bench.settings)
    await shards.start()
    try:
        await move_bucket(bench.settings, shards, bucket, to, say, waits)
    finally:
        await shards.close()
    return steps


async def rows_on(bench: Bench, shard: int, bucket: int) -> dict[str, list[Document]]:
    """A bucket's rows on one shard, by collection, wherever it is said to be."""
    database = bench.shards.client(shard)[bench.settings.database]
    query = {"bucket": bucket, "_id": {"$not": {"$type": "number"}}}
    return {name: await database[name].find(query).sort("_id").to_list() for name in COLLECTIONS}


class Worker:
    """Reads endless topics of some buckets, each from where the ledger says, and again from where it is refused."""

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
        found = await STORE.call(self.outbox.on_assigned, sources)
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
            taken = batch(*(f"{bucket}-{start + n:05}" for n in range(2)), start=start, bucket=bucket)
            taken.ack_handle.ack = lambda at=start + 2: self._went_on(bucket, at)
            taken.ack_handle.refuse = lambda at: self._refused(bucket, at)
            await self.outbox.submit(taken)
            await asyncio.sleep(0.01)

    def _went_on(self, bucket: int, at: int) -> None:
        self.done[bucket] = max(self.done[bucket], at)

    def _refused(self, bucket: int, at: int) -> None:
        self.read[bucket] = at
        self._went_on(bucket, at)
        if self._stopping and at > self.done[bucket]:
            self._stopping = False

    async def finish(self) -> None:
        """Read nothing new, and return when all that was read is acknowledged."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        await self.outbox.stop()

    async def crash(self) -> None:
        await self.outbox.cancel()
        await end(*self._tasks)

    def promised(self) -> list[str]:
        """Every trigger that was acknowledged."""
        return sorted(f"{bucket}-{n:05}" for bucket, at in self.done.items() for n in range(at))
