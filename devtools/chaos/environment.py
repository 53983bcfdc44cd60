"""A region for fault tests: services, workers, users, triggers, the audit."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson
from rich.console import Console

from devtools.demo.sample_users import sample_users, signup_records
from devtools.demo.wait import RegionWatcher
from devtools.stack import Stack
from devtools.stack.starting import StartedAsAWhole, start_services
from devtools.workers import WorkerPool
from notify_streams.admin.audit import audit
from notify_streams.admin.bootstrap import bootstrap_region
from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.settings import Settings, load_settings
from notify_streams.transport import SendError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from devtools.demo.sample_users import SampleUser
    from notify_streams.admin.trigger_producer import Upload

REGION: Final = "us"
_DRAIN_S: Final = 120.0
_BATCH: Final = 20
_ATTEMPTS: Final = 5
_REPEATED_SHARE: Final = 0.03
_TEMPLATES: Final = {"payments": "payment_received", "security": "new_device"}


class ChaosEnvironment(StartedAsAWhole):
    """``async with ChaosEnvironment(folder, members, report) as environment``. On exit it stops all workers and wipes the stack."""

    def __init__(self, folder: Path, members: int, report: Callable[[str], None]) -> None:
        self.stack = Stack(folder, environment={})
        self._members = members
        self.report = report
        super().__init__()
        self.pool = WorkerPool(REGION, {"NOTIFY_STACK_DIR": str(folder)}, folder / "workers")
        self.settings: Settings
        self._watcher: RegionWatcher
        self._producer: TriggerProducer
        self._users: list[SampleUser] = []

    async def _start(self) -> None:
        self.report("starting services")
        self._closing.push_async_callback(asyncio.to_thread, self.stack.down, [REGION], True)
        await start_services(self.stack, [REGION], self._members)
        self.settings = load_settings(REGION, environ={}, overlay=self.stack.settings_file(REGION))
        await bootstrap_region(self.settings)
        self._closing.push_async_callback(self.pool.stop_all)
        console = Console(stderr=True, quiet=True)
        self._watcher = await self._closing.enter_async_context(RegionWatcher([self.settings], console))
        self._producer = await self._closing.enter_async_context(TriggerProducer(self.settings))

    async def sign_up_users(self, count: int) -> list[str]:
        """Returns the user ids when the users can get notifications. The registry and router workers must run."""
        self._users = sample_users(count, [REGION], 7)
        now = datetime.now(UTC)
        await self._producer.send(
            record for number, user in enumerate(self._users) for record in signup_records(user, number, now)
        )
        await self.wait_until_drained()
        return [user.user_id for user in self._users]

    async def write(self, topic: str, key: str, value: bytes) -> None:
        """Write one record."""
        await self._producer.send([(topic, key, value, ())])

    async def send_triggers(self, count: int, draw: random.Random, rate: int = 400, critical: float = 0.1) -> None:
        """Send `count` triggers at `rate` a second. A share `critical` of them is critical, some are repeated."""
        sent: list[Upload] = []
        started = time.monotonic()
        for at in range(0, count, _BATCH):
            batch: list[Upload] = []
            for number in range(at, min(count, at + _BATCH)):
                if sent and draw.random() < _REPEATED_SHARE:
                    batch.append(draw.choice(sent[-200:]))
                    continue
                system = draw.choice(tuple(_TEMPLATES))
                user_id = draw.choice(self._users).user_id
                value = _trigger(f"c{time.time_ns():x}-{number}", user_id, system, draw.random() < critical)
                batch.append((f"triggers.{system}", user_id, value, ()))
            await self._send_again_and_again(batch)
            sent += batch
            await asyncio.sleep(max(0.0, (at + _BATCH) / rate - (time.monotonic() - started)))

    async def _send_again_and_again(self, batch: list[Upload]) -> None:
        """As an upstream system does while its Kafka is away. What Kafka had already becomes a duplicate.

        Raises:
            SendError: Kafka did not acknowledge it in five attempts.
        """
        for _ in range(_ATTEMPTS - 1):
            try:
                await self._producer.send(batch)
                return
            except SendError as error:
                self.report(f"sent again: {error}")
        await self._producer.send(batch)

    async def inject_faults(self, faults: dict[str, Any] | None) -> None:
        """Make the sandbox's FCM answer like this (`devtools.sandbox.fault_injection`); None: without faults."""
        url = f"{self.settings.providers.fcm}/control"
        async with aiohttp.ClientSession() as session:
            plan = orjson.dumps({"provider": "fcm", **(faults or {})})
            async with session.post(url, data=plan) as response:
                response.raise_for_status()

    async def wait_until_drained(self) -> None:
        """Wait until no role has lag.

        Raises:
            StoreUnavailable: there was no progress for two minutes.
        """
        await self._watcher.wait_until_drained("drain", _DRAIN_S)

    async def audit(self) -> dict[str, Any]:
        """The audit's report, and how many channel messages and provider calls were repeated."""
        report = await audit([self.settings], wait_s=_DRAIN_S)
        numbers = report["regions"][self.settings.region]
        report["duplicates"], report["provider_repeats"] = numbers["repeated_messages"], numbers["repeated_calls"]
        return report


def _trigger(trigger_id: str, user_id: str, system: str, critical: bool) -> bytes:
    return orjson.dumps(
        {
            "id": trigger_id,
            "user_id": user_id,
            "category": system,
            "template": _TEMPLATES[system],
            "isCritical": critical,
            "data": {"amount": "1.00", "device": "a new phone"},
        }
    )
