"""How a stop begins: by code, by a record, or by a raw request from outside."""

from __future__ import annotations

import asyncio
import hmac
import time
from base64 import b64encode
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, cast
from urllib.parse import urlencode

import msgspec
from aiohttp.web import AppRunner, TCPSite
from cryptography.fernet import Fernet

from notify_streams.app import build_app
from notify_streams.errors import RetryLater
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.records.link_token import LinkTokens
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.user_records import PreferenceUpdate
from notify_streams.regions.failover.placement import Placement
from notify_streams.regions.failover.protocol import HomeRegion
from notify_streams.regions.locations import Location
from notify_streams.roles import WEBHOOKS
from notify_streams.secret import Secret
from notify_streams.settings_public import PublicSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from notify_streams.preferences.service import PreferenceService
    from notify_streams.regions.failover.placement_follower import PlacementFollower
    from notify_streams.roles import Channel
    from notify_streams.settings import Settings

Beginning = Literal["api", "topic", "one_click", "sms_stop", "complaint"]
#: The channel and category of the messages that it must stop. Those of `complaint` cannot be turned off, only the address can.
STOPPED: Final[dict[Beginning, tuple[Channel, str]]] = {
    "api": ("push", "payments"),
    "topic": ("push", "payments"),
    "one_click": ("email", "payments"),
    "sms_stop": ("sms", "security"),
    "complaint": ("email", "security"),
}
#: Nothing listens there: the views then take the home region from the table.
_NO_REGISTRY: Final = "http://127.0.0.1:1"
_ANSWER_S: Final = 20.0
#: What is signed; the requests go to this machine.
_URL: Final = "https://race.example"
_FORM: Final = "application/x-www-form-urlencoded"
_TWILIO_TOKEN: Final = "token of a race"
_WEBHOOK_KEY: Final = b"key of the webhooks of a race..."


@dataclass(frozen=True, slots=True)
class RacePerson:
    """One person of a race, with one kind of message."""

    seed: int
    beginning: Beginning
    partitions: int

    @property
    def bucket(self) -> int:
        return bucket_of(self.user_id, self.partitions)

    @property
    def user_id(self) -> str:
        return f"race-{self.seed}"

    @property
    def channel(self) -> Channel:
        return STOPPED[self.beginning][0]

    @property
    def category(self) -> str:
        return STOPPED[self.beginning][1]

    @property
    def to(self) -> str:
        return {"push": "token", "sms": f"+1555{self.seed:07d}", "email": f"race-{self.seed}@example.org"}[self.channel]


class Beginnings:
    """Stops what a person gets; each returns whether it was acknowledged."""

    def __init__(self, settings: Settings, preferences: PreferenceService, port: int) -> None:
        self._preferences = preferences
        self._port = port
        self._tokens = LinkTokens(settings.public.link_key_list())

    async def stop(self, person: RacePerson) -> bool:
        try:
            return bool(await getattr(self, f"_{person.beginning}")(person))
        except (RetryLater, OSError, TimeoutError):
            return False

    async def _api(self, person: RacePerson) -> bool:
        now = datetime.now(UTC)
        await self._preferences.writer.put(
            person.user_id, person.bucket, person.category, person.channel, False, now, ChoiceSource.API
        )
        return True

    async def _topic(self, person: RacePerson) -> bool:
        update = PreferenceUpdate(person.user_id, person.category, person.channel, False, datetime.now(UTC))
        applied = await self._preferences.writer.apply_updates([(person.bucket, update)])
        if not applied.deltas_written:
            await asyncio.sleep(self._preferences.bound.lease_s)
        return True

    async def _one_click(self, person: RacePerson) -> bool:
        token = self._tokens.make(person.user_id, person.category, person.channel, "en")
        return await self._post(f"/unsubscribe/{token}", b"List-Unsubscribe=One-Click", {})

    async def _sms_stop(self, person: RacePerson) -> bool:
        """As Twilio passes a text message on."""
        form = {"Body": "STOP", "From": person.to, "MessageSid": f"SM{person.seed:032x}", "SmsStatus": "received"}
        path = "/webhooks/twilio"
        signed = f"{_URL}{path}" + "".join(name + form[name] for name in sorted(form))
        signature = b64encode(hmac.digest(_TWILIO_TOKEN.encode(), signed.encode(), "sha1")).decode()
        return await self._post(path, urlencode(form).encode(), {"X-Twilio-Signature": signature})

    async def _complaint(self, person: RacePerson) -> bool:
        """By Standard Webhooks."""
        event = {"type": "address.complaint", "data": {"channel": "email", "address": person.to}}
        body, webhook_id, at = msgspec.json.encode(event), f"msg_{person.seed}", str(int(time.time()))
        digest = hmac.digest(_WEBHOOK_KEY, f"{webhook_id}.{at}.".encode() + body, "sha256")
        headers = {
            "webhook-id": webhook_id,
            "webhook-timestamp": at,
            "webhook-signature": f"v1,{b64encode(digest).decode()}",
            "Content-Type": "application/json",
        }
        return await self._post("/webhooks/generic", body, headers)

    async def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> bool:
        """Whether the answer's status is 200, as soon as that line is there."""
        lines = [
            f"POST {path} HTTP/1.1",
            "Host: race.example",
            f"Content-Length: {len(body)}",
            "Connection: close",
            *(f"{name}: {text}" for name, text in ({"Content-Type": _FORM} | dict(headers)).items()),
        ]
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                return (await reader.readline()).split(b" ")[1] == b"200"
            finally:
                writer.close()


def public_settings(region: str) -> PublicSettings:
    """With keys of the race alone."""
    return PublicSettings(
        urls={region: _URL},
        link_keys=Secret(Fernet.generate_key().decode()),
        address_key=Secret("race" * 8),
        twilio_auth_tokens=Secret(_TWILIO_TOKEN),
        webhook_secrets=Secret(f"whsec_{b64encode(_WEBHOOK_KEY).decode()}"),
    )


class _Here:
    """This region serves everybody who is at home in it."""

    waiting_for = None

    def __init__(self, region: str) -> None:
        self.placement = Placement(region, {region: HomeRegion(region)})


@asynccontextmanager
async def opened_beginnings(settings: Settings, preferences: PreferenceService) -> AsyncIterator[Beginnings]:
    """The same with the views of a worker of the role `webhooks`, which has these preferences and whose agents are not started."""
    worker = build_app(msgspec.structs.replace(settings, dynamodb=_NO_REGISTRY), WEBHOOKS)
    worker.preferences = preferences
    worker.locate = lambda user_id: Location(settings.region, 0, 1, None)
    worker.placement_follower = cast("PlacementFollower", _Here(settings.region))
    runner = AppRunner(await worker.web.wsgi(), access_log=None)
    await runner.setup()
    site = TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield Beginnings(settings, preferences, runner.addresses[0][1])
    finally:
        await runner.cleanup()
