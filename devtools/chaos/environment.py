"""The ground of a drill: a region of its own with people signed up, triggers on demand, and the audit as judge."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson
from rich.console import Console

from devtools.demo.sample_users import people, sign_up
from devtools.demo.wait import RegionWatcher
from devtools.stack import Stack
from devtools.workers import WorkerPool
from notify_streams.admin.audit import audit
from notify_streams.admin.audit.region import take_snapshot
from notify_streams.admin.bootstrap import bootstrap_region
from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.settings import Settings, load_settings

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from devtools.demo.sample_users import Person
    from notify_streams.admin.trigger_producer import Upload

REGION: Final = "us"
_DRAIN_S: Final = 120.0
_AT_ONCE: Final = 20
_REPEATS: Final = 0.03


class ChaosEnvironment:
    """``async with Ground(folder, members) as ground``; ends the stack and every worker."""

    def __init__(self, folder: Path, members: int, say: Callable[[str], None]) -> None:
        self.stack = Stack(folder, environment={})
        self._members = members
        self.say = say
        self._closing = AsyncExitStack()
        self.pool = WorkerPool(REGION, {"NOTIFY_STACK_DIR": str(folder)}, folder / "workers")
        self.settings: Settings
        self._watch: RegionWatcher
        self._upstream: TriggerProducer
        self._audience: list[Person] = []
        self.sent = 0

    async def __aenter__(self) -> Self:
        self.say("starting services")
        self._closing.push_async_callback(asyncio.to_thread, self.stack.down, [REGION], True)
        await asyncio.to_thread(self.stack.up, [REGION], self._members)
        self.settings = load_settings(REGION, environ={}, overlay=self.stack.settings_file(REGION))
        await bootstrap_region(self.settings)
        self._closing.push_async_callback(self.pool.stop_all)
        console = Console(stderr=True, quiet=True)
        self._watch = await self._closing.enter_async_context(RegionWatcher([self.settings], console))
        self._upstream = await self._closing.enter_async_context(TriggerProducer(self.settings))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._closing.aclose()

    async def populate(self, count: int) -> list[str]:
        """Sign people up, and return their user ids; the workers of `registry` and the routers must run."""
        self._audience = people(count, [REGION], 7)
        now = datetime.now(UTC)
        await self._upstream.send(
            upload for number, person in enumerate(self._audience) for upload in sign_up(person, number, now)
        )
        await self.drained()
        return [person.user_id for person in self._audience]

    async def upload(self, topic: str, key: str, value: bytes) -> None:
        """Write one record."""
        await self._upstream.send([(topic, key, value, ())])

    async def send(self, count: int, draw: random.Random, rate: int = 400, critical: float = 0.1) -> None:
        """Send triggers at `rate` a second, a share of them critical, some of them repeats."""
        sent: list[Upload] = []
        began = time.monotonic()
        for at in range(0, count, _AT_ONCE):
            part: list[Upload] = []
            for number in range(at, min(count, at + _AT_ONCE)):
                if sent and draw.random() < _REPEATS:
                    part.append(draw.choice(sent[-200:]))
                    continue
                system = draw.choice(("payments", "security"))
                user_id = draw.choice(self._audience).user_id
                value = _trigger(f"c{time.time_ns():x}-{number}", user_id, system, draw.random() < critical)
                part.append((f"triggers.{system}", user_id, value, ()))
            await self._upstream.send(part)
            sent += part
            await asyncio.sleep(max(0.0, (at + _AT_ONCE) / rate - (time.monotonic() - began)))
        self.sent += count

    async def drained(self) -> None:
        """Until nothing is behind.

        Raises:
            StoreUnavailable: there was no progress for two minutes.
        """
        await self._watch.wait_until_drained("drain", _DRAIN_S)

    async def judge(self) -> dict[str, Any]:
        """The audit's report, and how many channel messages were published more than once."""
        report = await audit([self.settings])
        facts = await take_snapshot(self.settings)
        report["duplicates"] = sum(times - 1 for counted in facts.published.values() for times in counted.values())
        report["provider_repeats"] = sum(one.times - 1 for one in (facts.accepted or {}).values())
        return report


def _trigger(identity: str, user_id: str, system: str, critical: bool) -> bytes:
    template = {"payments": "payment_received", "security": "new_device"}[system]
    data = {"amount": "1.00", "device": "a drill"}
    return orjson.dumps(
        {
            "id": identity,
            "user_id": user_id,
            "category": system,
            "template": template,
            "isCritical": critical,
            "data": data,
        }
    )
