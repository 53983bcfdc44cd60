"""The race through the whole product: real workers, choices by HTTP and by topic, and the provider's own record as the witness.

In: a running ground and for how long. Out: a `Race`, judged by the provider's clock (the same machine's). Workers are stopped beyond the
session timeout, killed and started, so that partitions move; Redis is emptied and killed; stopped channel workers leave a backlog.
"""

from __future__ import annotations

import asyncio
import random
import re
import signal
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec

from devtools.race.invariants import Call, Chosen, Observations, Suppression
from devtools.race.runner import Race
from notify_streams.admin.audit.provider_log import read_provider_log
from notify_streams.errors import StoreUnavailable
from notify_streams.preferences.categories import configured_categories
from notify_streams.preferences.choices import EMPTY_RECORD
from notify_streams.preferences.repository import PreferenceRepository
from notify_streams.records.ids import split_delivery_id, trigger_of
from notify_streams.records.outcomes import Reason
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.user_records import PreferenceUpdate
from notify_streams.roles import CHANNEL_ROLES, LANES
from notify_streams.stores.mongo import NOTIFICATIONS, Shards
from notify_streams.topics import PREFERENCE_UPDATES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from devtools.chaos.environment import ChaosEnvironment

CATEGORY: Final = "payments"
CHANNEL: Final = "push"
_RATE: Final = 200
_PEOPLE: Final = 100
_CHOICES_EVERY_S: Final = 0.05
_STOPPED_S: Final = 8.0
_CALM_S: Final = (1.0, 4.0)
_DURABLE_S: Final = 15.0


async def race_through(ground: ChaosEnvironment, seconds: float, seed: int) -> Race:
    """Let triggers, choices and faults run beside each other for so long, then judge what the provider recorded."""
    draw = random.Random(f"pipeline-{seed}")
    for role in ("registry", "critical", "standard", "standard", *CHANNEL_ROLES, "push"):
        await ground.pool.start(role)
    await asyncio.gather(*(worker.wait_until_ready() for worker in ground.pool.workers.values()))
    user_ids = await ground.populate(_PEOPLE)
    stories = {user_id: Observations(number) for number, user_id in enumerate(user_ids)}
    ends = time.monotonic() + seconds
    async with _Chooser(ground, stories, ends) as chooser:
        await asyncio.gather(
            ground.send(int(_RATE * seconds), draw, rate=_RATE),
            chooser.run(draw),
            _hurt(ground, ends, random.Random(f"faults-{seed}")),
        )
    await ground.drained()
    race = Race(table_only=await _table_only(ground))
    await _witness(ground, stories)
    for story in stories.values():
        race.add(story, ground.settings.preferences.bound_s)
    return race


class _Chooser:
    """Makes choices for random people; times are Unix seconds, as the provider's are."""

    def __init__(self, ground: ChaosEnvironment, stories: dict[str, Observations], ends: float) -> None:
        self._ground = ground
        self._stories = stories
        self._ends = ends
        self._shards = Shards(ground.settings)
        self._choosing: set[str] = set()
        self._closing = AsyncExitStack()

    async def __aenter__(self) -> _Chooser:
        await self._shards.start()
        self._closing.push_async_callback(self._shards.close)
        headers = {"Authorization": f"Bearer {self._ground.settings.web_token}"}
        timeout = aiohttp.ClientTimeout(total=20)
        self._http = await self._closing.enter_async_context(aiohttp.ClientSession(headers=headers, timeout=timeout))
        self._durable = PreferenceRepository(self._shards, 5.0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._closing.aclose()

    async def run(self, draw: random.Random) -> None:
        ways: Sequence[Callable[[str, Chosen], Awaitable[bool]]] = (self._by_http, self._by_http, self._by_topic)
        async with asyncio.TaskGroup() as group:
            while time.monotonic() < self._ends:
                user_id, way = draw.choice(list(self._stories)), draw.choice(ways)
                group.create_task(self._choose(user_id, draw.random() < 0.5, way))
                await asyncio.sleep(_CHOICES_EVERY_S)

    async def _choose(self, user_id: str, opted_in: bool, way: Callable[[str, Chosen], Awaitable[bool]]) -> None:
        if user_id in self._choosing:  # of two at a time nobody could tell which came last
            return
        self._choosing.add(user_id)
        chosen = Chosen(opted_in, "topic" if way == self._by_topic else "http", time.time())
        self._stories[user_id].choices.append(chosen)
        if await way(user_id, chosen):
            chosen.acknowledged_at = time.time()
        self._choosing.discard(user_id)

    async def _by_http(self, user_id: str, chosen: Chosen) -> bool:
        (worker,) = self._ground.pool.running("registry")
        url = f"{worker.url}/users/{user_id}/preferences/{CATEGORY}/{CHANNEL}"
        try:
            async with self._http.put(url, json={"opted_in": chosen.opted_in}) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _by_topic(self, user_id: str, chosen: Chosen) -> bool:
        """Acknowledged is what the durable record has: a topic tells nobody."""
        at = datetime.fromtimestamp(int(chosen.called_at * 1000) / 1000, UTC)
        update = PreferenceUpdate(user_id, CATEGORY, CHANNEL, chosen.opted_in, at)
        await self._ground.upload(PREFERENCE_UPDATES, user_id, msgspec.json.encode(update))
        bucket = bucket_of(user_id, self._ground.settings.partitions)
        number = configured_categories()[CATEGORY].number
        deadline = time.monotonic() + _DURABLE_S
        while time.monotonic() < deadline:
            try:
                record = await self._durable.read(bucket, user_id)
            except StoreUnavailable:
                record = EMPTY_RECORD
            found = record.choices.get(number, {}).get(CHANNEL)
            if found is not None and found.at == at:
                return True
            await asyncio.sleep(0.1)
        return False


async def _hurt(ground: ChaosEnvironment, ends: float, draw: random.Random) -> None:
    """One fault after the other; each heals before the next."""
    redis = ground.stack.region("us").redis
    while time.monotonic() < ends:
        await asyncio.sleep(draw.uniform(*_CALM_S))
        kind = draw.choice(("stop push", "stop standard", "kill push", "kill standard", "redis"))
        ground.say(kind)
        if kind == "redis":
            await asyncio.to_thread(redis.kill)
            await asyncio.sleep(draw.uniform(0, 2))
            await asyncio.to_thread(redis.start)
            continue
        what, role = kind.split()
        if what == "stop":
            # All of a role: its topic becomes a backlog, and its members are taken for dead.
            workers = ground.pool.running(role)
            for worker in workers:
                worker.signal(signal.SIGSTOP)
            await asyncio.sleep(_STOPPED_S)
            for worker in workers:
                worker.signal(signal.SIGCONT)
        else:
            await ground.pool.stop(ground.pool.running(role)[0], signal.SIGKILL)
            await (await ground.pool.start(role)).wait_until_ready()


async def _table_only(ground: ChaosEnvironment) -> int:
    """Batches that the routers decided by the table alone: these may lack an opt-in. Those of killed workers are not counted."""
    total = 0.0
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        for lane in LANES:
            for worker in ground.pool.running(lane):
                async with http.get(f"{worker.url}/metrics") as answer:
                    found = re.search(r"^notify_table_only_total (\S+)", await answer.text(), re.MULTILINE)
                    total += float(found[1]) if found else 0.0
    return int(total)


async def _witness(ground: ChaosEnvironment, stories: dict[str, Observations]) -> None:
    """What was called, by the provider's record, and what a choice suppressed, by the database."""
    calls: dict[str, list[float]] = defaultdict(list)
    for accepted in read_provider_log(str(ground.settings.sandbox_record)):
        notification, channel = split_delivery_id(accepted.delivery_id)
        if channel == CHANNEL:
            calls[notification].append(accepted.at)
    shards = Shards(ground.settings)
    await shards.start()
    try:
        for shard in range(len(shards)):
            async for one in shards.database(shard)[NOTIFICATIONS].find({"category": CATEGORY}):
                story = stories[one["user_id"]]
                story.calls += [Call(float("-inf"), at, "provider") for at in calls.get(one["_id"], ())]
                push = one["deliveries"].get(CHANNEL, {})
                if push.get("reason") == Reason.OPTED_OUT.value:
                    # Its check began after it was sent, which its id says.
                    sent_at = int(trigger_of(one["_id"])[1:].partition("-")[0], 16) / 1e9
                    ended_at = push["at"].timestamp()
                    stage = f"{one['_id']}, sent at {sent_at:.3f}, suppressed at {ended_at:.3f}"
                    story.suppressions.append(Suppression(sent_at, ended_at, stage))
    finally:
        await shards.close()
