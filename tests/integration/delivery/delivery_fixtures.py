"""Builders and fakes: notifications as the router writes them, batches as the outbox publishes them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from notify_streams.admin.audit.provider_log import AcceptedMessage, read_provider_log
from notify_streams.delivery.claims import Claims
from notify_streams.delivery.delivery import DeliveryWorker
from notify_streams.delivery.providers import Outgoing, ProviderConfig, ProviderOutcome, ProviderResult, provider_for
from notify_streams.preferences.provider_check import SendPermission
from notify_streams.records.channel_message import ChannelMessage
from notify_streams.records.ids import notification_id
from notify_streams.records.outcomes import Reason
from notify_streams.roles import Channel
from notify_streams.settings import Settings
from notify_streams.stores.mongo import NOTIFICATIONS, Shards
from tests.builders import ABatch, ARecord, an_outcome, categories

BUCKET = 2


class DeliveryEnvironment:
    """A database with notifications, and the workers that deliver them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.shards = Shards(settings)

    async def __aenter__(self) -> "DeliveryEnvironment":
        await self.shards.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shards.close()

    async def drop(self) -> None:
        for shard in range(len(self.shards)):
            await self.shards.client(shard).drop_database(self.settings.database)

    async def notify(self, *ids: str, channel: Channel = "push", **but: Any) -> ABatch:
        """Write a notification for each trigger id, and return the batch with their messages."""
        but = {"now": datetime.now(UTC)} | but
        entries = [an_outcome(one, bucket=BUCKET, channels=(channel,), **but) for one in ids]
        await self.shards.collection(NOTIFICATIONS, BUCKET).insert_many(
            [entry.document for entry in entries if entry.document is not None]
        )
        return batch_of(*[output[3] for entry in entries for output in entry.outputs], topic=channel)

    def claims(self, channel: Channel = "push") -> Claims:
        return Claims(self.shards, channel, 5.0)

    def delivery(
        self, provider: Any, check: Any = None, channel: Channel = "push", claims: Any = None
    ) -> DeliveryWorker:
        return DeliveryWorker(claims or self.claims(channel), check or Check(), provider, categories(), "standard")

    async def document(self, trigger_id: str = "t") -> dict[str, Any] | None:
        query = {"_id": notification_id(trigger_id, "u-42", "payments"), "bucket": BUCKET}
        return await self.shards.collection(NOTIFICATIONS, BUCKET).find_one(query)

    async def state(self, trigger_id: str = "t", channel: Channel = "push") -> dict[str, Any]:
        """The delivery, without the time."""
        document = await self.document(trigger_id)
        assert document is not None
        found = document["deliveries"][channel]
        return {name: value for name, value in found.items() if name != "at"}

    async def set_state(self, trigger_id: str = "t", channel: Channel = "push", **fields: Any) -> None:
        await self.shards.collection(NOTIFICATIONS, BUCKET).update_one(
            {"_id": notification_id(trigger_id, "u-42", "payments"), "bucket": BUCKET},
            {"$set": {f"deliveries.{channel}.{name}": value for name, value in fields.items()}},
        )


def batch_of(*values: bytes | None, topic: str = "push") -> ABatch:
    records = [ARecord(value, b"u-42", (), offset) for offset, value in enumerate(values)]
    return ABatch(records, topic=topic, partition=BUCKET, start=0, end=len(records))


@dataclass
class Check:
    """A fake check: allows everything for `good_s` except the trigger ids in `refused`."""

    refused: dict[str, Reason] = field(default_factory=dict)
    good_s: float = 60.0
    checked: list[list[str]] = field(default_factory=list)
    before: Callable[[], Any] | None = None

    async def still_allowed(self, bucket: int, messages: Sequence[ChannelMessage], now: datetime) -> SendPermission:
        self.checked.append([message.trigger_id for message in messages])
        if self.before is not None:
            await self.before()
        at = time.monotonic()
        reasons = [
            Reason.EXPIRED if message.expires_at and message.expires_at <= now else self.refused.get(message.trigger_id)
            for message in messages
        ]
        return SendPermission(reasons, at, at + self.good_s)


class Provider:
    """A fake client: each call for a trigger returns or raises its next result, then ACCEPTED."""

    name = "fake"

    def __init__(self, max_in_flight: int = 100, **results: Sequence[ProviderResult | Exception]) -> None:
        self.max_in_flight = max_in_flight
        self.results = {trigger_id: list(given) for trigger_id, given in results.items()}
        self.calls: list[Outgoing] = []
        self.called_at: list[float] = []
        self.before: Callable[[Outgoing], Any] | None = None
        self.closed = False

    async def close(self) -> None:
        self.closed = True

    async def send(self, message: Outgoing) -> ProviderResult:
        self.calls.append(message)
        self.called_at.append(time.monotonic())
        if self.before is not None:
            await self.before(message)
        result = (self.results.get(message.notification_id.rpartition("-")[0]) or [ACCEPTED]).pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    def ids(self) -> list[str]:
        return [call.notification_id.rpartition("-")[0] for call in self.calls]


ACCEPTED = ProviderResult(outcome=ProviderOutcome.ACCEPTED, provider="fake", provider_id="p-1")
REJECTED = ProviderResult(outcome=ProviderOutcome.REJECTED, provider="fake", code="400")
DEAD = ProviderResult(outcome=ProviderOutcome.DEAD_TOKEN, provider="fake", code="UNREGISTERED")
RETRY = ProviderResult(outcome=ProviderOutcome.RETRY, provider="fake")
UNSURE = ProviderResult(outcome=ProviderOutcome.RETRY, provider="fake", maybe_accepted=True)
NOT_BEGUN = ProviderResult(outcome=ProviderOutcome.RETRY, provider="fake", begun=False)


class Sandbox:
    """The stack's provider sandbox."""

    def __init__(self, addresses: dict[str, str], session: aiohttp.ClientSession) -> None:
        self._addresses, self._session = addresses, session

    def config(self, **but: Any) -> ProviderConfig:
        fcm, twilio, smtp = (self._addresses[name] for name in ("fcm", "twilio", "smtp"))
        return ProviderConfig(fcm=fcm, twilio=twilio, smtp=smtp, **but)

    async def control(self, **faults: Any) -> None:
        async with self._session.post(f"{self._addresses['fcm']}/control", data=orjson.dumps(faults)) as response:
            assert response.status == 200, await response.text()

    async def clear_faults(self) -> None:
        async with self._session.delete(f"{self._addresses['fcm']}/control") as response:
            assert response.status == 200

    def accepted(self, prefix: str) -> list[AcceptedMessage]:
        """The accepted messages of triggers whose ids begin with `prefix`."""
        return [
            one for one in read_provider_log(Path(self._addresses["record"])) if one.notification_id.startswith(prefix)
        ]

    def client(self, channel: str, **but: Any) -> Any:
        return provider_for(channel, self.config(**but))
