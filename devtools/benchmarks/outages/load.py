"""Open-loop load: triggers to a failing provider, critical ones to another."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from devtools.benchmarks.router.load import TOPIC, USERS, bench_user
from devtools.load.open_loop import SingleSender, at_rate, task_group
from notify_streams.records.ids import notification_id

if TYPE_CHECKING:
    from notify_streams.roles import Channel
    from notify_streams.settings import Settings

#: Every one of so many standard triggers expires during the outage.
_EXPIRING: Final = 10
CRITICAL_RATE: Final = 20.0
#: Its category allows SMS without an opt-in.
_CRITICAL_TOPIC: Final = "triggers.security"


class Load:
    """Sends triggers and remembers them."""

    def __init__(self, settings: Settings, channel: Channel, rate: float, expires_after_s: float | None = None) -> None:
        """`expires_after_s`: of every tenth standard trigger."""
        self._settings = settings
        self._channel = channel
        self._rate = rate
        self._expires_after_s = expires_after_s
        self._run = f"{time.time_ns():x}"
        #: Notification ids of the standard triggers.
        self.standard: list[str] = []
        #: Critical notification id -> scheduled moment, Unix seconds.
        self.critical: dict[str, float] = {}

    async def send(self, seconds: float) -> None:
        """Returns when Kafka has all triggers."""
        async with SingleSender(self._settings) as sender, task_group() as group:
            clock = time.time() - time.monotonic()

            async def standard(number: int, due: float) -> None:
                user_id, value = self._standard(number, clock + due)
                await sender.send(TOPIC, user_id, value)

            async def critical(number: int, due: float) -> None:
                user_id, value = self._critical(number, clock + due)
                await sender.send(_CRITICAL_TOPIC, user_id, value)

            group.create_task(at_rate(max(1, int(seconds * self._rate)), 1 / self._rate, standard))
            group.create_task(at_rate(max(1, int(seconds * CRITICAL_RATE)), 1 / CRITICAL_RATE, critical))

    def _standard(self, number: int, due: float) -> tuple[str, bytes]:
        trigger_id, user_id = f"out-{self._run}-{number:06x}", bench_user(number * 7919)
        self.standard.append(notification_id(trigger_id, user_id, TOPIC.removeprefix("triggers.")))
        fields: dict[str, Any] = {
            "id": trigger_id,
            "user_id": user_id,
            "category": "payments",
            "channels": [self._channel],
            "template": "payment_received",
            "data": {"amount": "12.50"},
        }
        if self._expires_after_s is not None and number % _EXPIRING == 0:
            fields["expires_at"] = datetime.fromtimestamp(due + self._expires_after_s, UTC)
        return user_id, orjson.dumps(fields)

    def _critical(self, number: int, due: float) -> tuple[str, bytes]:
        # The number of the first user is the one from which we send.
        trigger_id, user_id = f"crit-{self._run}-{number:06x}", bench_user(1 + number * 7919 % (USERS - 1))
        self.critical[notification_id(trigger_id, user_id, _CRITICAL_TOPIC.removeprefix("triggers."))] = due
        fields = {
            "id": trigger_id,
            "user_id": user_id,
            "category": "security",
            "isCritical": True,
            "channels": ["sms"],
            "template": "new_device",
            "data": {"device": "phone"},
        }
        return user_id, orjson.dumps(fields)
