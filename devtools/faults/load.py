"""A steady load: triggers for people of this region and of another, sign-ups."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec
import orjson
from aiokafka.errors import KafkaError

from notify_streams import tasks
from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.user_records import Contacts, Signup
from notify_streams.topics import USER_CONTACTS, USER_SIGNUPS
from notify_streams.transport.send_errors import SendError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    from notify_streams.admin.trigger_producer import Upload
    from notify_streams.settings import Settings

_TICK_S: Final = 0.5
#: Of each so many triggers one is critical, and one is for a person of the other region; of each so many ticks one signs a person up.
_CRITICAL_EVERY: Final = 5
_AWAY_EVERY: Final = 10
_SIGN_UP_EVERY: Final = 2
_AGAIN_S: Final = 1.0
#: So long the end waits for what Kafka has not acknowledged.
_LAST_S: Final = 60.0
_encode = msgspec.json.Encoder().encode


def people(prefix: str, count: int) -> list[str]:
    """User ids."""
    return [f"{prefix}-{number:03d}" for number in range(count)]


def sign_up(user_id: str, region: str) -> Iterator[Upload]:
    """The contacts of a user, a push token only, and the sign-up."""
    now = datetime.now(UTC)
    yield USER_CONTACTS, user_id, _encode(Contacts(user_id, now, f"token-{user_id}", None, None)), ()
    yield USER_SIGNUPS, user_id, _encode(Signup(user_id, region, now)), ()


class SteadyLoad:
    """``async with SteadyLoad(…) as load``: sends until the block ends.

    What Kafka does not acknowledge is sent again.
    """

    def __init__(self, settings: Settings, here: Sequence[str], away: Sequence[str], rate: float) -> None:
        """`here`, `away`: users of this and of another region, who are known. `rate`: triggers a second."""
        self._settings = settings
        self._here, self._away = here, away
        self._rate = rate
        self._producer = TriggerProducer(settings)
        self._closing = AsyncExitStack()
        self._sending: asyncio.Task[None] | None = None
        self._begun: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count()
        self._run = f"{time.time_ns():x}"
        self._draw = random.Random(7)
        #: Triggers that Kafka has acknowledged.
        self.sent = 0

    async def __aenter__(self) -> Self:
        await self._closing.enter_async_context(self._producer)
        self._sending = asyncio.create_task(self._send_until_cancelled())
        return self

    async def __aexit__(self, *_: object) -> None:
        await tasks.stop([self._sending])
        if self._begun:
            await asyncio.wait(self._begun, timeout=_LAST_S)
        await self._closing.aclose()

    def watched_trigger(self, user: Callable[[str, int], bool]) -> str:
        """Send one more trigger, now; returns its id. `user` chooses the person by user id and bucket."""
        partitions = self._settings.partitions
        everybody = (*self._here, *self._away)
        user_id = next(one for one in everybody if user(one, bucket_of(one, partitions)))
        trigger_id, upload = self._trigger(user_id, critical=False)
        self._begin([upload])
        return trigger_id

    async def _send_until_cancelled(self) -> None:
        for tick in itertools.count():
            due = time.monotonic() + _TICK_S
            count = round(self._rate * _TICK_S)
            batch = [self._next_trigger(tick * count + number) for number in range(count)]
            if tick % _SIGN_UP_EVERY == 0:
                batch += sign_up(f"new-{self._run}-{tick}", self._settings.region)
            await asyncio.shield(self._begin(batch))
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _begin(self, batch: Sequence[Upload]) -> asyncio.Task[None]:
        """Send in a task that ends when Kafka has all, also if the load is stopped before."""
        task = asyncio.create_task(self._send(batch))
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return task

    async def _send(self, batch: Sequence[Upload]) -> None:
        while True:
            try:
                self.sent += await self._producer.send(batch)
            except (SendError, KafkaError, TimeoutError):
                await asyncio.sleep(_AGAIN_S)
            else:
                return

    def _next_trigger(self, number: int) -> Upload:
        away = bool(self._away) and number % _AWAY_EVERY == 0
        user_id = self._draw.choice(self._away if away else self._here)
        return self._trigger(user_id, critical=not away and number % _CRITICAL_EVERY == 1)[1]

    def _trigger(self, user_id: str, *, critical: bool) -> tuple[str, Upload]:
        trigger_id = f"f{self._run}-{next(self._numbers)}"
        system, template = ("security", "new_device") if critical else ("payments", "payment_received")
        value = orjson.dumps(
            {
                "id": trigger_id,
                "user_id": user_id,
                "category": system,
                "template": template,
                "isCritical": critical,
                "data": {"amount": "1.00", "device": "a new phone"},
            }
        )
        return trigger_id, (f"triggers.{system}", user_id, value, ())
