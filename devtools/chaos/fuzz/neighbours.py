"""Good records behind a batch: a user in every bucket, from sign-up to receipt."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import msgspec

from notify_streams.admin.audit.provider_log import read_provider_log
from notify_streams.records.ids import trigger_of
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.user_records import Contacts, PreferenceUpdate, Signup
from notify_streams.topics import FORWARDED, PREFERENCE_UPDATES, RECEIPTS, USER_CONTACTS, USER_SIGNUPS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from notify_streams.admin.audit.provider_log import AcceptedMessage
    from notify_streams.admin.trigger_producer import TriggerProducer, Upload
    from notify_streams.records.batch import Headers
    from notify_streams.settings import Settings

_POLL_S: Final = 0.1
#: A trigger may overtake the rows of its user, whom the router then does not know. It is sent again under another id.
_AGAIN_AFTER_S: Final = 1.5
#: How long to wait for what is late, to tell it from what never comes.
_STUCK_S: Final = 60.0
_FROM_EU: Final[Headers] = (("hops", b"1"), ("origin", b"eu"), ("system", b"payments"), ("location_version", b"1"))


@dataclass(frozen=True, slots=True)
class _Wish:
    """A trigger, and the channels by which it must arrive after the choices of `Neighbours`: no push of payments, mail for marketing."""

    name: str
    topic: str
    category: str
    template: str
    channels: tuple[str, ...]
    critical: bool = False
    headers: Headers = ()


_WISHES: Final = (
    _Wish("payments", "triggers.payments", "payments", "payment_received", ("email",)),
    _Wish("critical", "triggers.payments", "payments", "payment_received", ("email",), critical=True),
    _Wish("marketing", "triggers.marketing", "marketing", "offer", ("email",)),
    _Wish("security", "triggers.security", "security", "new_device", ("email", "push")),
    _Wish("forwarded", FORWARDED, "payments", "payment_received", ("email",), headers=_FROM_EU),
)
#: Steps, in order.
STEPS: Final = ("sign-up", "choice by PUT", "notified", "receipt")


@dataclass(slots=True)
class Result:
    """What became of the good records behind one batch."""

    #: Seconds by step, one for each bucket; `inf` for what did not come within a minute.
    seconds: dict[str, list[float]] = field(default_factory=lambda: {step: [] for step in STEPS})
    #: Triggers that had to be sent again.
    repeated: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def stuck(self) -> bool:
        """Whether something did not come at all."""
        return any(max(values, default=0.0) == float("inf") for values in self.seconds.values())


class Neighbours:
    """``async with Neighbours(settings, producer, views) as neighbours``.

    Args:
        views: the URL of the worker that serves the views.
        name: begins the ids of the users; not used before in this region.
    """

    def __init__(self, settings: Settings, producer: TriggerProducer, views: str, name: str) -> None:
        self._settings = settings
        self._producer = producer
        self._views = views
        self._name = name
        self._numbers = count()
        self._http: aiohttp.ClientSession
        self._log_offset = 0
        #: Accepted messages by trigger id.
        self._accepted: dict[str, list[AcceptedMessage]] = {}

    async def __aenter__(self) -> Neighbours:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_STUCK_S))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def visit(self) -> Result:
        """One new user in every bucket, at the same time."""
        result = Result()
        users = [self._user_in(bucket) for bucket in range(self._settings.partitions)]
        await asyncio.gather(*(self._visit(user_id, result) for user_id in users))
        return result

    def wrongly_sent(self) -> list[str]:
        """Messages that a choice had stopped, of all visits."""
        self._read_log()
        allowed = {wish.name: wish.channels for wish in _WISHES}
        return [
            f"{trigger_id}: {one.channel}"
            for trigger_id, messages in self._accepted.items()
            for one in messages
            if one.channel not in allowed[trigger_id.split(".")[1]]
        ]

    def _user_in(self, bucket: int) -> str:
        names = (f"{self._name}-{number}" for number in self._numbers)
        return next(name for name in names if bucket_of(name, self._settings.partitions) == bucket)

    async def _visit(self, user_id: str, result: Result) -> None:
        steps = (self._sign_up, self._choose, self._notify, self._receive)
        for step, act in zip(STEPS, steps, strict=True):
            started = time.monotonic()
            done = await act(user_id, result)
            seconds = time.monotonic() - started if done else float("inf")
            result.seconds[step].append(seconds)
            if not done:
                bucket = bucket_of(user_id, self._settings.partitions)
                result.faults.append(f"bucket {bucket}, {user_id}: {step} not done after {_STUCK_S:.0f} s")
                return

    async def _sign_up(self, user_id: str, result: Result) -> bool:
        now = datetime.now(UTC)
        stop = PreferenceUpdate(user_id, "payments", "push", False, now)
        await self._producer.send(
            [
                _upload(
                    USER_CONTACTS, user_id, Contacts(user_id, now, f"token-{user_id}", None, f"{user_id}@example.org")
                ),
                _upload(PREFERENCE_UPDATES, user_id, stop),
                _upload(USER_SIGNUPS, user_id, Signup(user_id, self._settings.region, now)),
            ]
        )

        async def known() -> bool:
            status, user = await self._get(f"/users/{user_id}")
            if status != 200:
                return False
            choices = user["preferences"]["categories"]
            return bool(user["contacts"]) and choices["payments"]["push"]["choice"] == "out"

        return await _until(known)

    async def _choose(self, user_id: str, result: Result) -> bool:
        token = self._settings.web_write_token
        headers = {} if token is None else {"Authorization": f"Bearer {token.reveal()}"}
        for channel, opted_in in (("push", False), ("email", True)):
            url = f"{self._views}/users/{user_id}/preferences/marketing/{channel}"

            async def put(url: str = url, body: bytes = msgspec.json.encode({"opted_in": opted_in})) -> bool:
                async with self._http.put(url, data=body, headers=headers) as response:
                    return response.status == 200

            if not await _until(put):
                return False
        return True

    async def _notify(self, user_id: str, result: Result) -> bool:
        sent: dict[str, list[str]] = {wish.name: [] for wish in _WISHES}
        last = float("-inf")

        async def arrived() -> bool:
            nonlocal last
            self._read_log()
            missing = [wish for wish in _WISHES if not any(self._has(wish, one) for one in sent[wish.name])]
            if missing and time.monotonic() - last > _AGAIN_AFTER_S:
                last = time.monotonic()
                result.repeated += sum(bool(sent[wish.name]) for wish in missing)
                for wish in missing:
                    sent[wish.name].append(f"{user_id}.{wish.name}.{len(sent[wish.name])}")
                await self._producer.send([_trigger(wish, user_id, sent[wish.name][-1]) for wish in missing])
            return not missing

        return await _until(arrived)

    async def _receive(self, user_id: str, result: Result) -> bool:
        message = next(
            one
            for trigger_id, messages in self._accepted.items()
            if trigger_id.startswith(f"{user_id}.payments.")
            for one in messages
            if one.channel == "email"
        )
        receipt = {"delivery_id": message.delivery_id, "state": "delivered", "at": datetime.now(UTC)}
        await self._producer.send([(RECEIPTS, user_id, msgspec.json.encode(receipt), ())])

        async def delivered() -> bool:
            status, found = await self._get(f"/notifications/{trigger_of(message.notification_id)}")
            notifications = found.get("notifications", ()) if status == 200 else ()
            deliveries = [delivery for one in notifications for delivery in one["deliveries"]]
            return any((one["channel"], one["state"]) == ("email", "delivered") for one in deliveries)

        return await _until(delivered)

    def _has(self, wish: _Wish, trigger_id: str) -> bool:
        return set(wish.channels) <= {one.channel for one in self._accepted.get(trigger_id, ())}

    async def _get(self, path: str) -> tuple[int, dict[str, Any]]:
        token = self._settings.web_read_token
        headers = {} if token is None else {"Authorization": f"Bearer {token.reveal()}"}
        async with self._http.get(f"{self._views}{path}", headers=headers) as response:
            return response.status, await response.json()

    def _read_log(self) -> None:
        for one in read_provider_log(str(self._settings.sandbox_record), self._log_offset):
            self._log_offset = one.resume_at
            trigger_id = trigger_of(one.notification_id)
            if trigger_id.startswith(f"{self._name}-"):
                self._accepted.setdefault(trigger_id, []).append(one)


async def _until(holds: Callable[[], Awaitable[bool]]) -> bool:
    """False if it does not hold within a minute."""
    deadline = time.monotonic() + _STUCK_S
    while time.monotonic() < deadline:
        try:
            if await holds():
                return True
        except (aiohttp.ClientError, TimeoutError):
            pass  # counts as not yet; the worker itself is looked at elsewhere
        await asyncio.sleep(_POLL_S)
    return False


def _upload(topic: str, user_id: str, record: msgspec.Struct) -> Upload:
    return topic, user_id, msgspec.json.encode(record), ()


def _trigger(wish: _Wish, user_id: str, trigger_id: str) -> Upload:
    fields = {
        "id": trigger_id,
        "user_id": user_id,
        "category": wish.category,
        "template": wish.template,
        "isCritical": wish.critical,
        "data": {"amount": "1.00", "offer": "tea", "device": "a phone"},
    }
    return wish.topic, user_id, msgspec.json.encode(fields), wish.headers


def late(result: Result, limit_s: float) -> Iterator[str]:
    """The steps that took longer than `limit_s`."""
    for step, values in result.seconds.items():
        if values and limit_s < max(values) < float("inf"):
            yield f"{step}: {max(values):.1f} s in the slowest bucket, the limit is {limit_s:g} s"
