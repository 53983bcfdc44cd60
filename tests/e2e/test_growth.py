"""`topics grow` 8 → 16 with 100,000 people and kills in the middle.

Each delivery is made once, old ones are found, and the books close.
`pytest -m drill -s tests/e2e/test_growth.py` shows the times.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial

import msgspec
import pytest
from rich.console import Console

from devtools import subprocesses
from devtools.demo.wait import RegionWatcher
from devtools.stack import Stack
from devtools.stack.paths import PROJECT
from devtools.supervisor import Supervisor
from notify_streams.preferences.choices import ChoiceChange
from notify_streams.preferences.repository import PreferenceRepository
from notify_streams.records.ids import delivery_id
from notify_streams.records.user_records import Contacts, LocationRecord
from notify_streams.registry.contact_repository import ContactRepository
from notify_streams.roles import ROLES
from notify_streams.settings import load_settings
from notify_streams.stores.mongo import Shards
from notify_streams.topics import USER_LOCATIONS
from notify_streams.transport import BatchProducer
from tests.e2e.processes import TIMEOUT_S, environ_of, until
from tests.e2e.running_region import QUICK, RunningRegion, start_region
from tests.local_services import own_stack

pytestmark = [pytest.mark.drill, pytest.mark.stack, pytest.mark.timeout(1200)]

AFTER = 16
PEOPLE, NOTIFIED = 100_000, 1_000
_AT_ONCE = 2_000
GROW = ("topics", "grow", "--partitions", str(AFTER))


async def test_a_region_of_100_000_people_grows_while_it_is_killed() -> None:
    people = [f"grow-{number}" for number in range(PEOPLE)]
    async with own_stack("growth") as stack, start_region(stack) as region:
        await add_people(region, people)
        as_grow = region.log_in_of("grow")
        refused = await region.cli(*GROW, stdin=b"", **as_grow)
        assert refused.status == 1 and "workers of region us run" in refused.err
        assert (await region.cli("providers", "pause", "push:payments")).status == 0
        await until(partial(one_more_waits, region, people[-1]), "the workers know of the pause")
        before = await region.triggers(people[:NOTIFIED], NOTIFIED)
        await until(partial(only_timers_wait, region), "only what is paused waits")
        await region.supervisor.stop()

        for words in ("step 3 of 6, documents", "documents, ", "step 5 of 6, tables"):
            await killed_at(region, words)
        worker = await region.cli("worker", "--role", "standard")
        assert worker.status == 1 and worker.err.count("\n") == 1 and "is growing from 8 to 16" in worker.err
        other = await region.cli("topics", "grow", "--partitions", "32", stdin=b"", **as_grow)
        assert other.status == 1 and "topics grow --partitions 16" in other.err
        done = await region.cli(*GROW, "--json", stdin=b"", **as_grow)
        assert done.status == 0, done.err
        print(done.err, done.out)
        worker = await region.cli("worker", "--role", "standard")
        assert worker.status == 1 and "has 16 partitions, the settings say 8" in worker.err

        async with running_with_more(stack) as grown:
            after = await grown.triggers(people[NOTIFIED : 2 * NOTIFIED], NOTIFIED)
            again = await grown.triggers(people[:NOTIFIED], NOTIFIED)
            assert (await grown.cli("providers", "resume", "push:payments", NOTIFY_PARTITIONS=str(AFTER))).status == 0
            await grown.assert_notified_once(*before, *after, *again)
            await assert_old_ones_are_found(grown, before[0])
            await grown.audited()


async def add_people(region: RunningRegion, people: Sequence[str]) -> None:
    """With contacts and a choice; their rows come from the durable records."""
    now = datetime.now(UTC)
    producer = BatchProducer(region.super_user, client_id="test")
    await producer.start()
    async with Shards(region.settings) as shards:
        contacts, choices = ContactRepository(shards, 30.0), PreferenceRepository(shards, 30.0)
        for first in range(0, len(people), _AT_ONCE):
            some = people[first : first + _AT_ONCE]
            buckets = {one: region.bucket(one) for one in some}
            await contacts.apply(
                (buckets[one], Contacts(one, now, f"t-{one}", None, f"{one}@example.org")) for one in some
            )
            await choices.apply((buckets[one], one, ChoiceChange(2, "push", False, now)) for one in some)
            for bucket in set(buckets.values()):
                rows = [
                    (one.encode(), msgspec.json.encode(LocationRecord(one, "us")), ())
                    for one in some
                    if buckets[one] == bucket
                ]
                await producer.send_batch(USER_LOCATIONS, bucket, rows)
    await producer.stop()
    assert (await region.cli("tables", "rebuild")).status == 0
    await region.drained()


async def one_more_waits(region: RunningRegion, user_id: str) -> bool:
    await region.trigger(user_id)
    return (await region.lag())["us/timers"] > 0


async def only_timers_wait(region: RunningRegion) -> bool:
    lag = await region.lag()
    return lag.pop("us/timers") > NOTIFIED and not any(lag.values())


async def killed_at(region: RunningRegion, words: str) -> None:
    """Run the command until its progress says `words`; then it gets SIGKILL."""
    command = subprocesses.python_module("notify_streams.cli", *GROW)
    async with subprocesses.running(
        command, env=region.environ | region.log_in_of("grow"), cwd=PROJECT, stderr=asyncio.subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        async with asyncio.timeout(2 * TIMEOUT_S):
            async for line in process.stderr:
                print(line.decode(), end="")
                if words in line.decode():
                    process.kill()
                    break
        await process.wait()
    assert process.returncode == -9, f"it never came to {words!r}"


@asynccontextmanager
async def running_with_more(stack: Stack) -> AsyncIterator[RunningRegion]:
    """The workers, with the new number in their settings."""
    async with AsyncExitStack() as closing:
        environ = environ_of(stack) | QUICK | {"NOTIFY_PARTITIONS": str(AFTER)}
        settings = load_settings("us", environ=environ, overlay=stack.settings_file("us"))
        supervisor = Supervisor(settings, ROLES, stack.folder / "us" / "workers", environ)
        closing.push_async_callback(supervisor.stop)
        await supervisor.start()
        watch = await closing.enter_async_context(RegionWatcher([settings], Console(quiet=True)))
        region = RunningRegion(stack, settings, supervisor, watch)
        closing.push_async_callback(region.close)
        await watch.wait_until_ready(2 * TIMEOUT_S)
        yield region


async def assert_old_ones_are_found(region: RunningRegion, trigger_id: str) -> None:
    """`why` explains a notification of before, and another attempt of its delivery can be made."""
    why = (await region.why(trigger_id, "--json", NOTIFY_PARTITIONS=str(AFTER))).json
    (notification,) = why["notifications"]
    states = {one["channel"]: one["state"] for one in notification["deliveries"]}
    assert states == {"push": "sent", "email": "sent", "sms": "suppressed"}, "they have no number"
    identity = delivery_id(notification["notification_id"], "push")
    replayed = await region.cli("deliveries", "replay", identity, "--again", "--json", NOTIFY_PARTITIONS=str(AFTER))
    assert replayed.json["replayed"] == [identity]

    async def is_accepted_again() -> bool:
        return region.channels(trigger_id) == ["email", "push", "push"]

    await until(is_accepted_again, "the delivery is made again")
