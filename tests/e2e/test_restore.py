"""A region under load loses its databases, then its Kafka too, and is restored from snapshots of different moments.

Its books close, with what was lost in them; a person who was erased after the snapshots stays erased.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from devtools.demo.wait import RegionWatcher
from devtools.stack import Stack
from devtools.stack.backup import lose, restore_databases, snapshot_registry, snapshot_shard
from devtools.supervisor import Supervisor
from notify_streams.admin.bootstrap import bootstrap_region
from notify_streams.settings import load_settings
from notify_streams.topics import all_topics
from tests.e2e.processes import TIMEOUT_S, environ_of, until
from tests.e2e.running_region import QUICK, USERS, RunningRegion, a_new_id, sign_users_up, wait_until_known
from tests.e2e.test_erasure import ONE_REGION, found_in, is_compacted
from tests.local_services import own_stack

pytestmark = [pytest.mark.drill, pytest.mark.timeout(1500), pytest.mark.asyncio(loop_scope="session")]

PHONE = "+15557654399"
#: Those that the test needs.
ROLES = ("critical", "standard", "push", "email", "registry", "views")
#: Triggers a second.
RATE = 40


@dataclass
class Load:
    """Triggers that are sent at a steady rate, until it is stopped."""

    region: RunningRegion
    ids: list[str] = field(default_factory=list)
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        while not self._stopped.is_set():
            began = time.monotonic()
            self.ids += await self.region.triggers(USERS, RATE // 4)
            await asyncio.sleep(max(0.0, 0.25 - (time.monotonic() - began)))

    async def until_more(self, count: int) -> None:
        wanted = len(self.ids) + count
        await until(lambda: len(self.ids) >= wanted, "the load goes on")

    def stop(self) -> None:
        self._stopped.set()


@dataclass
class Backups:
    """What survives the region: snapshots, the erasure log, and what the test knows."""

    folder: Path
    person: str = ""
    before: str = ""
    ids: list[str] = field(default_factory=list)

    @property
    def shards(self) -> list[Path]:
        return [self.folder / f"shard{number}" for number in range(2)]

    @property
    def registry(self) -> Path:
        return self.folder / "registry"

    @property
    def erased(self) -> Path:
        return self.folder / "erased.jsonl"


async def test_a_region_is_restored_with_its_kafka_and_without(tmp_path: Path) -> None:
    async with own_stack("restore") as stack:
        backups = Backups(tmp_path)
        await asyncio.to_thread(stack.up, ["us"])
        async with a_region(stack) as region:
            await started(region)
            await sign_users_up(region)
            await a_life_with_snapshots(region, backups)
        await lost_and_restored(stack, backups, kafka=False)
        await with_kafka_kept(stack, backups)
        await lost_and_restored(stack, backups, kafka=True)
        await with_a_new_kafka(stack, backups)


async def a_life_with_snapshots(region: RunningRegion, backups: Backups) -> None:
    """Snapshots under load, then more load and an erasure."""
    backups.person = person = a_new_id("erin")
    await region.sign_up(person, push=f"token-of-{person}", sms=PHONE, email=f"{person}@example.org")
    await region.drained()
    await wait_until_known(region, person)
    backups.before = await region.trigger(person)
    await region.assert_notified_once(backups.before)

    load = Load(region)
    running = asyncio.create_task(load.run())
    own = region.stack.region("us")
    await load.until_more(4 * RATE)
    await asyncio.to_thread(snapshot_shard, own.shards[0], backups.shards[0])
    await load.until_more(4 * RATE)
    await asyncio.to_thread(snapshot_shard, own.shards[1], backups.shards[1])
    await asyncio.to_thread(snapshot_registry, own, backups.registry)
    await load.until_more(4 * RATE)
    done = await region.cli("users", "forget", person, "--yes", "--json", stdin=b"", **ONE_REGION)
    assert done.status == 0, done.err
    await until(lambda: _is_erased(region, person), "the erasure is finished")
    done = await region.cli("users", "erased")
    backups.erased.write_text(done.out)
    assert done.status == 0 and len(done.out.splitlines()) == 1 and person not in done.out

    refused = await region.cli("restore", "apply")
    assert refused.status == 1 and "workers of this region run (" in refused.err and "Traceback" not in refused.err
    await load.until_more(2 * RATE)
    load.stop()
    await running
    backups.ids = load.ids


async def lost_and_restored(stack: Stack, backups: Backups, *, kafka: bool) -> None:
    region = stack.region("us")
    await asyncio.to_thread(lose, region, kafka=kafka)
    await asyncio.to_thread(restore_databases, region, backups.shards, backups.registry)
    await asyncio.to_thread(stack.up, ["us"])


async def with_kafka_kept(stack: Stack, backups: Backups) -> None:
    """Nothing is lost; what was sent after the snapshots is sent again, marked."""
    async with a_region(stack) as region:
        planned = await applied(region, "--dry-run")
        assert planned["plan"]["kafka"] == "kept" and planned["plan"]["unread"]["standard"] > 0, planned
        for killed in ("inside_restore_step=kill@2", "after_restore_step=kill@2", "after_restore_step=kill@4"):
            done = await region.cli(
                "restore", "apply", "--json", NOTIFY_FAILPOINTS=killed, stdin=b"", **region.log_in_of("restore")
            )
            assert done.status < 0, done.err
            assert (await region.cli("restore", "check")).status == 1
        began = time.monotonic()
        steps = (await applied(region))["steps"]
        report_time("restore apply, kept Kafka, after three kills", began)
        assert steps["erasures"]["erased_again"] >= 1 and steps["lost"] == {}, steps
        began = time.monotonic()
        await started(region)
        new = await region.triggers(USERS, 2 * RATE)
        await settled(region, backups)
        report_time("until everything is sent again", began)

        log = region.provider_log()
        assert {one: {line.channel for line in log.get(one, ())} for one in (*backups.ids, *new)} == {
            one: {"email", "push"} for one in (*backups.ids, *new)
        }
        twice = [one for one in backups.ids if len(log[one]) > 2]
        assert twice, "work of after the snapshots was done again"
        assert all(any(line.possible_duplicate for line in log[one]) for one in twice)
        assert not any(line.possible_duplicate for one in new for line in log[one])
        (restored,) = (await region.audited())["restores"]
        assert restored["lost"] == {} and restored["left_out"] == {} and restored["kafka"] == "kept"
        # Kafka has kept what it was written: until its retention ends, compacted topics for two days.
        await assert_erased(region, backups, {f"kafka:{spec.name}" for spec in all_topics(region.settings)})


async def with_a_new_kafka(stack: Stack, backups: Backups) -> None:
    """What was queued and not sent, and what was never read, is lost, and said so."""
    async with a_region(stack) as region:
        planned = await applied(region, "--dry-run", "--erased", str(backups.erased))
        assert (planned["plan"]["kafka"], planned["erasure_log"]) == ("new", 1)
        done = await region.cli(
            *("restore", "apply", "--erased", str(backups.erased)),
            NOTIFY_FAILPOINTS="inside_restore_step=kill@3",
            stdin=b"",
            **region.log_in_of("restore"),
        )
        assert done.status < 0, done.err
        began = time.monotonic()
        steps = (await applied(region, "--erased", str(backups.erased)))["steps"]
        report_time("restore apply, new Kafka", began)
        assert steps["erasures"]["erased_again"] == 1, steps
        began = time.monotonic()
        await started(region)
        new = await region.triggers(USERS, 2 * RATE)
        await settled(region, backups)
        report_time("until new triggers are sent", began)
        numbers = await region.assert_notified_once(*new)
        (restored,) = numbers["restores"]
        assert restored["kafka"] == "new" and restored["lost"] == steps["lost"]
        assert numbers["reasons"].get("lost", 0) == sum(steps["lost"].values())
        await assert_erased(region, backups, set())


@asynccontextmanager
async def a_region(stack: Stack) -> AsyncIterator[RunningRegion]:
    """The region without workers, after what an operator does first: topics and collections. At the end it loses its workers."""
    environ = environ_of(stack) | QUICK
    settings = load_settings("us", environ=environ, overlay=stack.settings_file("us"))
    await bootstrap_region(settings)
    supervisor = Supervisor(settings, ROLES, stack.folder / "us" / "workers", environ)
    async with RegionWatcher([settings], Console(quiet=True)) as watch:
        region = RunningRegion(stack, settings, supervisor, watch)
        try:
            yield region
        finally:
            await region.close()
            await supervisor.kill()


async def applied(region: RunningRegion, *options: str) -> dict[str, Any]:
    """`restore apply`, when the sessions of the workers that were killed have ended."""
    found: list[dict[str, Any]] = []

    async def is_applied() -> bool:
        done = await region.cli("restore", "apply", *options, "--json", stdin=b"", **region.log_in_of("restore"))
        if done.status == 0:
            found.append(done.json)
        else:
            assert "workers of this region run (" in done.err or '"running":[' in done.out, done.err + done.out
        return done.status == 0

    await until(is_applied, "the region is restored")
    return found[0]


async def started(region: RunningRegion) -> None:
    await region.supervisor.start()
    await region.ready_with(ROLES, 2 * TIMEOUT_S)


async def settled(region: RunningRegion, backups: Backups) -> None:
    await until(lambda: _is_erased(region, backups.person), "the erasure is finished again")
    await region.drained()


async def assert_erased(region: RunningRegion, backups: Backups, allowed: set[str]) -> None:
    """Nothing of the person is left but in these places, nothing reaches them; an old trigger can still be explained."""
    person = backups.person
    searched = [word.encode() for word in (PHONE, f"token-of-{person}", f"{person}@example.org")]
    assert (left := await found_in(region, searched)) <= allowed, left - allowed
    # A record without a value, by which a table forgets the person, has the user id as its key.
    compacted = {f"kafka:{spec.name}" for spec in all_topics(region.settings) if is_compacted(spec)}
    assert (left := await found_in(region, [person.encode()])) <= allowed | compacted, left - allowed
    accepted = len(region.provider_log()[backups.before])
    trigger_id = await region.trigger(person)
    await region.drained()
    assert region.channels(trigger_id) == [] and len(region.provider_log()[backups.before]) == accepted
    done = await region.why(backups.before, "--json")
    assert done.status == 0 and person not in done.out, done.err
    assert (await region.audited())["restores"]


async def _is_erased(region: RunningRegion, person: str) -> bool:
    return (await region.cli("users", "forget", person, "--status", stdin=b"", **ONE_REGION)).status == 0


def report_time(what: str, began: float) -> None:
    print(f"{what}: {time.monotonic() - began:.1f} s")
