"""The race with real workers.

Choices are made by HTTP, by topic and by the one-click link of a mail; calls are read from the provider log. Workers are paused beyond
the session time-out, killed and started, so that partitions move; Redis is killed and starts empty; paused channel workers leave a
backlog. All times are Unix seconds of this machine.
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

from devtools.race.invariants import Call, Observations, ObservedChoice, Suppression
from devtools.race.runner import RaceResult
from notify_streams.admin.audit.provider_log import read_provider_log
from notify_streams.delivery.attempt_reader import AttemptReader
from notify_streams.errors import StoreUnavailable
from notify_streams.preferences.categories import configured_categories
from notify_streams.preferences.choices import EMPTY_RECORD
from notify_streams.preferences.repository import PreferenceRepository
from notify_streams.records.ids import split_delivery_id, trigger_of
from notify_streams.records.link_token import LinkTokens
from notify_streams.records.outcomes import Reason
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.user_records import PreferenceUpdate
from notify_streams.roles import CHANNEL_ROLES, LANES
from notify_streams.stores.mongo import NOTIFICATIONS, Shards
from notify_streams.topics import PREFERENCE_UPDATES

if TYPE_CHECKING:
    from devtools.chaos.environment import ChaosEnvironment

CATEGORY: Final = "payments"
CHANNEL: Final = "push"
_RATE: Final = 200
_USERS: Final = 100
_CHOICES_EVERY_S: Final = 0.05
_PAUSED_S: Final = 8.0
_BETWEEN_FAULTS_S: Final = (1.0, 4.0)
_STORED_S: Final = 15.0
_STORE_S: Final = 10.0


async def run_pipeline_race(environment: ChaosEnvironment, seconds: float, seed: int) -> RaceResult:
    """Run triggers, choices and faults concurrently for `seconds`, then check the invariants on the provider log."""
    draw = random.Random(f"pipeline-{seed}")
    for role in ("registry", "views", "webhooks", "critical", "standard", "standard", *CHANNEL_ROLES, "push"):
        await environment.pool.start(role)
    await asyncio.gather(*(worker.wait_until_ready() for worker in environment.pool.workers.values()))
    user_ids = await environment.sign_up_users(_USERS)
    observations = {user_id: Observations(number) for number, user_id in enumerate(user_ids)}
    end = time.monotonic() + seconds
    async with _Chooser(environment, observations, end) as chooser:
        await asyncio.gather(
            environment.send_triggers(int(_RATE * seconds), draw, rate=_RATE),
            chooser.run(draw),
            _inject_faults(environment, end, random.Random(f"faults-{seed}")),
        )
    await environment.wait_until_drained()
    result = RaceResult(table_only=await _table_only(environment))
    await _add_calls_and_suppressions(environment, observations)
    for one in observations.values():
        result.add(one, environment.settings.preferences.bound_s)
    return result


class _Chooser:
    """Makes choices for random users."""

    def __init__(self, environment: ChaosEnvironment, observations: dict[str, Observations], end: float) -> None:
        self._environment = environment
        self._observations = observations
        self._end = end
        self._shards = Shards(environment.settings)
        self._tokens = LinkTokens(environment.settings.public.link_key_list())
        self._choosing: set[str] = set()
        self._closing = AsyncExitStack()

    async def __aenter__(self) -> _Chooser:
        await self._closing.enter_async_context(self._shards)
        token = self._environment.settings.web_write_token
        assert token is not None, "the local stack has a token"
        headers = {"Authorization": f"Bearer {token.reveal()}"}
        timeout = aiohttp.ClientTimeout(total=20)
        self._http = await self._closing.enter_async_context(aiohttp.ClientSession(headers=headers, timeout=timeout))
        self._repository = PreferenceRepository(self._shards, 5.0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._closing.aclose()

    async def run(self, draw: random.Random) -> None:
        """Two of three choices are made by HTTP, half of these opt-outs by one click; the others by topic."""
        async with asyncio.TaskGroup() as group:
            while time.monotonic() < self._end:
                user_id, path = draw.choice(list(self._observations)), draw.choice(("http", "one_click", "topic"))
                opted_in = draw.random() < 0.5
                group.create_task(self._choose(user_id, opted_in, "http" if opted_in and path == "one_click" else path))
                await asyncio.sleep(_CHOICES_EVERY_S)

    async def _choose(self, user_id: str, opted_in: bool, path: str) -> None:
        if user_id in self._choosing:  # The order of two concurrent choices would not be known.
            return
        self._choosing.add(user_id)
        choice = ObservedChoice(opted_in, path, time.time())
        self._observations[user_id].choices.append(choice)
        by = {"http": self._by_http, "one_click": self._by_one_click, "topic": self._by_topic}
        if await by[path](user_id, choice):
            choice.acknowledged_at = time.time()
        self._choosing.discard(user_id)

    async def _by_http(self, user_id: str, choice: ObservedChoice) -> bool:
        (worker,) = self._environment.pool.running("views")
        url = f"{worker.url}/users/{user_id}/preferences/{CATEGORY}/{CHANNEL}"
        try:
            async with self._http.put(url, json={"opted_in": choice.opted_in}) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _by_one_click(self, user_id: str, choice: ObservedChoice) -> bool:
        """As a mail program does for its user."""
        (worker,) = self._environment.pool.running("webhooks")
        url = f"{worker.url}/unsubscribe/{self._tokens.make(user_id, CATEGORY, CHANNEL, 'en')}"
        try:
            async with self._http.post(url, data={"List-Unsubscribe": "One-Click"}) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _by_topic(self, user_id: str, choice: ObservedChoice) -> bool:
        """A topic has no acknowledgement: wait until the preference record has the choice."""
        at = datetime.fromtimestamp(int(choice.called_at * 1000) / 1000, UTC)
        update = PreferenceUpdate(user_id, CATEGORY, CHANNEL, choice.opted_in, at)
        await self._environment.write(PREFERENCE_UPDATES, user_id, msgspec.json.encode(update))
        bucket = bucket_of(user_id, self._environment.settings.partitions)
        number = configured_categories()[CATEGORY].number
        deadline = time.monotonic() + _STORED_S
        while time.monotonic() < deadline:
            try:
                record = await self._repository.read(bucket, user_id)
            except StoreUnavailable:
                record = EMPTY_RECORD
            found = record.choices.get(number, {}).get(CHANNEL)
            if found is not None and found.at == at:
                return True
            await asyncio.sleep(0.1)
        return False


async def _inject_faults(environment: ChaosEnvironment, end: float, draw: random.Random) -> None:
    """One fault at a time; each has ended before the next."""
    redis = environment.stack.region("us").redis
    while time.monotonic() < end:
        await asyncio.sleep(draw.uniform(*_BETWEEN_FAULTS_S))
        kind = draw.choice(("pause push", "pause standard", "kill push", "kill standard", "redis"))
        environment.report(kind)
        if kind == "redis":
            await asyncio.to_thread(redis.kill)
            await asyncio.sleep(draw.uniform(0, 2))
            await asyncio.to_thread(redis.start)
            continue
        action, role = kind.split()
        if action == "pause":
            # All workers of the role, so that a backlog grows and their group removes them.
            workers = environment.pool.running(role)
            for worker in workers:
                worker.signal(signal.SIGSTOP)
            await asyncio.sleep(_PAUSED_S)
            for worker in workers:
                worker.signal(signal.SIGCONT)
        else:
            await environment.pool.stop(environment.pool.running(role)[0], signal.SIGKILL)
            await (await environment.pool.start(role)).wait_until_ready()


async def _table_only(environment: ChaosEnvironment) -> int:
    """Batches that running routers decided by the table alone; those may miss an opt-in."""
    total = 0.0
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        for lane in LANES:
            for worker in environment.pool.running(lane):
                async with http.get(f"{worker.url}/metrics") as response:
                    found = re.search(r"^notify_table_only_total (\S+)", await response.text(), re.MULTILINE)
                    total += float(found[1]) if found else 0.0
    return int(total)


async def _add_calls_and_suppressions(environment: ChaosEnvironment, observations: dict[str, Observations]) -> None:
    """Calls from the provider log, suppressions from the notification documents."""
    calls: dict[str, list[float]] = defaultdict(list)
    for accepted in read_provider_log(str(environment.settings.sandbox_record)):
        notification, channel = split_delivery_id(accepted.delivery_id)
        if channel == CHANNEL:
            calls[notification].append(accepted.at)
    async with Shards(environment.settings) as shards:
        for shard in range(len(shards)):
            found = await shards.database(shard)[NOTIFICATIONS].find({"category": CATEGORY}).to_list()
            await AttemptReader(shards, _STORE_S).add_status(found)
            for one in found:
                user = observations[one["user_id"]]
                user.calls += [Call(float("-inf"), at, "provider") for at in calls.get(one["_id"], ())]
                push = one["deliveries"].get(CHANNEL, {})
                if push.get("reason") == Reason.OPTED_OUT.value:
                    # Its check began after it was sent; the id has that time.
                    sent_at = int(trigger_of(one["_id"])[1:].partition("-")[0], 16) / 1e9
                    ended_at = push["at"].timestamp()
                    step = f"{one['_id']}, sent at {sent_at:.3f}, suppressed at {ended_at:.3f}"
                    user.suppressions.append(Suppression(sent_at, ended_at, step))
