"""A local region with the workers and verbs of a checkout.

The local services are started by this checkout for both: they are the same programs. Nothing here knows how the checkout delivers: only the
topics that upstream systems write, its verbs, Kafka's offsets and the provider's log are used.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml
from aiokafka import TopicPartition

from devtools import subprocesses
from devtools.benchmarks.delivery.access_log import provider_log
from devtools.benchmarks.region import REGION
from devtools.benchmarks.router.load import TOPIC, bench_users, user_uploads
from devtools.cpu import cpu_s
from devtools.stack import Stack, settings_overlay
from devtools.subprocesses import python_module
from devtools.workers import WorkerPool
from notify_streams import kafka
from notify_streams.admin.audit.topics import TopicReader
from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.errors import NotifyError
from notify_streams.records.user_records import Contacts, encode_record
from notify_streams.roles import app_id
from notify_streams.settings import load_settings
from notify_streams.topics import CONTACT_ROWS, USER_CONTACTS, USER_LOCATIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from aiokafka.admin import AIOKafkaAdminClient

    from devtools.benchmarks.delivery.access_log import Acceptance
    from devtools.benchmarks.delivery.sink import Sink
    from devtools.workers import Worker
    from notify_streams.admin.trigger_producer import Upload
    from notify_streams.settings import Settings

THIS_CHECKOUT: Final = Path(__file__).parents[3]
#: The part of the settings that older checkouts know as well; they refuse others.
_SHARED_SETTINGS: Final = (
    "kafka",
    "partitions",
    "replication",
    "remote_kafka",
    "shards",
    "redis",
    "dynamodb",
    "data_dir",
    "web_port_base",
)
_SHARED_PROVIDER_SETTINGS: Final = ("fcm", "twilio", "smtp")
_POLL_S: Final = 0.1
#: A wait ends when nothing has moved for so long.
_STALLED_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """CPU seconds since their start of a region's services and the sink."""

    mongodb: float
    kafka: float
    sink: float

    def __sub__(self, earlier: CpuTimes) -> CpuTimes:
        return CpuTimes(self.mongodb - earlier.mongodb, self.kafka - earlier.kafka, self.sink - earlier.sink)


class Offsets:
    """Reads topics' ends and groups' committed offsets of one region."""

    def __init__(self, settings: Settings, topics: TopicReader, admin: AIOKafkaAdminClient) -> None:
        self._region = settings.region
        self._reader = topics
        self._admin = admin

    async def topics(self) -> list[str]:
        """The names of all topics."""
        return list(await self._admin.list_topics())

    async def written(self, topic: str) -> int:
        """Records that were ever written to a topic."""
        return sum((await self._reader.ends(topic)).values())

    async def behind(self, role: str, topic: str) -> int:
        """Records of a topic that the workers of a role have not acknowledged. They acknowledge once a second."""
        places = await self._reader.extents([topic])
        partitions = [TopicPartition(*place) for place in places]
        committed = await self._admin.list_consumer_group_offsets(app_id(self._region, role), partitions=partitions)
        done = {place: committed[place].offset for place in partitions if place in committed}
        return sum(
            extent.end - max(done.get(TopicPartition(*place), 0), extent.first) for place, extent in places.items()
        )


@asynccontextmanager
async def checkout_region(name: str, checkout: Path, folder: Path, sink: Sink) -> AsyncIterator[CheckoutRegion]:
    """Start region us in `folder` for the code of `checkout` and prepare it; stop and wipe it when the block ends."""
    stack = Stack(folder, environment={})
    try:
        # Deliveries that a killed benchmark left are in no log.
        await asyncio.to_thread(stack.down, [REGION], True)
        await asyncio.to_thread(stack.up, [REGION], 1)
        file = stack.settings_file(REGION)
        known = yaml.safe_load(file.read_text())
        # Without the authorities of the sandbox's certificate: the sink has others, those of the system (`SSL_CERT_FILE`).
        providers = {key: known["providers"][key] for key in _SHARED_PROVIDER_SETTINGS}
        others = known if checkout == THIS_CHECKOUT else {key: known[key] for key in _SHARED_SETTINGS}
        settings_overlay.write(file, others | {"providers": providers})
        region = CheckoutRegion(name, checkout, stack, sink)
        await region.prepare()
        yield region
    finally:
        await asyncio.to_thread(stack.down, [REGION], True)


class CheckoutRegion:
    """Region us with the workers of `checkout`."""

    def __init__(self, name: str, checkout: Path, stack: Stack, sink: Sink) -> None:
        self.name = name
        self.settings = load_settings(REGION, environ={}, overlay=stack.settings_file(REGION))
        self._checkout = checkout
        self._folder = stack.folder
        self._region = stack.region(REGION)
        self.sink = sink
        #: Everything that the sink accepted from these workers.
        self._accepted: list[Acceptance] = []
        self._record = self._folder / "accepted.jsonl"
        self._environ = {
            "NOTIFY_STACK_DIR": str(self._folder),
            "NOTIFY_PROVIDERS__FCM": sink.address,
            "NOTIFY_SANDBOX_RECORD": str(self._record),
            "SSL_CERT_FILE": str(sink.ca_file),
        }
        self.pool = WorkerPool(REGION, self._environ, self._folder / "logs", checkout)

    @asynccontextmanager
    async def offsets(self) -> AsyncIterator[Offsets]:
        """Clients of the region's Kafka. Workers that still run when the block ends are stopped."""
        admin = kafka.admin(self.settings.kafka_connection())
        try:
            await admin.start()
            async with TopicReader(self.settings) as topics:
                yield Offsets(self.settings, topics, admin)
        finally:
            await admin.close()
            await self.pool.stop_all()

    async def prepare(self) -> None:
        """Create topics, collections, the registry's table and the benchmark's users."""
        for verb in ("topics", "ensure"), ("shards", "init"):
            await subprocesses.run(self._verb(*verb), env=os.environ | self._environ, cwd=self._checkout)
        async with self.offsets() as offsets, TriggerProducer(self.settings) as producer:
            if CONTACT_ROWS in await offsets.topics():
                await producer.send(user_uploads(bench_users(), REGION))
                return
            # A router of an older checkout reads contacts beside triggers.
            await producer.send(_older_uploads())
            async with self.working("standard"):
                await self.until(lambda: offsets.behind("standard", USER_CONTACTS))

    def _verb(self, *arguments: str) -> tuple[str, ...]:
        return python_module("notify_streams.cli", *arguments)

    @asynccontextmanager
    async def working(self, role: str) -> AsyncIterator[Worker]:
        """A ready worker; stopped when the block ends."""
        worker = await self.pool.start(role)
        try:
            await worker.wait_until_ready()
            yield worker
        finally:
            await self.pool.stop(worker)

    async def until(self, left: Callable[[], Awaitable[int]]) -> float:
        """Wait until `left()`, a number of records, is 0; returns the Unix time at which that was seen.

        Raises:
            NotifyError: a worker ended, or neither the number nor the sink's log has changed for two minutes.
        """
        last, since = (-1, -1), time.monotonic()
        while True:
            number = await left()
            if number <= 0:
                return time.time()
            if (moved := (number, self.sink.log_bytes)) != last:
                last, since = moved, time.monotonic()
            elif time.monotonic() - since > _STALLED_S:
                raise NotifyError(f"{self.name}: {number} records are left and nothing moves: no figure")
            for worker in self.pool.workers.values():
                if not worker.alive:
                    raise NotifyError(f"{self.name}: {worker.name} ended by itself: no figure")
            await asyncio.sleep(_POLL_S)

    def cpu(self) -> CpuTimes:
        """CPU until now."""
        members = [member.process.pid for shard in self._region.shards for member in shard.members]
        return CpuTimes(
            sum(cpu_s(pid) for pid in members if pid),
            cpu_s(self._region.kafka.process.pid or 0),
            cpu_s(self.sink.process.pid or 0),
        )

    async def take_accepted(self, wanted: int) -> list[Acceptance]:
        """What the sink accepted since the last call, `wanted` or more; kept for `audit` as well."""
        found = await asyncio.to_thread(self.sink.take, wanted)
        self._accepted += found
        return found

    async def audit(self) -> None:
        """Check by the checkout's own audit that every state is final and agrees with the sink's log.

        Raises:
            NotifyError: it does not hold, so there is no figure.
        """
        async with self.offsets() as offsets:
            # The audit compares the ledgers of both lanes.
            async with self.working("critical"):
                await self.until(lambda: offsets.behind("critical", TOPIC))
            self._record.write_bytes(provider_log(self._accepted))
            command = self._verb("audit", "--regions", REGION, "--json")
            async with subprocesses.running(command, env=os.environ | self._environ, cwd=self._checkout) as process:
                out, _ = await process.communicate()
        check_audit(self.name, out)


def check_audit(name: str, out: bytes) -> None:
    """Check the output of `audit --json`.

    Raises:
        NotifyError: it does not hold, or there is none.
    """
    found = json.loads(out or b"{}")
    if not found:
        raise NotifyError(f"{name}: the audit failed: no figure")
    if not found["holds"]:
        checks = ", ".join(one["check"] for one in (*found["differences"], *found["in_flight"]))
        raise NotifyError(f"{name}: the audit does not hold ({checks}): no figure")


def _older_uploads() -> Iterator[Upload]:
    """The users as older checkouts read them: contacts as they were sent."""
    now = datetime.now(UTC)
    for topic, user_id, value, headers in user_uploads(bench_users(), REGION):
        if topic == USER_LOCATIONS:
            yield topic, user_id, value, headers
    for number, user in enumerate(bench_users()):
        yield USER_CONTACTS, user, encode_record(Contacts(user, now, push=f"token-{number}")), ()
