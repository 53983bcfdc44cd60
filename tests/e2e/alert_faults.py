"""Faults that make an alert fire, for those alerts that none of the twelve faults of `devtools.faults` is about."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from devtools.faults.injections import provider_faults
from notify_streams import tasks
from notify_streams.admin.certificate import erasure_key
from notify_streams.records.person_hash import person_hash
from notify_streams.stores.redis import connect
from tests.e2e.processes import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from tests.e2e.running_region import RunningRegion

    #: Begins a fault for these users, who are known and have a push token; when the block ends the fault has ended.
    Injection = Callable[[RunningRegion, Sequence[str]], AbstractAsyncContextManager[None]]

#: A shard of the local stack: a bucket is on shard ``bucket % 2``.
_DOWN_SHARD: Final = 1
#: More than `NotifyLagGrows` allows.
_BACKLOG: Final = 11_000
#: More than the 30 s of `NotifyRetriesLate`.
_HELD_UP_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class AlertFault:
    """One fault and the alerts that it makes fire."""

    alerts: tuple[str, ...]
    inject: Injection
    #: Seconds from the injection until the alerts fire: their `for`, what their expression needs, and a minute.
    within_s: float


@asynccontextmanager
async def _repeated(act: Callable[[], Awaitable[object]], every_s: float) -> AsyncIterator[None]:
    """`act` is called again and again, `every_s` after its end. An error of it fails the block's end."""

    async def run() -> None:
        while True:
            await act()
            await asyncio.sleep(every_s)

    running = asyncio.create_task(run())
    try:
        yield
    finally:
        await tasks.stop([running])
    with suppress(asyncio.CancelledError):
        running.result()


@contextmanager
def _stopped(region: RunningRegion, role: str) -> Iterator[None]:
    """The worker of `role` has got SIGSTOP; at the end it goes on."""
    process = region.supervisor.processes[role]
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def _worker_stands_still(region: RunningRegion, users: Sequence[str]) -> AsyncIterator[None]:
    """A critical router has no CPU for longer than its session, as in a container that is throttled."""

    async def stand_still() -> None:
        with _stopped(region, "critical"):
            await asyncio.sleep(3.0)

    async with _repeated(stand_still, every_s=4.0):
        yield


@asynccontextmanager
async def _category_paused(region: RunningRegion, users: Sequence[str]) -> AsyncIterator[None]:
    assert (await region.cli("providers", "pause", "push:payments")).status == 0
    try:
        yield
    finally:
        assert (await region.cli("providers", "resume", "push:payments")).status == 0


@asynccontextmanager
async def _invalid_triggers(region: RunningRegion, users: Sequence[str]) -> AsyncIterator[None]:
    """A release of a sender writes what is no trigger."""
    async with _repeated(lambda: region.send("triggers.payments", b"{}", key=users[0]), every_s=0.1):
        yield


@asynccontextmanager
async def _provider_answers(region: RunningRegion, users: Sequence[str], **fail: Any) -> AsyncIterator[None]:
    async with provider_faults(region.settings, fail=fail):
        yield


@asynccontextmanager
async def _wrong_signatures(region: RunningRegion, users: Sequence[str]) -> AsyncIterator[None]:
    """Webhooks that are signed with another secret."""
    url = f"{region.settings.public.urls[region.settings.region]}/webhooks/generic"

    async def report() -> None:
        now = str(int(datetime.now(UTC).timestamp()))
        headers = {"webhook-id": f"wrong-{now}", "webhook-timestamp": now, "webhook-signature": "v1,d3Jvbmc="}
        async with http.post(url, data=b'{"type":"bounced","data":{}}', headers=headers) as response:
            assert response.status == 403

    async with aiohttp.ClientSession() as http, _repeated(report, every_s=0.5):
        yield


@asynccontextmanager
async def _unreadable_contacts(region: RunningRegion, users: Sequence[str]) -> AsyncIterator[None]:
    """An erasure finds a document that this version cannot read; at the end it is gone, and the erasure is finished."""
    user_id = "erased-by-the-drill"
    bucket, now = region.bucket(user_id), datetime.now(UTC)
    contacts = {"_id": user_id, "bucket": bucket}
    erasure = {"_id": person_hash(erasure_key(region.settings), user_id), "bucket": bucket}
    asked = {"requested_at": now, "user_id": user_id, "due_at": now, "done": [], "found": {}}
    async with region.database(bucket) as database:
        await database.contacts.insert_one(contacts)
        await database.erasures.insert_one(erasure | asked)
        try:
            yield
        finally:
            await database.contacts.delete_one(contacts)

        async def is_finished() -> bool:
            return await database.erasures.find_one(erasure | {"finished_at": {"$exists": True}}) is not None

        # The next attempt is a minute after the last one.
        await until(is_finished, "the erasure is finished")


@asynccontextmanager
async def _redis_wants_another_password(region: RunningRegion, users: Sequence[str]) -> AsyncIterator[None]:
    """For all connections but this one."""
    async with connect(region.settings).client() as redis:
        before = str((await redis.config_get("requirepass"))["requirepass"] or "")
        await redis.config_set("requirepass", "another-password")
        try:
            await redis.client_kill_filter(_type="normal", skipme=True)
            yield
        finally:
            await redis.config_set("requirepass", before)


@asynccontextmanager
async def _retries_held_up(region: RunningRegion, users: Sequence[str]) -> AsyncIterator[None]:
    """The provider fails, then the worker that has to call it again stands still. Both are over when the block begins."""

    async def retries_wait() -> bool:
        return (await region.lag())["us/timers"] >= 30

    async with provider_faults(region.settings, fail={"status": 503}):
        await region.triggers(users, 200)
        await until(retries_wait, "retries wait")
        with _stopped(region, "push"):
            await asyncio.sleep(_HELD_UP_S)
    yield


@asynccontextmanager
async def _shard_down(region: RunningRegion, users: Sequence[str]) -> AsyncIterator[None]:
    """More triggers than usual come for the people of a shard that is down."""
    settings = region.settings
    shard = region.stack.region(settings.region).shards[_DOWN_SHARD]
    there = [one for one in users if settings.shard_of(region.bucket(one)) == _DOWN_SHARD]
    await asyncio.to_thread(shard.kill)
    try:
        await region.triggers(there, _BACKLOG)
        yield
    finally:
        await asyncio.to_thread(shard.start)


@asynccontextmanager
async def _kafka_down(region: RunningRegion, users: Sequence[str]) -> AsyncIterator[None]:
    """While triggers are being processed, so that messages wait for it."""
    kafka = region.stack.region(region.settings.region).kafka
    await region.triggers(users, 2_000)
    await asyncio.to_thread(kafka.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(kafka.start)


@asynccontextmanager
async def _deleted_before_they_were_read(region: RunningRegion, users: Sequence[str]) -> AsyncIterator[None]:
    """The retention of Kafka is shorter than the absence of a role. What is lost stays lost."""
    place = TopicPartition("triggers.payments", region.bucket(users[0]))
    with _stopped(region, "standard"):
        # Until Kafka has answered the worker's last fetch, which would bring it the first of these records.
        await asyncio.sleep(2.0)
        await region.triggers(users[:1], 20)
        admin = region.kafka_admin()
        await admin.start()
        await admin.delete_records({place: RecordsToDelete(before_offset=-1)})
        await admin.close()
    yield


#: In this order: NotifyDeadLetters and NotifyDeliveriesFail compare with all triggers of 10 minutes, so faults with many triggers come later;
#: NotifyLagGrows compares with 5 minutes before.
FAULTS: Final = {
    "worker_stands_still": AlertFault(
        ("NotifyRebalances", "NotifyCriticalSlow", "NotifyEventLoopLate"), _worker_stands_still, 240
    ),
    "category_paused": AlertFault(("NotifyCategoryPaused",), _category_paused, 60),
    "invalid_triggers": AlertFault(("NotifyDeadLetters",), _invalid_triggers, 90),
    "wrong_signatures": AlertFault(("NotifyWebhooksRefused",), _wrong_signatures, 90),
    "unknown_code": AlertFault(
        ("NotifyUnknownCodes",), partial(_provider_answers, status=400, code="NOT_IN_THE_TABLE"), 90
    ),
    "messages_rejected": AlertFault(
        ("NotifyDeliveriesFail",), partial(_provider_answers, status=400, code="INVALID_ARGUMENT"), 180
    ),
    "unreadable_contacts": AlertFault(("NotifyErasureFailed",), _unreadable_contacts, 90),
    "redis_password": AlertFault(("NotifyRefused",), _redis_wants_another_password, 60),
    "retries_held_up": AlertFault(("NotifyRetriesLate",), _retries_held_up, 240),
    "shard_down": AlertFault(("NotifyCallFailing", "NotifyLagGrows"), _shard_down, 540),
    "kafka_down": AlertFault(("NotifyOutboxOld", "NotifyNotReady"), _kafka_down, 150),
}
#: Its loss is a difference of every audit afterwards, so it comes last.
LOSS: Final = AlertFault(("NotifyRecordsLost",), _deleted_before_they_were_read, 90)
